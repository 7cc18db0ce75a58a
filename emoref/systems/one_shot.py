"""EMOFP: evolutionary multi-objective one-shot filter pruning.

Z. Wu, J. Shi, X. Zhou, X. Zheng, F. Li: *Evolutionary Multi-Objective One-Shot Filter Pruning for Designing
Lightweight Convolutional Neural Network*, Sensors 21(17):5901, 2021.

The method, step by step, and the functions that do it:

1. a trained network is given                                     :func:`emoref.systems.steps.base_network`
2. filter pruning as a constrained bi-objective problem:
   remaining filter ratio, error of the pruned network            :class:`FilterPruningProblem`
3. EMFP, a search by non-dominated sorting                        :func:`search`
4. some networks are uniformly selected from the Pareto set       :func:`select`
5. the selected networks are fine-tuned once                      :func:`fine_tune`
6. other methods at the same configurations (if asked for)        :mod:`emoref.systems.baselines`

The paper's full text was not available to us: its pipeline, the Conv1 figures and the headline ratios are
published in the places that docs/emofp.md names; encoding, constraint, population, generations, rates and
training recipes are not, and the docstrings below say what emoref uses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from emoref import compress, emo
from emoref.errors import ConfigError, suggest
from emoref.nn import Network, predict
from emoref.runs.config import (
    ExperimentConfig,
    PositiveInt,
    Probability,
    Section,
    TrainSection,
)
from emoref.runs.executors import Workers, workers_of
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.store import Generation, SearchStore, front_rows
from emoref.search import (
    FAILED,
    FilterGenome,
    PopulationEvaluator,
    Racing,
    WorkerEvaluator,
    hardest_first,
    looked_at,
)
from emoref.seeding import child_seed
from emoref.systems import steps
from emoref.systems.baselines import Baselines, BaselinesSection
from emoref.systems.steps import Params, Splits

OBJECTIVES = ("remaining filter ratio", "validation error before fine-tuning")
CONSTRAINTS = ("g1 filters below the floors", "g2 error", "g3 too few filters", "g3 too many filters")


class SearchSection(Section):
    """EMFP's settings. None of them is published; these are emoref's."""

    population: Annotated[int, Field(ge=4)] = 50
    generations: PositiveInt = 200
    crossover_probability: Probability = 0.9
    mutation_probability: Probability = 0.0  # per bit; 0: 1 / number of bits
    initial_ratio: tuple[Probability, Probability] = (0.05, 1.0)  # of the initial individuals
    initial: str = "random"  # or the importance criterion whose choices the search starts from
    initial_images: PositiveInt = 1000  # training images, class-balanced, for a criterion that needs data
    min_kept_ratio: Probability = 0.05  # alpha: every layer keeps at least max(1, ceil(alpha * filters))
    max_error: Probability = 1.0  # g2; 1: no bound
    remaining_ratio: tuple[Probability, Probability] = (0.0, 1.0)  # g3; (0, 1): no bound
    images: Annotated[int, Field(ge=0)] = 0  # of the validation set, class-balanced; 0: all
    racing: bool = False  # stop candidates that selection will not look at; who survives stays the same

    @field_validator("initial")
    @classmethod
    def _known_criterion(cls, initial: str) -> str:
        if initial not in compress.CRITERIA:
            raise ValueError(f"unknown criterion {initial!r}{suggest(initial, compress.CRITERIA)}")
        return initial

    @model_validator(mode="after")
    def _ordered(self) -> "SearchSection":
        for name in ("initial_ratio", "remaining_ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high] with low <= high, found [{low}, {high}]")
        return self


class SelectSection(Section):
    """Which members of the front are fine-tuned."""

    count: Annotated[int, Field(ge=0)] = 3  # evenly spaced along the remaining filter ratio
    kept_filters: tuple[PositiveInt, ...] = ()  # and for each: the most accurate with at most that many


class OneShotConfig(ExperimentConfig):
    """An EMOFP experiment."""

    system: Literal["emofp"] = "emofp"
    search: SearchSection = SearchSection()
    select: SelectSection = SelectSection()
    finetune: TrainSection = TrainSection(epochs=20)
    baselines: BaselinesSection = BaselinesSection()

    @model_validator(mode="after")
    def _something_selected(self) -> "OneShotConfig":
        if self.select.count == 0 and not self.select.kept_filters:
            raise ValueError(
                "select.count is 0 and select.kept_filters is empty: nothing would be fine-tuned"
            )
        return self


@dataclass(frozen=True)
class Selection:
    """A member of the front that is to be fine-tuned."""

    name: str
    choice: str
    genome: NDArray[np.bool_]


def run(config: OneShotConfig, folder: RunFolder, progress: Progress) -> None:
    """Do one EMOFP experiment, or what is left of it.

    Every stage first looks at what the folder already holds, so the same call starts, resumes and completes.
    """
    splits = steps.load_splits(config)
    baselines = Baselines(config, splits)
    net, params = steps.base_network(config, splits, folder, progress)
    baselines.check(net, params)
    report = steps.reporter(folder, progress)
    problem = FilterPruningProblem(net, params, splits, config, workers_of(config.engine), report)
    steps.keep_counts(problem.evaluator, config, folder, "search")
    try:
        store = search(problem, config, folder, progress)
    finally:
        problem.close()
    selections = select(store.generations[-1], problem.genome, config.select)
    for index, selection in enumerate(selections):
        fine_tune(index, selection, net, params, problem, splits, config, folder, progress)
    for index, selection in enumerate(selections):
        baselines.run(
            index, selection.name, selection.genome, (net, params), problem.genome, folder, progress
        )
    steps.measure_on_test(config, (net, params), problem.genome, folder, progress)


class FilterPruningProblem:
    """Constrained bi-objective filter pruning (encoding and bounds are emoref's, not published).

    Decision variables: one bit for each convolution filter of the network, 1 = keep. Minimise

    - f1 = kept filters / filters (the paper's remained filter ratio), and
    - f2 = wrong predictions / images of the pruned, not fine-tuned network on held-out validation images,

    subject to g1: every layer keeps at least ``max(1, ceil(alpha * filters))``; g2: f2 <= ``max_error``;
    g3: f1 within ``remaining_ratio``. A candidate that empties a layer is no network; it counts every image
    as wrong and g1 makes it infeasible.

    Parameters
    ----------
    net, params
        The trained network.
    splits : Splits
        Its validation images are the fitness images.
    config : OneShotConfig
        Bounds, seed and back end.
    workers : Workers, optional
        Who evaluates; by default this process.
    report : callable, optional
        Called with one line for each failure of a worker.
    """

    def __init__(
        self,
        net: Network,
        params: Params,
        splits: Splits,
        config: OneShotConfig,
        workers: Workers | None = None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = config.search
        self.genome = FilterGenome(net, floor_ratio=config.search.min_kept_ratio)
        self._base = net, params, splits, config.seed, config.engine.table
        images, labels = steps.fitness_images(splits, config.search.images, config.seed)
        self.images = len(labels)
        evaluated = (net, params, images, labels, self.genome, config.engine.table)
        self.evaluator: PopulationEvaluator | WorkerEvaluator = (
            PopulationEvaluator(*evaluated)
            if workers is None
            else WorkerEvaluator(
                *evaluated, make_executor=workers.make_executor, workers=workers.count, report=report
            )
        )
        self.racing: Racing | None = None
        if config.search.racing:
            logits = predict(net, params, images, config.engine.table)
            self.racing = Racing(self.evaluator, hardest_first(logits, labels))
        self.n_var, self.n_obj = self.genome.n_bits, len(OBJECTIVES)
        self.lower, self.upper, self.kind = 0, 1, "binary"

    @property
    def layout(self) -> dict[str, object]:
        """What genome and objectives mean, for ``search.h5``."""
        return {
            "layers": [
                [name, int(size)] for name, size in zip(self.genome.names, self.genome.sizes, strict=True)
            ],
            "objectives": list(OBJECTIVES),
            "constraints": list(CONSTRAINTS),
            "images": self.images,
        }

    def evaluate(
        self, X: NDArray, parents: emo.Population | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return objectives (rows, 2) and constraints (rows, 4; feasible: at most 0) of genomes (rows, n).

        The error of a candidate that no worker could evaluate is NaN, which ranks it last. With
        ``search.racing``, that of a candidate which cannot survive beside the `parents` is a lower bound.
        """
        genomes = np.asarray(X, dtype=bool)
        kept = self.genome.kept(genomes)
        wrong = np.full(len(genomes), self.images, dtype=np.int64)
        alive = (kept > 0).all(axis=1)
        if self.racing is None or parents is None:
            wrong[alive] = self.evaluator.wrong_counts(genomes[alive])
        else:

            def needed(found: NDArray[np.int64]) -> NDArray[np.bool_]:
                wrong[alive] = found
                F, G = self._values(genomes, wrong)
                everyone = np.vstack((parents.F, F)), np.vstack((parents.G, G))
                return looked_at(everyone[0], self.settings.population, everyone[1])[len(parents.F) :][alive]

            wrong[alive] = self.racing.race(genomes[alive], needed).wrong
        return self._values(genomes, wrong)

    def _values(
        self, genomes: NDArray[np.bool_], wrong: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        f1 = self.genome.remaining_ratio(genomes)
        f2 = np.where(wrong == FAILED, np.nan, wrong / self.images)
        low, high = self.settings.remaining_ratio
        shortfall = self.genome.shortfall(genomes) / self.genome.sizes
        constraints = (shortfall.sum(axis=1), f2 - self.settings.max_error, low - f1, f1 - high)
        return np.column_stack((f1, f2)), np.column_stack(constraints)

    def spent(self) -> dict[str, int]:
        """Return what evaluating has cost so far, by name; with racing also what it stopped and saved."""
        raced = (
            {}
            if self.racing is None
            else {"raced": self.racing.stopped, "images_saved": self.racing.images_saved}
        )
        return {"macs": self.evaluator.macs_executed, **self.evaluator.cache.spent._asdict(), **raced}

    def sampling(self) -> emo.RatioLadder | emo.MagnitudeLadder:
        """Return how the first individuals are made: ``search.initial``.

        With a criterion, each keeps the filters that rank highest in their layer, slightly disturbed, so that
        the search starts from what the criterion alone would choose. This is emoref's.
        """
        settings = self.settings
        if settings.initial == "random":
            return emo.RatioLadder(*settings.initial_ratio)
        net, params, splits, seed, backend = self._base
        data = steps.training_sample(splits, settings.initial_images, seed, "search.initial_images")
        scores = compress.filter_importance(settings.initial, net, params, data, backend=backend)
        ranks, sizes = self.genome.ranked(compress.tied_importance(net, scores))
        return emo.MagnitudeLadder(ranks, sizes, *settings.initial_ratio)

    def close(self) -> None:
        """Write the counts that are kept, and let the workers go, if there are any."""
        self.evaluator.close()


def search(
    problem: FilterPruningProblem, config: OneShotConfig, folder: RunFolder, progress: Progress
) -> SearchStore:
    """EMFP: evolve masks by non-dominated sorting, one stored generation at a time.

    NSGA-II with individuals of every pruning ratio at the start (random ones, or those that an importance
    criterion would keep), binary tournament, uniform crossover and bit-flip mutation. Published is "an EMO
    algorithm based on non-dominated sorting"; operators and rates are emoref's.
    """
    settings = config.search
    algorithm = emo.NSGA2(
        problem,
        population_size=settings.population,
        seed=config.seed,
        sampling=problem.sampling(),
        crossover=emo.UniformCrossover(settings.crossover_probability),
        mutation=emo.BitFlip(settings.mutation_probability or None),
    )
    store = SearchStore.open_or_new(folder.search, problem.layout)
    if store.generations:
        algorithm.restore(store.state)
    progress.stage("search", settings.generations)
    while len(store.generations) <= settings.generations:
        offspring, begun = algorithm.ask(), problem.spent()
        algorithm.tell(*problem.evaluate(offspring, algorithm.population))
        store.append(_generation(algorithm), algorithm.state())
        done = len(store.generations) - 1
        text = _generation_line(store.generations[-1])
        spent = {name: value - begun[name] for name, value in problem.spent().items()}
        folder.log("generation", generation=done, text=text, **spent)
        progress.step(done, text)
    return store


def select(generation: Generation, genome: FilterGenome, section: SelectSection) -> list[Selection]:
    """Choose the members of the final front that are fine-tuned.

    "Uniformly selected": ``section.count`` members, evenly spaced along the remaining filter ratio, the
    nearest unused one for each target. Beside them, for each of ``section.kept_filters``, the most accurate
    member with at most that many filters, so that a published configuration can be asked for. A member
    chosen twice is fine-tuned once.

    Raises
    ------
    ConfigError
        If no member of the front is as small as asked for, or no individual is feasible.
    """
    rows = front_rows(generation)
    if len(rows) == 0:
        raise ConfigError(
            "search: no individual satisfies the constraints; allow more (search.max_error, "
            "search.remaining_ratio) or search longer (search.generations)"
        )
    objectives = generation.objectives[rows]
    chosen: dict[int, str] = {}
    if section.count:
        spread = emo.evenly_spaced(objectives, section.count, axis=0)
        chosen = {
            int(index): f"evenly spaced, {i} of {len(spread)}" for i, index in enumerate(spread, start=1)
        }
    for limit in section.kept_filters:
        index = _best_within(objectives, limit, int(genome.sizes.sum()))
        wish = f"most accurate with at most {limit} filters"
        chosen[index] = f"{chosen[index]}; {wish}" if index in chosen else wish
    return [
        Selection(f"kept-{int(genome.kept(row[None]).sum())}", choice, row)
        for row, choice in ((generation.genomes[rows[i]], choice) for i, choice in chosen.items())
    ]


def fine_tune(
    index: int,
    selection: Selection,
    net: Network,
    params: Params,
    problem: FilterPruningProblem,
    splits: Splits,
    config: OneShotConfig,
    folder: RunFolder,
    progress: Progress,
) -> None:
    """Remove the filters for good, fine-tune the small network once, and store it.

    The recipe is the config's ``finetune`` section (the paper's is not published).
    """
    if folder.model_file(selection.name).exists():
        return
    masks = problem.genome.masks(selection.genome)
    small_net, small_params = compress.slim(net, params, masks)
    steps.tune_and_store(
        steps.Candidate(
            selection.name,
            selection.choice,
            small_net,
            small_params,
            kept={layer: int(mask.sum()) for layer, mask in masks.items()},
            genome=[int(bit) for bit in np.flatnonzero(selection.genome)],
            filters_original=int(problem.genome.sizes.sum()),
        ),
        splits,
        config.finetune,
        child_seed(config.seed, "finetune", index),
        config.engine.table,
        folder,
        progress,
    )


def _best_within(objectives: NDArray[np.float64], limit: int, n_filters: int) -> int:
    within = np.flatnonzero(np.rint(objectives[:, 0] * n_filters) <= limit)
    if len(within) == 0:
        fewest = int(np.rint(objectives[:, 0].min() * n_filters))
        raise ConfigError(
            f"select.kept_filters: no network of the front has at most {limit} filters "
            f"(the smallest has {fewest}); ask for more filters, "
            "search longer, or loosen search.max_error and search.min_kept_ratio"
        )
    return int(within[np.argmin(objectives[within, 1])])


def _generation(algorithm: emo.NSGA2) -> Generation:
    population = algorithm.population
    assert population is not None
    return Generation(
        genomes=population.X.astype(bool),
        objectives=population.F,
        constraints=population.G,
        ranks=algorithm.ranks,
        evaluations=algorithm.evaluations,
    )


def _generation_line(generation: Generation) -> str:
    front = generation.objectives[front_rows(generation)]
    if len(front) == 0:
        return f"{generation.evaluations} evaluations, nothing feasible yet"
    return (
        f"front of {len(front)}: remaining {front[:, 0].min():.1%} to {front[:, 0].max():.1%}, "
        f"error {front[:, 1].min():.2%} to {front[:, 1].max():.2%}, {generation.evaluations} evaluations"
    )
