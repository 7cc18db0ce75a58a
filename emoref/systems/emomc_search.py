"""Stage II of EMOMC: the searches, one for each dataflow and each coding, on one shared memory of errors.

Z. Wang et al. 2021, pp. 15-19. A candidate is a remaining ratio of the library and a number of bits for each
layer. It is not trained: the library's model is quantised and run, and its cost is estimated. The error
depends neither on the dataflow nor on the coding, so a network that one search has met costs the others
nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from emoref import emo, nn
from emoref.compress.energy import DATAFLOWS
from emoref.compress.library import Library
from emoref.data import load
from emoref.errors import ConfigError
from emoref.nn import Network
from emoref.runs.config import ExperimentConfig, PositiveInt, Probability, Section
from emoref.runs.executors import Workers
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.store import Generation, SearchStore, front_rows
from emoref.search import FAILED, REAL_BITS, QuantizedEvaluator, QuantizedWorkers
from emoref.systems import steps
from emoref.systems.emomc_costs import Costs, check_coding
from emoref.systems.steps import Params, Splits

__all__ = ["Accuracy", "CompressionProblem", "SearchPlan", "SearchSection", "run_search", "searches"]

Share = Annotated[float, Field(gt=0)]


class SearchSection(Section):
    """The searches' settings; the defaults of population, operators and bits are the authors' code's."""

    dataflows: tuple[str, ...] = DATAFLOWS  # one search of (error, energy) for each
    codings: tuple[str, ...] = ("normal", "csr", "coo")  # one search of (error, size) for each
    three_objectives: bool = False  # one more, of (error, energy, size), by NSGA-III; beyond the paper
    population: Annotated[int, Field(ge=4)] = 40
    offspring: PositiveInt = 20
    generations: PositiveInt = 119  # after the initial one; 40 + 119 * 20 = 2,420 evaluations
    divisions: PositiveInt = 8  # of NSGA-III's reference points; 8: 45 points
    crossover_probability: Probability = 0.9
    crossover_eta: Annotated[float, Field(ge=0)] = 15.0
    mutation_eta: Annotated[float, Field(ge=0)] = 20.0
    bits: tuple[int, int] = (2, 12)  # lowest and highest, of every layer
    images: Annotated[int, Field(ge=0)] = 0  # of the validation set, class-balanced; 0: all
    max_error: Probability = 1.0  # constraint; 1: none
    limit_dataflow: str = "X:Y"  # whose energy is limited where size is the objective
    limit_coding: str = "normal"  # whose size is limited where energy is the objective
    energy_limit: Share = 1.0  # as a share of the uncompressed network's energy
    size_limit: Share = 1.0  # as a share of the uncompressed weights' size
    paper_protocol: bool = False  # real bits, and errors on the test set, as in the authors' code

    @field_validator("dataflows", "codings")
    @classmethod
    def _different(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("each can be named once")
        return names

    @field_validator("bits")
    @classmethod
    def _in_range(cls, bits: tuple[int, int]) -> tuple[int, int]:
        low, high = bits
        if not 2 <= low <= high <= 16:
            raise ValueError("must be [lowest, highest] with 2 <= lowest <= highest <= 16")
        return bits

    @model_validator(mode="after")
    def _known_names(self) -> "SearchSection":
        for dataflow in (*self.dataflows, self.limit_dataflow):
            if dataflow not in DATAFLOWS:
                raise ValueError(f"unknown dataflow {dataflow!r}; known: {', '.join(DATAFLOWS)}")
        for coding in (*self.codings, self.limit_coding):
            try:
                check_coding(coding)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        if not self.dataflows and not self.codings and not self.three_objectives:
            raise ValueError("dataflows and codings are empty and three_objectives is false: nothing to do")
        return self


@dataclass(frozen=True)
class SearchPlan:
    """One search: what it minimises beside the error.

    Attributes
    ----------
    name : str
        Name of its file: "energy-X-Y", "size-csr", "three".
    dataflow, coding : str
        Whose energy and size are objectives, or limited.
    objectives : tuple of str
        Among "energy" and "size".
    """

    name: str
    dataflow: str
    coding: str
    objectives: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the report calls it."""
        under = {"energy": self.dataflow, "size": self.coding}
        return "error, " + ", ".join(f"{what} ({under[what]})" for what in self.objectives)


def searches(section: SearchSection) -> Iterator[SearchPlan]:
    """Yield the searches of a run, in their order."""
    for dataflow in section.dataflows:
        yield SearchPlan(f"energy-{dataflow.replace(':', '-')}", dataflow, section.limit_coding, ("energy",))
    for coding in section.codings:
        yield SearchPlan(f"size-{coding}", section.limit_dataflow, coding, ("size",))
    if section.three_objectives:
        yield SearchPlan("three", section.limit_dataflow, section.limit_coding, ("energy", "size"))


class Accuracy:
    """The errors of candidates and of the base network on the images that the searches look at.

    Parameters
    ----------
    config : ExperimentConfig
        Whose ``search`` and ``model`` say on which images, and how weights are quantised.
    base : tuple (Network, Params)
        The trained network.
    library : Library
        The pruned models.
    splits : Splits
        Its validation images are the searches' images, unless the paper's protocol asks for the test set.
    workers : Workers, optional
        Who evaluates; by default this process.
    report : callable, optional
        Called with one line for each failure of a worker.

    Attributes
    ----------
    images : int
        How many images.
    base_wrong : int
        Wrong predictions of the base network.
    """

    def __init__(
        self,
        config: Any,
        base: tuple[Network, Params],
        library: Library,
        splits: Splits,
        workers: Workers | None = None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        section = config.search
        if section.paper_protocol:
            images, labels = load(config.data.name, "test").arrays()
        else:
            images, labels = steps.fitness_images(splits, section.images, config.seed)
        method = REAL_BITS if section.paper_protocol else config.model.quantizer
        backend = config.engine.table
        self.images = len(labels)
        self.base_wrong = nn.evaluate(*base, images, labels, backend=backend).wrong
        evaluated = (library.net, library.models, images, labels, method, backend)
        self.evaluator: QuantizedEvaluator | QuantizedWorkers = (
            QuantizedEvaluator(*evaluated)
            if workers is None
            else QuantizedWorkers(
                *evaluated, make_executor=workers.make_executor, workers=workers.count, report=report
            )
        )

    def errors(self, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the error of each candidate (see :class:`CompressionProblem`); NaN where it failed."""
        if len(candidates) == 0:
            return np.empty(0)
        wrong = self.evaluator.wrong_counts(candidates)
        return np.where(wrong == FAILED, np.nan, wrong / self.images)

    def remember(self, candidates: NDArray[np.float64], errors: NDArray[np.float64]) -> None:
        """Take over errors that a stored search holds."""
        known = np.isfinite(errors)
        self.evaluator.remember(candidates[known], np.rint(errors[known] * self.images))

    def close(self) -> None:
        """Write the counts that are kept, and let the workers go, if there are any."""
        self.evaluator.close()


class CompressionProblem:
    """One of EMOMC's problems.

    Decision variables: the number of a library model, and q_1 .. q_L, the bits of each layer in topological
    order; whole numbers. (The paper's protocol: real numbers, the first a percentage that is rounded down to
    the grid of remaining ratios; costs are those of rounded bits, errors those of unrounded ones.)

    Minimise the error on the searches' images and the plan's costs. Constraints: the cost that is no
    objective is at most its limit, as a share of the uncompressed network's; the error is at most
    ``max_error``.

    Parameters
    ----------
    plan : SearchPlan
        What is minimised.
    accuracy : Accuracy
        Measures errors.
    costs : Costs
        Estimates energies and sizes.
    section : SearchSection
        Bounds and limits.
    """

    def __init__(self, plan: SearchPlan, accuracy: Accuracy, costs: Costs, section: SearchSection) -> None:
        self.plan, self.accuracy, self.costs, self.section = plan, accuracy, costs, section
        layers, (low, high) = len(costs.layers), section.bits
        ratios = costs.library.ratios
        first: tuple[float, float] = (0, len(ratios) - 1)
        self.kind = "integer"
        if section.paper_protocol:
            first, self.kind = (100 * ratios[0], 100 * ratios[-1]), "real"
        self.n_var, self.n_obj = 1 + layers, 1 + len(plan.objectives)
        self.lower = np.array([first[0], *[low] * layers], dtype=np.float64)
        self.upper = np.array([first[1], *[high] * layers], dtype=np.float64)
        self._limits = {
            "energy": section.energy_limit * costs.base_energy(plan.dataflow).energy_pj,
            "size": section.size_limit * costs.base_size_bits(),
        }

    @property
    def layout(self) -> dict[str, object]:
        """What genome and objectives mean, for the search's file."""
        units = {
            "energy": f"energy under {self.plan.dataflow} (pJ)",
            "size": f"size as {self.plan.coding} (bit)",
        }
        limited = [what for what in units if what not in self.plan.objectives]
        shapes = self.costs.net.param_shapes()
        return {
            "genes": "reals" if self.section.paper_protocol else "integers",
            "layers": [[name, int(np.prod(shapes[f"{name}.weight"]))] for name in self.costs.layers],
            "ratios": list(self.costs.library.ratios),
            "library": self.costs.library.base,
            "objectives": ["error", *(units[what] for what in self.plan.objectives)],
            "constraints": [*(f"{units[what]} above its limit" for what in limited), "error above its limit"],
            "dataflow": self.plan.dataflow,
            "coding": self.plan.coding,
            "images": self.accuracy.images,
            "base_wrong": self.accuracy.base_wrong,
        }

    def candidates(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return what the evaluator takes: number of the model, bits of each layer."""
        rows = np.asarray(X, dtype=np.float64)
        if self.section.paper_protocol:
            rows = rows.copy()
            # A grid value itself must not fall to the one below for its last bit.
            steps_up = 100 * np.array(self.costs.library.ratios) - 1e-9
            rows[:, 0] = np.searchsorted(steps_up, rows[:, 0], side="right") - 1
        return rows

    def costed(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the candidates that costs are computed for, with whole bits (half to even)."""
        return np.rint(self.candidates(X))

    def evaluate(self, X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return objectives and constraints (feasible: at most 0), each (rows, ...)."""
        errors, rows = self.accuracy.errors(self.candidates(X)), self.costed(X)
        costs = {
            "energy": self.costs.energies(self.plan.dataflow, rows),
            "size": self.costs.sizes(self.plan.coding, rows),
        }
        objectives = [errors, *(costs[what] for what in self.plan.objectives)]
        limited = [what for what in costs if what not in self.plan.objectives]
        constraints = [costs[what] / self._limits[what] - 1 for what in limited]
        return np.column_stack(objectives), np.column_stack([*constraints, errors - self.section.max_error])


def run_search(
    plan: SearchPlan,
    accuracy: Accuracy,
    costs: Costs,
    config: ExperimentConfig,
    folder: RunFolder,
    progress: Progress,
) -> SearchStore:
    """Run one search, or what is left of it, one stored generation at a time.

    NSGA-II with simulated binary crossover and polynomial mutation at the authors' settings; for three
    objectives NSGA-III with evenly spread reference points.
    """
    section: SearchSection = config.search  # type: ignore[attr-defined]
    problem = CompressionProblem(plan, accuracy, costs, section)
    algorithm = _algorithm(problem, section, config.seed)
    folder.make_folder(folder.searches)
    store = SearchStore.open_or_new(folder.search_file(plan.name), problem.layout)
    for generation in store.generations:
        accuracy.remember(problem.candidates(generation.genomes), generation.objectives[:, 0])
    if store.generations:
        algorithm.restore(store.state)
    progress.stage(f"search {plan.name}", section.generations)
    while len(store.generations) <= section.generations:
        offspring, begun = algorithm.ask(), accuracy.evaluator.macs_executed
        known = accuracy.evaluator.cache.spent
        algorithm.tell(*problem.evaluate(offspring))
        store.append(_generation(algorithm), algorithm.state())
        done = len(store.generations) - 1
        text = _generation_line(store.generations[-1], plan)
        macs = accuracy.evaluator.macs_executed - begun
        spent = accuracy.evaluator.cache.spent.since(known)
        folder.log("generation", search=plan.name, generation=done, text=text, macs=macs, **spent)
        progress.step(done, text)
    return store


def _algorithm(problem: CompressionProblem, section: SearchSection, seed: int) -> emo.Algorithm:
    options: dict[str, Any] = {
        "seed": seed,
        "offspring_size": section.offspring,
        "crossover": emo.SBX(section.crossover_probability, section.crossover_eta),
        "mutation": emo.PolynomialMutation(None, section.mutation_eta),
    }
    if problem.n_obj == 2:
        return emo.NSGA2(problem, population_size=section.population, **options)
    points = emo.das_dennis(problem.n_obj, section.divisions)
    return emo.NSGA3(problem, reference_points=points, **options)


def _generation(algorithm: emo.Algorithm) -> Generation:
    population = algorithm.population
    assert population is not None
    return Generation(
        genomes=population.X,
        objectives=population.F,
        constraints=population.G,
        ranks=emo.constrained_ranks(population.F, population.G),
        evaluations=algorithm.evaluations,
    )


def _generation_line(generation: Generation, plan: SearchPlan) -> str:
    front = generation.objectives[front_rows(generation)]
    if len(front) == 0:
        return f"{generation.evaluations} evaluations, nothing feasible yet"
    parts = [f"front of {len(front)}: error {front[:, 0].min():.2%} to {front[:, 0].max():.2%}"]
    for what, values in zip(plan.objectives, front[:, 1:].T, strict=True):
        unit, scale = ("nJ", 1e-3) if what == "energy" else ("KiB", 1 / 8192)
        parts.append(f"{what} {scale * values.min():.4g} to {scale * values.max():.4g} {unit}")
    return f"{', '.join(parts)}, {generation.evaluations} evaluations"
