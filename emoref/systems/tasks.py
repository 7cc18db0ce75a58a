"""What systems for several applications share: data of several tasks, their networks, joint training.

The configuration names the tasks under ``[[data.tasks]]``::

    [data]
    name = "MNIST + Fashion-MNIST"
    validation = 5000
    [[data.tasks]]
    name = "digits"
    data = "mnist"
    [[data.tasks]]
    name = "clothes"
    data = "fashion-mnist"
    classes = ["Sneaker", "Bag"]        # all where left out

Validation images, ``train_limit`` and augmentation are those of each task. The networks of the tasks are one
architecture, ``base.network``, with a head of its own for each.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import field_validator, model_validator

from emoref import networks, nn
from emoref.data import Dataset, class_balanced_subset, in_shape, load, select_classes
from emoref.errors import ConfigError, DataError
from emoref.nn import MultiTaskNetwork, Network
from emoref.runs.config import BaseSection, DataSection, ExperimentConfig, PositiveInt, Section, TrainSection
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.seeding import child_seed
from emoref.systems import steps
from emoref.systems.steps import Params, Splits

Start = Literal["apart", "common"]


class TaskSection(Section):
    """One task: its images, and perhaps a network that was trained for it."""

    name: str
    data: str
    classes: tuple[int | str, ...] = ()  # numbers or names; empty: all
    file: str = ""  # a trained network; empty: train one

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or "--" in name:
            raise ValueError('a task\'s name consists of letters, digits, "_" and single "-"')
        return name


class TasksDataSection(DataSection):
    """Images of several tasks in a common shape."""

    name: str = "several tasks"
    tasks: tuple[TaskSection, ...] = ()
    shape: tuple[PositiveInt, ...] = ()  # (channels, height, width); empty: all tasks' images have one

    @model_validator(mode="after")
    def _some_tasks(self) -> "TasksDataSection":
        if not self.tasks:
            raise ValueError("tasks: the list of tasks is empty; give at least one [[data.tasks]]")
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"tasks: two tasks have the same name ({', '.join(names)})")
        if len(self.shape) not in (0, 3):
            raise ValueError("shape must be (channels, height, width)")
        return self


class TasksBaseSection(BaseSection):
    """The architecture of all tasks' networks, and how they are trained; files are given task by task."""

    widths: tuple[PositiveInt, ...] = ()  # filters or units of the hidden layers; empty: the network's own

    @model_validator(mode="after")
    def _no_file(self) -> "TasksBaseSection":
        if self.file:
            raise ValueError("file: with several tasks, give each its file under [[data.tasks]]")
        return self


class TasksConfig(ExperimentConfig):
    """What every experiment with several tasks has."""

    data: TasksDataSection
    base: TasksBaseSection = TasksBaseSection()


@dataclass(frozen=True)
class Task:
    """A task with its images; the test set is loaded by :func:`load_test_images` alone."""

    section: TaskSection
    splits: Splits

    @property
    def name(self) -> str:
        """The task's name."""
        return self.section.name

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.splits.train.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image."""
        return self.splits.train.image_shape


def load_tasks(config: TasksConfig) -> list[Task]:
    """Load the training images of every task, and hold the validation images out of them.

    Raises
    ------
    DataError
        If a data set is missing or damaged, a class is unknown, or two tasks' images differ in shape and no
        common shape is given (names the tasks).
    ConfigError
        If a task has too few images.
    """
    tasks = []
    for section in config.data.tasks:
        try:
            dataset = _images(section, config.data.shape, "train")
            tasks.append(Task(section, steps.split(dataset, config.data, config.seed)))
        except (ConfigError, DataError) as error:
            raise type(error)(f"task {section.name!r}: {error}") from None
    for task in tasks[1:]:
        if task.shape != tasks[0].shape:
            raise DataError(
                f"tasks {tasks[0].name!r} and {task.name!r} have images of shape {tasks[0].shape} and "
                f"{task.shape}; give a common data.shape, e.g. "
                f"{[max(pair) for pair in zip(tasks[0].shape, task.shape, strict=True)]}"
            )
    return tasks


def _images(section: TaskSection, shape: tuple[int, ...], part: str) -> Dataset:
    dataset = load(section.data, part)
    if section.classes:
        dataset = select_classes(dataset, section.classes)
    return in_shape(dataset, shape) if shape else dataset


def load_test_images(config: TasksConfig, index: int) -> Dataset:
    """Load the test images of a task."""
    return _images(config.data.tasks[index], config.data.shape, "test")


def training_sample(tasks: Sequence[Task], count: int, seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return for each task `count` class-balanced training images and their labels.

    Raises
    ------
    ConfigError
        If a task has too few.
    """
    chosen = []
    for task in tasks:
        try:
            subset = class_balanced_subset(task.splits.train, count, seed)
        except DataError as error:
            raise ConfigError(f"search.images: task {task.name!r}: {error}") from None
        chosen.append(subset.arrays())
    return chosen


def build_networks(config: TasksConfig, tasks: Sequence[Task]) -> list[Network]:
    """Return the architecture of every task: read from its file, else built by name.

    Raises
    ------
    NetworkError
        If two tasks' architectures or inputs differ (names them), or a head does not tell as many classes
        apart as the data have.
    """
    nets = []
    for task in tasks:
        if task.section.file:
            net, _ = nn.load(networks.trained_file(task.section.file))
        else:
            options = {"widths": config.base.widths} if config.base.widths else {}
            net = networks.build(config.base.network, input_shape=task.shape, classes=task.classes, **options)
        nets.append(net)
    nn.check_tasks([task.name for task in tasks], nets)
    for task, net in zip(tasks, nets, strict=True):
        steps.check_fit(net, task.shape, task.classes, f"task {task.name!r}")
    return nets


def base_file(folder: RunFolder, task: Task, start: Start = "apart") -> Path:
    """Return where a task's unpruned network is kept."""
    return folder.bases / (f"{task.name}.h5" if start == "apart" else f"{task.name}--common.h5")


def base_networks(
    config: TasksConfig,
    tasks: Sequence[Task],
    folder: RunFolder,
    progress: Progress,
    start: Start = "apart",
) -> list[tuple[Network, Params]]:
    """Return the tasks' trained networks, each trained on its own images alone, and keep them.

    With `start` ``"apart"`` every network begins with weights of its own; with ``"common"`` all begin with
    those of the first task (heads apart), so that their filters have a common order to begin with.

    Raises
    ------
    NetworkError
        If the networks do not fit together or to the data.
    ConfigError
        If a common start is asked for where a task's network is read from a file.
    TrainingDivergedError
        If a loss became NaN or infinite.
    """
    nets = build_networks(config, tasks)
    given = [task.name for task in tasks if task.section.file]
    if start == "common" and given:
        raise ConfigError(
            f"a common start needs networks that are trained here, but task {given[0]!r} has a file"
        )
    folder.make_folder(folder.bases)
    return [
        _base_network(config, index, task, nets[index], folder, progress, start)
        for index, task in enumerate(tasks)
    ]


def held_out(config: TasksConfig, task: Task) -> dict[str, Any]:
    """Describe which images of a task are kept from training, for the file of a base network."""
    images = " ".join([task.section.data, *map(str, task.section.classes)])
    return steps.held_out(images, config.data, config.seed)


def _base_network(
    config: TasksConfig,
    index: int,
    task: Task,
    net: Network,
    folder: RunFolder,
    progress: Progress,
    start: Start,
) -> tuple[Network, Params]:
    # The first task's network is the same from either start.
    path = base_file(folder, task, start if index else "apart")
    if path.exists():
        return nn.load(path)
    curves: dict[str, list[float]] = {}
    held = held_out(config, task)
    if task.section.file:
        file = networks.trained_file(task.section.file)
        _, params = nn.load(file)
        choice, held = steps.origin(file, held)
    else:
        params = net.init(child_seed(config.seed, "base.init", index if start == "apart" else 0))
        choice = "trained from scratch" if start == "apart" else "trained from the first task's start"
        title = f"base {task.name}" if start == "apart" else f"base {task.name}, common start"
        seed = child_seed(config.seed, "base.train", index)
        curves = steps.train(
            title,
            net,
            params,
            task.splits,
            config.base.train,
            seed,
            config.engine.table,
            folder,
            progress,
        )
    record = steps.describe(net, params, path.stem, choice, task.splits, config.engine.table, curves)
    extra = {"record": record.to_dict(), "task": task.name, "held_out": held}
    nn.save(path, net, params, extra=extra)
    folder.log("base", task=task.name, error=record.validation.error_after)
    progress.note(f"{task.name}: {record.validation.error_after:.2%} validation error")
    return net, params


def train_jointly(
    title: str,
    multi: MultiTaskNetwork,
    store: Params,
    tasks: Sequence[Task],
    section: TrainSection,
    seed: int,
    backend: str,
    folder: RunFolder,
    progress: Progress,
    fit: Callable[..., dict[str, list[float]]] = nn.fit_jointly,
) -> dict[str, list[float]]:
    """Train a store in place on all tasks, with a checkpoint after every epoch; return the curves.

    An interrupted training goes on from its last checkpoint and ends with the same bits. `fit` is what
    trains, with the arguments of :func:`emoref.nn.fit_jointly`.
    """
    checkpoint = steps.checkpoint_file(folder, title)
    state = nn.load_joint_state(checkpoint) if checkpoint.exists() else None
    progress.stage(title, section.epochs)

    def after_epoch(state: nn.JointState) -> None:
        folder.make_folder(folder.checkpoints)
        nn.save_joint_state(checkpoint, state)
        last = {name: curve[-1] for name, curve in state.curves.items()}
        each = ", ".join(f"{task.name} {last[f'validation_error_{task.name}']:.2%}" for task in tasks)
        text = f"loss {last['train_loss']:.4f}, validation error {each}"
        folder.log("epoch", training=title, epoch=state.epoch, text=text)
        progress.step(state.epoch, text)

    return fit(
        multi,
        store,
        [task.splits.train for task in tasks],
        section.to_train_config(),
        validation=[task.splits.validation for task in tasks],
        backend=backend,
        seed=seed,
        on_epoch=after_epoch,
        resume=state,
    )


def evaluate_shared(
    multi: MultiTaskNetwork, store: Params, images: Sequence[Dataset], backend: str
) -> list[nn.Evaluation]:
    """Evaluate each task's network on its images."""
    params = [multi.params(store, t) for t in range(len(multi.tasks))]
    return evaluate_each(multi.networks, params, images, backend)


def evaluate_each(
    nets: Sequence[Network], params: Sequence[Params], images: Sequence[Dataset], backend: str
) -> list[nn.Evaluation]:
    """Evaluate each network on the images of its task."""
    return [
        nn.evaluate(net, some, *data.arrays(), backend=backend)
        for net, some, data in zip(nets, params, images, strict=True)
    ]
