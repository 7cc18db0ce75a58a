"""One evolutionary search for each sub-network, and the same search over the whole network.

A candidate of a stage is a mask over its filters. It is scored as the slim stage that it is, on activations
that were computed once, and its batch-norm statistics are measured anew. Who scores it is the stage's judge:

- "detector": what the trained network gives goes through the stage, and the stage's detector says which class
  each image is of;
- "features": what the joined network N' gives goes through the stage, and its features are compared with the
  unpruned stage's. No label is needed, and nothing behind the stage runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref import compress, emo, nn
from emoref.compress import Division
from emoref.emo.problem import Variables
from emoref.nn import Network
from emoref.runs.store import Generation, SearchStore, front_rows
from emoref.search import FeatureEvaluator, FilterGenome, PopulationEvaluator, Recalibration
from emoref.systems.emo_dir_scoring import Judge, MaskSearchSection, Scoring
from emoref.systems.emo_dir_training import Detector
from emoref.systems.steps import Params

__all__ = [
    "MaskProblem",
    "StageTask",
    "count_rows",
    "has_norms",
    "masks_of",
    "run_search",
    "search_stage",
    "stage_tasks",
]

Array = NDArray[Any]
Score = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
SECOND_OBJECTIVE: dict[Judge, str] = {"detector": "error", "features": "feature distance"}


def has_norms(net: Network) -> bool:
    """Return whether a network has batch norms."""
    return any(node.op == "batch_norm" for node in net.nodes)


class MaskProblem:
    """Bi-objective filter pruning of a network or of a stage of one.

    Decision variables: one bit for `group` neighbouring filters of a layer, 1 = keep; each layer keeps one at
    least (repair). Minimise

    - f1 = multiply-accumulates of the slim network or stage / those of the unpruned one, and
    - f2 = what a judge says: wrong predictions / images, or the distance of features.

    Parameters
    ----------
    score : callable
        The judge: from genomes, a bit a filter, to f2.
    counted : Network
        The network or stage whose multiply-accumulates are f1.
    genome : FilterGenome
        Which filters.
    group : int
        Filters to a bit.
    """

    def __init__(self, score: Score, counted: Network, genome: FilterGenome, group: int = 1) -> None:
        self.score, self.counted, self.genome = score, counted, genome
        self.macs = compress.count(counted).macs
        self.bit_of, self.layers = _groups(genome, group)
        self.n_var, self.n_obj = int(self.bit_of.max()) + 1, 2
        self.lower, self.upper, self.kind = 0, 1, "binary"

    def filters(self, X: Array) -> NDArray[np.bool_]:
        """Return the genomes, a bit a filter, of candidates (rows, n_var)."""
        return np.asarray(X, dtype=bool)[:, self.bit_of]

    def remaining_macs(self, X: Array) -> NDArray[np.int64]:
        """Return the multiply-accumulates that are left of each candidate."""
        slim = [compress.slim_network(self.counted, self.genome.masks(row)) for row in self.filters(X)]
        return np.array([compress.count(net).macs for net in slim], dtype=np.int64)

    def evaluate(self, X: Array) -> NDArray[np.float64]:
        """Return the objectives (rows, 2)."""
        if len(X) == 0:
            return np.empty((0, self.n_obj))
        return np.column_stack((self.remaining_macs(X) / self.macs, self.score(self.filters(X))))

    def repair(self, X: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Turn a random bit on in every layer that has lost all its filters."""
        rows = np.array(X, dtype=bool)
        for bits in self.layers:
            for row in np.flatnonzero(~rows[:, bits].any(axis=1)):
                rows[row, rng.choice(bits)] = True
        return rows

    def sample(self, low: float, high: float) -> Callable[[int, Variables, np.random.Generator], Array]:
        """Return a sampling: rows that keep from `low` to `high` of their bits, and first all of them."""

        def sampling(count: int, variables: Variables, rng: np.random.Generator) -> Array:
            rows = emo.RatioLadder(low, high)(count, variables, rng).astype(bool)
            rows[0] = True
            return rows

        return sampling


def _groups(genome: FilterGenome, group: int) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the variable of each filter's bit, and the variables of each layer."""
    variable = np.full(genome.n_bits, -1, dtype=np.int64)
    used = 0
    for name in genome.names:
        own = genome.index[name]
        new = own[variable[own] < 0]
        variable[new] = used + np.arange(len(new)) // group
        used += -(-len(new) // group)
    return variable, [np.unique(variable[genome.index[name]]) for name in genome.names]


@dataclass(frozen=True, eq=False)
class StageTask:
    """One search, as it travels to a worker.

    Attributes
    ----------
    name : str
        Of its file: "stage1" and so on; "whole" for the search over the whole network.
    searched : Network
        From what enters the stage to the logits; for the judge "features" the stage.
    params : Params
        Its parameters.
    counted : Network
        The stage.
    layers : tuple of str
        The layers whose filters are searched.
    images, labels, recalibration
        What enters the stage of the held-out and of the training images. For the judge "features" both are
        the same training images.
    setup_macs : int
        Multiply-accumulates that these activations took.
    section : MaskSearchSection
        The search.
    seed : int
        Its seed.
    backend : str
        Which kernels compute.
    budget_macs : int
        Where above 0: the search ends with the first generation after which it has executed that many
        multiply-accumulates, whatever `section.generations` says.
    judge : str
        Who scores candidates.
    """

    name: str
    searched: Network
    params: Params
    counted: Network
    layers: tuple[str, ...]
    images: Array
    labels: NDArray[np.int64]
    recalibration: Array
    setup_macs: int
    section: MaskSearchSection
    seed: int
    backend: str
    budget_macs: int = 0
    judge: Judge = "detector"

    def scoring(self) -> tuple[Score, PopulationEvaluator | FeatureEvaluator]:
        """Return who gives candidates their second objective, and the evaluator behind it."""
        if self.judge == "detector":
            counter = self.evaluator()
            return lambda rows: counter.wrong_counts(rows) / counter.total, counter
        compared = FeatureEvaluator(
            self.searched, self.params, self.images, self.genome, self.backend, self.recalibrated()
        )
        return compared.distances, compared

    def evaluator(self) -> PopulationEvaluator:
        """Return a new evaluator. It remembers no counts, so that its cost does not depend on its past."""
        return PopulationEvaluator(
            self.searched,
            self.params,
            self.images,
            self.labels,
            self.genome,
            self.backend,
            cache_size=0,
            recalibration=self.recalibrated(),
        )

    def recalibrated(self) -> Recalibration | None:
        """Return how batch-norm statistics are measured anew: those of the stage, not of its detector."""
        section = self.section
        if not section.recalibration_batches or not has_norms(self.counted):
            return None
        if self.judge == "features":
            return Recalibration(self.recalibration, 1, len(self.recalibration), backend=self.backend)
        end = self.counted.output.name
        return Recalibration(
            self.recalibration,
            section.recalibration_batches,
            section.recalibration_batch_size,
            "" if end == self.searched.output.name else end,
            self.backend,
        )

    @property
    def genome(self) -> FilterGenome:
        """What the bits of a candidate mean; each layer keeps one filter at least."""
        return FilterGenome(self.searched, self.layers, floor_ratio=0.0)

    @property
    def layout(self) -> dict[str, object]:
        """What genome and objectives mean, for the search's file."""
        genome = self.genome
        return {
            "layers": [[n, int(size)] for n, size in zip(genome.names, genome.sizes, strict=True)],
            "group": self.section.group,
            "objectives": ["remaining MACs ratio", SECOND_OBJECTIVE[self.judge]],
            "images": len(self.images),
            "macs": compress.count(self.counted).macs,
            "budget_macs": self.budget_macs,
        }


def stage_tasks(
    division: Division,
    params: Params,
    trained: list[Params],
    detectors: list[Detector],
    scoring: Scoring,
    section: MaskSearchSection,
    seeds: list[int],
    backend: str,
    wanted: list[int],
) -> list[StageTask]:
    """Return the searches of some stages; what enters a stage is computed here, once for all candidates.

    Parameters
    ----------
    division : Division
        The trained network in parts.
    params : dict of str to ndarray
        Parameters of the network that gives what enters the stages.
    trained : list of dict
        Parameters of the stages that are searched.
    detectors : list of Detector
        One for each stage.
    scoring : Scoring
        Images.
    section : MaskSearchSection
        The searches' settings.
    seeds : list of int
        One for each stage.
    backend : str
        Which kernels compute.
    wanted : list of int
        Stages, counted from 0.
    """
    tasks = []
    for k in wanted:
        before, stage = division.before(k), division.stages[k]
        entering: tuple[Array, ...] = (scoring.features,)
        searched, own = stage, trained[k]
        if section.judge == "detector":
            entering = scoring.images, scoring.recalibration
            searched = nn.join([stage, detectors[k].net])
            own = nn.join_params([trained[k], detectors[k].params])
        setup = 0
        if before is not None:
            ahead = nn.Predictor(before, nn.split_params([before], params)[0], backend)
            setup = compress.count(before).macs * sum(len(images) for images in entering)
            entering = tuple(ahead(images) if len(images) else images for images in entering)
        tasks.append(
            StageTask(
                f"stage{k + 1}",
                searched,
                own,
                stage,
                tuple(compress.prunable_layers(stage)),
                entering[0],
                scoring.labels,
                entering[-1],
                setup,
                section,
                seeds[k],
                backend,
                judge=section.judge,
            )
        )
    return tasks


def search_stage(task: tuple[StageTask, Path]) -> SearchStore:
    """Do one search, or what is left of it; the task that runs in a worker, one thread each.

    Every generation is stored in the file, so an interrupted search goes on where it was.
    """
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        return run_search(*task)
    finally:
        numba.set_num_threads(threads)


def run_search(
    task: StageTask,
    path: Path,
    on_generation: Callable[[SearchStore, str], None] = lambda store, text: None,
) -> SearchStore:
    """Evolve masks by NSGA-II, one stored generation at a time.

    Parameters
    ----------
    task : StageTask
        What is searched.
    path : Path
        Its file.
    on_generation : callable, optional
        Given all that is stored, with a line about the last generation.

    Returns
    -------
    SearchStore
        Every generation. Its state holds, under ``macs_executed``, the multiply-accumulates executed up to
        each of them, what enters the stage included.
    """
    section, store = task.section, SearchStore.open_or_new(path, task.layout)
    if finished(task, store):
        return store
    score, evaluator = task.scoring()
    problem = MaskProblem(score, task.counted, task.genome, section.group)
    algorithm = emo.NSGA2(
        problem,
        population_size=section.population,
        seed=task.seed,
        sampling=problem.sample(*section.initial_ratio),
        crossover=emo.UniformCrossover(section.crossover_probability),
        mutation=emo.BitFlip(section.mutation_probability or None),
        repair=problem.repair,
    )
    if store.generations:
        algorithm.restore(store.state)
    executed = list(store.state.get("macs_executed", ()))
    total = int(executed[-1]) if executed else task.setup_macs + evaluator.macs_executed
    while not finished(task, store):
        offspring, begun = algorithm.ask(), evaluator.macs_executed
        if len(offspring) == 0 and task.budget_macs:
            break  # there are no further masks, so no budget can be spent
        algorithm.tell(problem.evaluate(offspring))
        total += evaluator.macs_executed - begun
        executed.append(total)
        counts = np.array(executed, dtype=np.int64)
        store.append(_generation(algorithm), {**algorithm.state(), "macs_executed": counts})
        on_generation(store, _generation_line(store))
    return store


def finished(task: StageTask, store: SearchStore) -> bool:
    """Return whether a search has come to its end."""
    if not store.generations:
        return False
    if task.budget_macs:
        return int(store.state["macs_executed"][-1]) >= task.budget_macs
    return len(store.generations) > task.section.generations


def _generation(algorithm: emo.NSGA2) -> Generation:
    population = algorithm.population
    assert population is not None
    return Generation(
        genomes=population.X.astype(bool),
        objectives=population.F,
        constraints=np.zeros((len(population.X), 1)),  # repaired genomes break none
        ranks=algorithm.ranks,
        evaluations=algorithm.evaluations,
    )


def _generation_line(store: SearchStore) -> str:
    last = store.generations[-1]
    front = last.objectives[front_rows(last)]
    macs, second = int(store.state["macs_executed"][-1]), store.layout["objectives"][1]
    return (
        f"front of {len(front)}: MACs {front[:, 0].min():.1%} to {front[:, 0].max():.1%}, "
        f"{second} {front[:, 1].min():.2%} to {front[:, 1].max():.2%}, {last.evaluations} evaluations, "
        f"{macs / 1e9:.1f} GMAC"
    )


def masks_of(
    net: Network, layers: tuple[str, ...], group: int, candidate: Array
) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of a stored candidate of a search.

    Parameters
    ----------
    net : Network
        The stage, or the whole network.
    layers : tuple of str
        The layers that were searched.
    group : int
        Filters to a bit.
    candidate : bool array, shape (n_var,)
        The candidate.
    """
    genome = FilterGenome(net, layers, floor_ratio=0.0)
    return genome.masks(np.asarray(candidate, dtype=bool)[_groups(genome, group)[0]])


def count_rows(task: tuple[StageTask, NDArray[np.bool_]]) -> tuple[list[int], int]:
    """Count the wrong predictions of some genomes (a bit a filter) by an evaluator of their own.

    The task that runs in a worker. Returns the counts and the multiply-accumulates that they took, which do
    not depend on who else counts.
    """
    stage, rows = task
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        evaluator = stage.evaluator()
        return [int(wrong) for wrong in evaluator.wrong_counts(rows)], evaluator.macs_executed
    finally:
        numba.set_num_threads(threads)
