"""Joint sparse compression of several applications, as one multi-objective problem.

L. Chen, X. Xu, J. Sun, L. Huang: *Joint sparse neural network compression via multi-application
multi-objective optimization*, Applied Intelligence 51(11):7837-7854, 2021.

The method, step by step, and the functions that do it:

1. a joint network: one trunk, a head for each application     :func:`emoref.nn.shared_trunk`
2. its pre-training on the joint loss                          :func:`pretrain`
3. a multi-objective search for masks of the trunk's weights,
   from parents made by magnitude                              :mod:`emoref.systems.joint_sparse_search`
4. networks are chosen from the front                          :mod:`emoref.systems.joint_sparse_pick`
5. fine-tuning on the joint loss under the mask                :func:`fine_tune`
6. sparse storage, and the test sets, once                     :mod:`emoref.systems.joint_sparse_store`
7. the same for every application alone (if asked for)         the same functions, with one task

The paper's full text was not available to us. Published are: the order of these steps, an improved
initialisation of the parents, and fine-tuning on the joint loss. Encoding, objectives, operators, the
initialisation's formula, networks, data and training recipes are emoref's definitions; docs/joint-sparse.md
says what and why.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from emoref import compress, nn
from emoref.errors import ConfigError, DataError
from emoref.nn import MultiTaskNetwork, Network, StepReport
from emoref.runs.config import Section, TrainSection
from emoref.runs.executors import workers_of
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.sparse_record import record_file, search_name
from emoref.search import MaskGenome
from emoref.seeding import child_seed
from emoref.systems import steps, tasks
from emoref.systems.joint_sparse_pick import Pick, SelectSection, check_kept_ratios, choose
from emoref.systems.joint_sparse_search import INITIALISATIONS, MaskProblem, SearchSection, run_search
from emoref.systems.joint_sparse_store import StoreSection, Trained, store_network, test_all
from emoref.systems.steps import Params
from emoref.systems.tasks import Task, TasksBaseSection, TasksConfig

__all__ = ["Group", "JointSparseConfig", "fine_tune", "groups_of", "pretrain", "run", "shrink"]


class JointBaseSection(TasksBaseSection):
    """The joint network's architecture and its pre-training."""

    l1: Annotated[float, Field(ge=0)] = 0.0  # weight of the sum of magnitudes of the trunk's weights


class JointBaselinesSection(Section):
    """What the joint network is compared with."""

    separate: bool = False  # each application alone: its own network, search and fine-tuning
    initialisation: bool = False  # the joint search once more, from parents made the other way


class JointSparseConfig(TasksConfig):
    """An experiment with joint sparse compression."""

    system: Literal["joint-sparse"] = "joint-sparse"
    base: JointBaseSection = JointBaseSection()
    search: SearchSection = SearchSection()
    select: SelectSection = SelectSection()
    finetune: TrainSection = TrainSection(
        epochs=20, optimizer="adam", lr=1e-3, weight_decay=0.0, schedule="cosine", lr_min=1e-4
    )
    store: StoreSection = StoreSection()
    baselines: JointBaselinesSection = JointBaselinesSection()

    @model_validator(mode="after")
    def _trained_here(self) -> "JointSparseConfig":
        for task in self.data.tasks:
            if task.file:
                raise ValueError(
                    f"data.tasks: task {task.name!r} has a file; the joint network is always trained here"
                )
        return self


@dataclass(frozen=True)
class Group:
    """Applications that are compressed together: all of them, or one alone.

    Attributes
    ----------
    name : str
        ``"joint"``, or ``"single-<task>"``.
    number : int
        0 for all together, then 1, 2, ...
    tasks : tuple of Task
        The applications.
    """

    name: str
    number: int
    tasks: tuple[Task, ...]


def groups_of(config: JointSparseConfig, applications: Sequence[Task]) -> list[Group]:
    """Return what is compressed together: all applications; and, if asked for, each alone."""
    groups = [Group("joint", 0, tuple(applications))]
    if config.baselines.separate and len(applications) > 1:
        groups += [Group(f"single-{task.name}", i, (task,)) for i, task in enumerate(applications, start=1)]
    return groups


def run(config: JointSparseConfig, folder: RunFolder, progress: Progress) -> None:
    """Do one experiment, or what is left of it.

    Every stage first looks at what the folder already holds, so the same call starts, resumes and completes.
    """
    applications = tasks.load_tasks(config)
    nets = tasks.build_networks(config, applications)
    genome = MaskGenome(nets[0], config.search.block_size)
    fitness = [_fitness_images(task, config) for task in applications]
    groups = groups_of(config, applications)
    for group in groups:
        check_kept_ratios(config.select.kept_ratios, genome, len(applications), len(group.tasks))
    for group in groups:
        members = [applications.index(task) for task in group.tasks]
        trained = pretrain(config, group, [nets[i] for i in members], folder, progress)
        picks = _search(config, group, trained, genome, [fitness[i] for i in members], folder, progress)
        for number, pick in enumerate(picks):
            if not record_file(folder, pick.name).exists():
                fine_tune(config, group, number, pick, trained, genome, folder, progress)
    test_all(config, [(group.name, group.tasks) for group in groups], folder, progress)


def _fitness_images(task: Task, config: JointSparseConfig) -> tuple[Any, Any]:
    try:
        return steps.fitness_images(task.splits, config.search.images, config.seed)
    except (ConfigError, DataError) as error:
        raise type(error)(f"task {task.name!r}: {error}") from None


# ------------------------------------------------------------------------------------------ pre-training


def pretrain(
    config: JointSparseConfig, group: Group, nets: Sequence[Network], folder: RunFolder, progress: Progress
) -> Trained:
    """Train the joint network of a group on its joint loss, and keep each task's view of it.

    L_joint = sum_t CE_t / T, a batch of every task in each step, with the settings of ``base.train``. With
    ``base.l1`` above 0 every step is followed by a proximal step for l1 * sum |w| over the trunk's weights:
    :func:`shrink`. The paper's pre-training is not published beyond its place in the order of steps.

    Raises
    ------
    NetworkError
        If the networks do not fit together.
    TrainingDivergedError
        If a loss became NaN or infinite.
    """
    multi = nn.shared_trunk([task.name for task in group.tasks], nets)
    files = [folder.bases / f"{group.name}--{task.name}.h5" for task in group.tasks]
    if all(path.exists() for path in files):
        found = [nn.load(path)[1] for path in files]
        return Trained(multi, nn.initial_store(multi, lambda t: found[t]))
    store = nn.initial_store(
        multi, lambda t: nets[t].init(child_seed(config.seed, "joint.init", group.number, t))
    )
    curves = _train(f"pretrain {group.name}", config, group, multi, store, config.base.train,
        child_seed(config.seed, "joint.pretrain", group.number),
        shrink(store, hidden_weights(multi), config.base.l1), folder, progress)  # fmt: skip
    folder.make_folder(folder.bases)
    for t, (task, path) in enumerate(zip(group.tasks, files, strict=True)):
        net, params = multi.export(store, t)
        own = {name: curve for name, curve in curves.items() if not name.startswith("validation_error_")}
        own |= {"validation_error": curves[f"validation_error_{task.name}"]}
        choice = f"pre-trained, {group.name}"
        record = steps.describe(net, params, path.stem, choice, task.splits, config.engine.table, own)
        held = tasks.held_out(config, task)
        extra = {"record": record.to_dict(), "task": task.name, "held_out": held}
        nn.save(path, net, params, extra=extra)
    error = curves["validation_error"][-1]
    folder.log("base", group=group.name, error=error)
    progress.note(f"{group.name}: {error:.2%} mean validation error before pruning")
    return Trained(multi, store)


def hidden_weights(multi: MultiTaskNetwork) -> list[str]:
    """Return the stored arrays of the trunk's weights, those that can be pruned."""
    head = nn.head_of(multi.networks[0])
    return [f"{layer}.weight" for layer in compress.weighted_layers(multi.networks[0]) if layer != head]


def shrink(store: Params, names: Sequence[str], l1: float) -> Callable[[StepReport], None] | None:
    """Return what shrinks weights after every training step, or None if `l1` is 0.

    w becomes sign(w) * max(|w| - lr * l1, 0), the proximal step of l1 * sum |w| (not published; emoref uses
    it because a weight then reaches 0, which a subgradient step would pass over).

    Parameters
    ----------
    store : dict of str to ndarray
        The stored arrays; changed in place.
    names : sequence of str
        Which of them.
    l1 : float
        Weight of the penalty.
    """
    if l1 == 0:
        return None

    def step(report: StepReport) -> None:
        for name in names:
            weight = store[name]
            weight -= np.clip(weight, -report.lr * l1, report.lr * l1)

    return step


def _train(
    title: str,
    config: JointSparseConfig,
    group: Group,
    multi: MultiTaskNetwork,
    store: Params,
    section: TrainSection,
    seed: int,
    on_step: Callable[[StepReport], None] | None,
    folder: RunFolder,
    progress: Progress,
) -> dict[str, list[float]]:
    weights = (1 / len(group.tasks),) * len(group.tasks)
    fit = functools.partial(nn.fit_jointly, weights=weights, on_step=on_step)
    return tasks.train_jointly(
        title, multi, store, group.tasks, section, seed, config.engine.table, folder, progress, fit
    )


# ------------------------------------------------------------------------------------- search and choice


def _search(
    config: JointSparseConfig,
    group: Group,
    trained: Trained,
    genome: MaskGenome,
    fitness: Sequence[tuple[Any, Any]],
    folder: RunFolder,
    progress: Progress,
) -> list[Pick]:
    """Search masks for a group, from parents of one or both kinds; choose from the front of the first."""
    section, report = config.search, steps.reporter(folder, progress)
    kinds: list[str] = [section.initialisation]
    if config.baselines.initialisation and group.name == "joint":
        kinds += [kind for kind in INITIALISATIONS if kind not in kinds]
    seed = child_seed(config.seed, "joint.search", group.number)
    problem = MaskProblem(trained, genome, fitness, config.engine.table, workers_of(config.engine), report)
    steps.keep_counts(problem.evaluator, config, folder, group.name)
    try:
        for kind in kinds:
            name = search_name(group.name, kind, section.initialisation)
            found = run_search(name, problem, section, kind, seed, folder, progress)
            if kind == section.initialisation:
                front = found
        return choose(group.name, len(config.data.tasks), problem, front, config.select)
    finally:
        problem.close()


# ------------------------------------------------------------------------------------------ fine-tuning


def fine_tune(
    config: JointSparseConfig,
    group: Group,
    number: int,
    pick: Pick,
    trained: Trained,
    genome: MaskGenome,
    folder: RunFolder,
    progress: Progress,
) -> None:
    """Train a chosen network on the joint loss under its mask, and store it.

    Masked weights are zero from the start and set to zero again after every step, so that they are exactly
    zero in every forward pass; the others get the updates that they would get without them. The recipe is
    ``finetune``: Adam from 1e-3 to 1e-4 along a cosine, 20 epochs (the paper's is not published).
    """
    multi = trained.multi
    store = {name: value.copy() for name, value in trained.store.items()}
    keep = compress.keep_weights(multi.networks[0], store, genome.masks(pick.genome))
    held_out = [task.splits.validation for task in group.tasks]
    backend = config.engine.table
    originals = tasks.evaluate_shared(multi, trained.store, held_out, backend)
    before = tasks.evaluate_shared(multi, store, held_out, backend)
    curves = _train(f"fine-tune {pick.name}", config, group, multi, store, config.finetune,
        child_seed(config.seed, "joint.finetune", group.number, number), keep, folder, progress)  # fmt: skip
    record = store_network(
        config.store,
        pick,
        group.name,
        Trained(multi, store),
        held_out,
        (originals, before),
        curves,
        backend,
        folder,
    )
    folder.log("fine-tuned", network=pick.name, error=record.mean_error("after"))
    progress.note(
        f"{pick.name}: {record.kept_total:,} connections ({record.remaining_ratio:.1%}), mean validation "
        f"error {record.mean_error('after'):.2%}"
    )
