"""Evolutionary multi-objective optimisation: algorithms, operators, indicators and decision making."""

from emoref.emo import problems
from emoref.emo.algorithm import Algorithm, minimize
from emoref.emo.decision import best_under, evenly_spaced, knee
from emoref.emo.indicators import gd, gd_plus, igd, igd_plus
from emoref.emo.mating import eliminate_duplicates, mating
from emoref.emo.nsga2 import NSGA2
from emoref.emo.operators import (
    SBX,
    BitFlip,
    CrossoverByKind,
    MutationByKind,
    PolynomialMutation,
    UniformCrossover,
    bit_flip,
    polynomial_mutation,
    sbx,
    uniform_crossover,
)
from emoref.emo.population import Generation, Population, Result
from emoref.emo.problem import FunctionProblem, Problem, Variables
from emoref.emo.ranking import (
    constrained_ranks,
    constraint_violation,
    crowding_distance,
    fronts,
    hypervolume,
    nondominated_ranks,
)
from emoref.emo.sampling import RandomSampling, RatioLadder, random_bits, random_real, ratio_ladder
from emoref.emo.selection import Survival, binary_tournament, environmental_selection

__all__ = [
    "NSGA2",
    "SBX",
    "Algorithm",
    "BitFlip",
    "CrossoverByKind",
    "FunctionProblem",
    "Generation",
    "MutationByKind",
    "PolynomialMutation",
    "Population",
    "Problem",
    "RandomSampling",
    "RatioLadder",
    "Result",
    "Survival",
    "UniformCrossover",
    "Variables",
    "best_under",
    "binary_tournament",
    "bit_flip",
    "constrained_ranks",
    "constraint_violation",
    "crowding_distance",
    "eliminate_duplicates",
    "environmental_selection",
    "evenly_spaced",
    "fronts",
    "gd",
    "gd_plus",
    "hypervolume",
    "igd",
    "igd_plus",
    "knee",
    "mating",
    "minimize",
    "nondominated_ranks",
    "polynomial_mutation",
    "problems",
    "random_bits",
    "random_real",
    "ratio_ladder",
    "sbx",
    "uniform_crossover",
]
