"""From genomes to objectives: the encoding of pruned networks and their evaluation."""

from emoref.search.evaluator import PopulationEvaluator
from emoref.search.genome import FilterGenome
from emoref.search.workers import FAILED, WorkerEvaluator, process_pool

__all__ = ["FAILED", "FilterGenome", "PopulationEvaluator", "WorkerEvaluator", "process_pool"]
