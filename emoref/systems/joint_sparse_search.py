"""The search for masks: a joint network's objectives, the parents' initialisation, and the algorithm.

Chen et al. 2021, the steps "joint multi-objective evolutionary algorithm" and "improved initialization method
for parent model generation". Neither is published in detail; what follows is emoref's definition.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from emoref import emo
from emoref.emo.problem import Variables
from emoref.errors import FileFormatError, ShapeError
from emoref.runs.config import PositiveInt, Probability, Section
from emoref.runs.executors import Workers
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.store import Generation, SearchStore, front_rows
from emoref.search import FAILED, MaskedEvaluator, MaskedWorkers, MaskGenome, candidate_rows
from emoref.systems.joint_sparse_store import Trained

__all__ = [
    "INITIALISATIONS",
    "BernoulliLadder",
    "MaskProblem",
    "SearchSection",
    "divisions_for",
    "run_search",
]

INITIALISATIONS = ("ladder", "random")
"""How parents are made: by magnitude, or by chance."""

_MOST_POINTS = 126
"""Reference points at most, where their number is not given; 91 for 3 objectives, 120 for 4, 126 for 5."""


class SearchSection(Section):
    """Encoding, initialisation and algorithm. None of it is published; these are emoref's."""

    granularity: Literal["weight", "group"] = "weight"
    block: PositiveInt = 8  # weights of one unit that share a bit, where granularity is "group"
    initialisation: Literal["ladder", "random"] = "ladder"
    kept_range: tuple[Probability, Probability] = (0.02, 0.6)  # of the parents' kept ratios
    jitter: Annotated[float, Field(ge=0)] = 0.1  # of the ladder's magnitudes, in their standard deviations
    algorithm: Literal["auto", "nsga2", "nsga3"] = "auto"  # auto: NSGA-II for one task, else NSGA-III
    population: Annotated[int, Field(ge=0)] = 0  # 0: 40 for one task, else the number of reference points
    divisions: Annotated[int, Field(ge=0)] = 0  # of NSGA-III's points; 0: 12 for 3 objectives
    generations: PositiveInt = 100
    crossover: Literal["layer", "uniform"] = "layer"  # what changes places: whole layers, or single bits
    crossover_probability: Probability = 0.9
    mutation_probability: Probability = 0.0  # per bit; 0: 1 / number of bits
    swap_probability: Probability = 0.5  # that a mutation swaps two bits instead of turning bits over
    images: Annotated[int, Field(ge=0)] = 2000  # of each task's validation set, class-balanced; 0: all

    @model_validator(mode="after")
    def _makes_sense(self) -> "SearchSection":
        low, high = self.kept_range
        if not 0 < low <= high:
            raise ValueError(
                f"kept_range must be [low, high] with 0 < low <= high, found [{low}, {high}]: a parent that "
                "keeps nothing has an empty layer"
            )
        if 0 < self.population < 4:
            raise ValueError(f"population must be 0 or at least 4, found {self.population}")
        return self

    @property
    def block_size(self) -> int:
        """Weights that share a bit."""
        return self.block if self.granularity == "group" else 1


@dataclass(frozen=True)
class BernoulliLadder:
    """Masks whose bits are kept by chance, with ratios equally spaced from row to row.

    The random initialisation that the magnitude ladder is compared with: row i keeps every bit with the
    ratio r_i that row i of the ladder keeps exactly.

    Parameters
    ----------
    low, high : float
        Smallest and largest ratio.
    """

    low: float
    high: float

    def __call__(self, count: int, variables: Variables, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return `count` masks."""
        ratios = np.linspace(self.low, self.high, count) if count != 1 else [(self.low + self.high) / 2]
        return rng.random((count, variables.count)) < np.asarray(ratios)[:, None]


class MaskProblem:
    """Masks of a joint network's hidden weights.

    Decision variables: a bit for every group of weights, 1 = keep; see :class:`emoref.search.MaskGenome`.
    Minimise, for T tasks,

    - f_t = wrong predictions / images of task t, t = 1 .. T, of the masked network, not trained further; and
    - f_(T+1) = kept connections / connections of the hidden layers.

    All are counted in integers and divided once. Heads and biases are never pruned.

    Parameters
    ----------
    trained : Trained
        The pre-trained joint network.
    genome : MaskGenome
        What the bits mean.
    fitness : sequence of (images, labels)
        What each task's errors are measured on.
    backend : str
        The back end that computes.
    workers : Workers, optional
        Who evaluates; by default this process.
    report : callable, optional
        Called with one line for each failure of a worker.

    Attributes
    ----------
    base_wrong : int64 array, shape (T,)
        Wrong predictions of the unpruned network.
    magnitudes : float64 array, shape (n_bits,)
        Mean magnitude of the weights of each group.
    """

    def __init__(
        self,
        trained: Trained,
        genome: MaskGenome,
        fitness: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        backend: str,
        workers: Workers | None = None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.trained, self.genome = trained, genome
        self.tasks = trained.multi.tasks
        params = [trained.params(t) for t in range(len(self.tasks))]
        images, labels = zip(*fitness, strict=True)
        nets = trained.multi.networks
        self.evaluator: MaskedEvaluator | MaskedWorkers = (
            MaskedEvaluator(nets, params, images, labels, genome, backend)
            if workers is None
            else MaskedWorkers(
                nets,
                params,
                images,
                labels,
                genome,
                backend,
                make_executor=workers.make_executor,
                workers=workers.count,
                report=report,
            )
        )
        self.images = np.array(self.evaluator.totals, dtype=np.int64)
        self.magnitudes = genome.magnitudes(trained.store)
        self.weights = int(genome.weights.sum())
        self.n_var, self.n_obj = genome.n_bits, len(self.tasks) + 1
        self.lower, self.upper, self.kind = 0, 1, "binary"
        self.base_wrong = MaskedEvaluator(nets, params, images, labels, genome, backend).wrong_counts(
            candidate_rows(genome, np.ones((1, self.n_var), dtype=bool), len(self.tasks))
        )

    @property
    def objectives(self) -> list[str]:
        """Names of the objectives."""
        return [*(f"error of {task}" for task in self.tasks), "kept connections"]

    def evaluate(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the objectives of genomes, shape (P, T + 1); NaN where a worker failed.

        Parameters
        ----------
        X : bool array, shape (P, n_bits)
            Repaired genomes.
        """
        genomes = np.asarray(X, dtype=bool)
        rows = candidate_rows(self.genome, genomes, len(self.tasks))
        wrong = self.evaluator.wrong_counts(rows).reshape(len(self.tasks), -1)
        errors = np.where(wrong == FAILED, np.nan, wrong / self.images[:, None])
        kept = self.genome.kept(genomes).sum(axis=1) / self.weights
        return np.vstack([errors, kept[None]]).T

    def repair(self, X: NDArray[Any], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Restore what :meth:`emoref.search.MaskGenome.repair` restores; `rng` is not used.

        Parameters
        ----------
        X : bool array, shape (P, n_bits)
            Genomes; not changed.
        rng : numpy.random.Generator
            As every repair gets it.
        """
        return self.genome.repair(np.asarray(X, dtype=bool), self.magnitudes)

    def layout(self, section: SearchSection, initialisation: str, divisions: int) -> dict[str, object]:
        """Return what a stored search holds, for its file.

        Parameters
        ----------
        section : SearchSection
            Settings.
        initialisation : str
            How the parents were made.
        divisions : int
            Of the reference points; 0 if there are none.
        """
        digest = hashlib.blake2b(self.magnitudes.tobytes(), digest_size=8).hexdigest()
        return {
            "genes": "integers",
            "genome": "kept connections of each layer; state/X holds the last masks, eight bits a byte",
            "layers": [
                [name, int(size)] for name, size in zip(self.genome.names, self.genome.weights, strict=True)
            ],
            "block": self.genome.block,
            "bits": self.genome.n_bits,
            "network": digest,
            "objectives": self.objectives,
            "images": self.images.tolist(),
            "base_wrong": self.base_wrong.tolist(),
            "initialisation": initialisation,
            "kept_range": list(section.kept_range),
            "divisions": divisions,
        }

    def close(self) -> None:
        """Write the counts that are kept, and let the workers go, if there are any."""
        self.evaluator.close()


def divisions_for(n_obj: int) -> int:
    """Return the divisions of the reference points where none are given: 12 for 3 objectives.

    For more objectives the most that give at most 126 points; 91 points for 3, 120 for 4, 126 for 5.

    Parameters
    ----------
    n_obj : int
        Number of objectives, at least 2.

    Examples
    --------
    >>> [divisions_for(m) for m in (2, 3, 4, 5)]
    [39, 12, 7, 5]
    """
    if n_obj <= 3:
        return {2: 39, 3: 12}[n_obj]
    divisions = 1
    while comb(n_obj + divisions, divisions + 1) <= _MOST_POINTS:
        divisions += 1
    return divisions


def _algorithm(
    problem: MaskProblem, section: SearchSection, initialisation: str, seed: int
) -> tuple[emo.NSGA2 | emo.NSGA3, int]:
    """Return the algorithm and the divisions of its reference points (0: it has none)."""
    sizes, (low, high) = tuple(problem.genome.sizes.tolist()), section.kept_range
    sampling: emo.MagnitudeLadder | BernoulliLadder = (
        emo.MagnitudeLadder(problem.magnitudes, sizes, low, high, section.jitter)
        if initialisation == "ladder"
        else BernoulliLadder(low, high)
    )
    crossover: emo.LayerCrossover | emo.UniformCrossover = (
        emo.LayerCrossover(sizes, section.crossover_probability)
        if section.crossover == "layer"
        else emo.UniformCrossover(section.crossover_probability)
    )
    options: dict[str, Any] = {
        "seed": seed,
        "sampling": sampling,
        "crossover": crossover,
        "mutation": emo.BitSwap(section.swap_probability, section.mutation_probability or None),
        "repair": problem.repair,
    }
    divisions = section.divisions or divisions_for(problem.n_obj)
    points = emo.das_dennis(problem.n_obj, divisions)
    size = section.population or (40 if problem.n_obj == 2 else -(-len(points) // 4) * 4)
    nsga3 = section.algorithm == "nsga3" or (section.algorithm == "auto" and problem.n_obj > 2)
    if nsga3:
        return emo.NSGA3(problem, reference_points=points, population_size=size, **options), divisions
    return emo.NSGA2(problem, population_size=size, **options), 0


def run_search(
    name: str,
    problem: MaskProblem,
    section: SearchSection,
    initialisation: str,
    seed: int,
    folder: RunFolder,
    progress: Progress,
) -> emo.Population:
    """Run one search, or what is left of it, one stored generation at a time.

    NSGA-II for one task, NSGA-III with Das and Dennis's reference points for several (or as the section
    says), layer-wise crossover, bit-flips or swaps that keep the number of bits, repair, and survival of the
    best of parents and offspring. The file holds the objectives of every generation and the number of
    connections that each candidate keeps in each layer; of masks, those of the last generation.

    Returns
    -------
    Population
        The feasible non-dominated candidates of the last generation, objectives as in the problem. Of equal
        objectives the first.
    """
    algorithm, divisions = _algorithm(problem, section, initialisation, seed)
    folder.make_folder(folder.searches)
    path = folder.search_file(name)
    store = SearchStore.open_or_new(path, problem.layout(section, initialisation, divisions))
    if store.generations:
        algorithm.restore(_unpacked(store.state, problem.genome, str(path)))
    progress.stage(f"search {name}", section.generations)
    while len(store.generations) <= section.generations:
        offspring, known = algorithm.ask(), problem.evaluator.cache.spent
        algorithm.tell(problem.evaluate(offspring) if len(offspring) else np.empty((0, problem.n_obj)))
        store.append(_generation(algorithm, problem.genome), _packed(algorithm.state(), problem.genome))
        done = len(store.generations) - 1
        text = _generation_line(store.generations[-1], problem.tasks)
        spent = problem.evaluator.cache.spent.since(known)
        folder.log("generation", search=name, generation=done, text=text, **spent)
        progress.step(done, text)
    assert algorithm.population is not None
    return algorithm.population.take(front_rows(store.generations[-1]))


def _packed(state: Mapping[str, Any], genome: MaskGenome) -> dict[str, Any]:
    return {**state, "X": genome.pack(np.asarray(state["X"], dtype=bool))}


def _unpacked(state: Mapping[str, Any], genome: MaskGenome, path: str) -> dict[str, Any]:
    try:
        return {**state, "X": genome.unpack(state["X"])}
    except (KeyError, ShapeError) as error:
        raise FileFormatError(f"{path}: damaged: state/X: {error}") from None


def _generation(algorithm: emo.NSGA2 | emo.NSGA3, genome: MaskGenome) -> Generation:
    population = algorithm.population
    assert population is not None
    return Generation(
        genomes=genome.kept(np.asarray(population.X, dtype=bool)),
        objectives=population.F,
        constraints=population.G,
        ranks=emo.constrained_ranks(population.F, population.G),
        evaluations=algorithm.evaluations,
    )


def _generation_line(generation: Generation, tasks: Sequence[str]) -> str:
    front = generation.objectives[front_rows(generation)]
    errors = ", ".join(
        f"{task} {low:.2%} to {high:.2%}"
        for task, low, high in zip(tasks, front.min(axis=0), front.max(axis=0), strict=False)
    )
    kept = front[:, -1]
    return (
        f"front of {len(front)}: kept {kept.min():.1%} to {kept.max():.1%}, error {errors}, "
        f"{generation.evaluations} evaluations"
    )
