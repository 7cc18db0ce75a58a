"""From genomes to objectives: the encoding of pruned networks and their evaluation."""

from emoref.search.cache import FAILED, CountCache, Spent
from emoref.search.evaluator import PopulationEvaluator
from emoref.search.features import FeatureEvaluator
from emoref.search.genome import FilterGenome
from emoref.search.mask_genome import MaskGenome
from emoref.search.masked import MaskedEvaluator, MaskedWorkers, candidate_rows
from emoref.search.quantised import REAL_BITS, QuantizedEvaluator, QuantizedWorkers
from emoref.search.racing import Raced, Racing, hardest_first, looked_at
from emoref.search.recalibration import Recalibration
from emoref.search.slots import SlotProblem, SlotSearch, nearest_to_ideal, normalised_importance, search_slots
from emoref.search.workers import SpreadEvaluator, WorkerEvaluator, process_pool

__all__ = [
    "FAILED",
    "REAL_BITS",
    "CountCache",
    "FeatureEvaluator",
    "FilterGenome",
    "MaskGenome",
    "MaskedEvaluator",
    "MaskedWorkers",
    "PopulationEvaluator",
    "QuantizedEvaluator",
    "QuantizedWorkers",
    "Raced",
    "Racing",
    "Recalibration",
    "SlotProblem",
    "SlotSearch",
    "Spent",
    "SpreadEvaluator",
    "WorkerEvaluator",
    "candidate_rows",
    "hardest_first",
    "looked_at",
    "nearest_to_ideal",
    "normalised_importance",
    "process_pool",
    "search_slots",
]
