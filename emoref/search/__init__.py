"""From genomes to objectives: the encoding of pruned networks and their evaluation."""

from emoref.search.evaluator import PopulationEvaluator
from emoref.search.genome import FilterGenome

__all__ = ["FilterGenome", "PopulationEvaluator"]
