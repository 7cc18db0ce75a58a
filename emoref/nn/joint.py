"""Training several networks together, whose parameters live in one store.

A step takes one batch of every task in turn, adds up the gradients in the store, and moves the store once:
it descends on the sum of the tasks' losses. A stored filter that two tasks use gets the sum of both tasks'
gradients, one that a single task uses gets that task's alone, and a stored number that no network is bound
to gets none and stays zero.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emoref.errors import ConfigError, DataError, FileFormatError
from emoref.hdf5 import (
    open_checked,
    read_array,
    read_json,
    write_array,
    write_atomic,
    write_attributes,
    write_json,
)
from emoref.nn.batches import TrainData, check_labels
from emoref.nn.config import TrainConfig
from emoref.nn.device import HalvedBatches
from emoref.nn.evaluation import evaluate_data
from emoref.nn.executor import StepResult, backend_of, in_parts, loss_and_gradients, part_number
from emoref.nn.loss import Loss
from emoref.nn.multitask import MultiTaskNetwork
from emoref.nn.optim import Optimizer, make_optimizer
from emoref.nn.schedule import learning_rate
from emoref.nn.training import StepReport, copy_into, diverged, run_epochs
from emoref.seeding import generator

__all__ = ["JointState", "fit_jointly", "load_joint_state", "save_joint_state"]

Array = NDArray[Any]
Curves = dict[str, list[float]]

FORMAT_VERSION = 1
_CLASS = "joint_training_state"


@dataclass(frozen=True)
class JointState:
    """Everything that a joint training needs to go on.

    Attributes
    ----------
    config : TrainConfig
        The settings.
    seed : int
        The seed.
    images : tuple of int
        Number of training images of each task.
    epoch, steps : int
        Completed epochs, optimiser steps taken.
    store : dict of str to ndarray
        The stored arrays.
    slots : dict of str to dict of str to ndarray
        The optimiser's arrays.
    curves : dict of str to list of float
        See :func:`fit_jointly`.
    """

    config: TrainConfig
    seed: int
    images: tuple[int, ...]
    epoch: int
    steps: int
    store: dict[str, Array]
    slots: dict[str, dict[str, Array]]
    curves: Curves = field(default_factory=dict)


def fit_jointly(
    multi: MultiTaskNetwork,
    store: dict[str, Array],
    data: Sequence[TrainData],
    config: TrainConfig,
    validation: Sequence[TrainData] | None = None,
    weights: Sequence[float] | None = None,
    backend: Any = "cpu",
    seed: int = 0,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[JointState], None] | None = None,
    resume: JointState | None = None,
) -> Curves:
    """Minimise the sum of the tasks' losses; changes `store` in place.

    An epoch has as many steps as the largest task has batches. Every task sees that many images in it:
    smaller ones begin again, in a new order. The order of task t in epoch e is made of the permutations
    ``generator(seed, "nn.joint.shuffle", t, e, round)``; step s augments with
    ``generator(seed, "nn.joint.augment", t, e, s)`` and draws dropout masks with
    ``generator(seed, "nn.joint.dropout", t, e, s)``. Nothing but store and optimiser is carried from step to
    step, so a resumed training is bit for bit the uninterrupted one.

    Parameters
    ----------
    multi : MultiTaskNetwork
        The networks and what they share.
    store : dict of str to ndarray
        The stored arrays; changed in place.
    data : sequence of TrainData
        Training images, one set a task.
    config : TrainConfig
        All settings; the batch size is that of each task. Distillation needs one network and is not done.
    validation : sequence of TrainData, optional
        Evaluated after every epoch.
    weights : sequence of float, optional
        What the loss of each task is multiplied with; 1 each by default.
    backend : str or Backend
        Which kernels compute.
    seed : int
        Seed of shuffling, augmentation and dropout.
    on_step : callable, optional
        Called after every step; its loss is the weighted sum.
    on_epoch : callable, optional
        Called after every epoch with a :class:`JointState`, which changes in the next.
    resume : JointState, optional
        Go on from there.

    Returns
    -------
    dict of str to list of float
        One entry an epoch: ``lr``, ``train_loss`` (weighted sum over the tasks of mean losses),
        ``train_error`` (mean over the tasks), and with `validation` ``validation_error`` (mean over the
        tasks) and ``validation_error_<task>``.

    Raises
    ------
    TrainingDivergedError
        If a loss, or a stored number after an epoch, is NaN or infinite. `store` is then as it was after the
        last completed epoch.
    NetworkError, ShapeError, DataError, ConfigError
        If networks, store, data, settings and `resume` do not fit together.
    """
    loop = _Loop(multi, store, data, config, weights, backend_of(backend), seed, on_step)
    if resume is not None:
        loop.restore(resume)

    def after_epoch() -> None:
        if validation is not None:
            loop.validate(validation)
        if on_epoch is not None:
            on_epoch(loop.state())

    run_epochs(range(loop.epoch, config.epochs), loop.run_epoch, after_epoch, store)
    return loop.curves


class _Loop:
    """One joint training under way."""

    def __init__(
        self,
        multi: MultiTaskNetwork,
        store: dict[str, Array],
        data: Sequence[TrainData],
        config: TrainConfig,
        weights: Sequence[float] | None,
        k: Any,
        seed: int,
        on_step: Callable[[StepReport], None] | None,
    ) -> None:
        multi.check_store(store)
        tasks = len(multi.tasks)
        self.weights = (1.0,) * tasks if weights is None else tuple(float(w) for w in weights)
        if len(data) != tasks or len(self.weights) != tasks:
            raise DataError(
                f"{tasks} tasks, {len(data)} sets of images and {len(self.weights)} weights; "
                "there must be one of each for every task"
            )
        for task, some in zip(multi.tasks, data, strict=True):
            if not len(some):
                raise DataError(f"task {task!r}: there are no training images")
        self.multi, self.store, self.data, self.config = multi, store, data, config
        self.k, self.seed, self.on_step = k, seed, on_step
        self.loss = Loss(config.label_smoothing)
        self.images = tuple(len(some) for some in data)
        self.total = max(self.images)
        self.steps = math.ceil(self.total / config.batch_size)
        self.optimizer: Optimizer = make_optimizer(multi, store, config)
        self.batches = HalvedBatches()
        self.curves: Curves = {}
        self.epoch = 0

    def state(self) -> JointState:
        return JointState(
            self.config,
            self.seed,
            self.images,
            self.epoch,
            self.optimizer.steps,
            self.store,
            self.optimizer.slots,
            {name: list(curve) for name, curve in self.curves.items()},
        )

    def restore(self, state: JointState) -> None:
        for what, wanted, found in (
            ("settings", self.config.to_dict(), state.config.to_dict()),
            ("seed", self.seed, state.seed),
            ("numbers of images", self.images, tuple(state.images)),
        ):
            if wanted != found:
                raise ConfigError(f"the joint training to resume had other {what}: {found}, now {wanted}")
        self.multi.check_store(state.store)
        copy_into(self.store, state.store)
        for slot, values in state.slots.items():
            copy_into(self.optimizer.slots[slot], values)
        self.optimizer.steps, self.epoch = state.steps, state.epoch
        self.curves = {name: list(curve) for name, curve in state.curves.items()}

    def run_epoch(self, epoch: int) -> None:
        size = self.config.batch_size
        orders = [self.order(task, epoch) for task in range(len(self.images))]
        loss_sum, wrong, lr = 0.0, 0, 0.0
        for step in range(self.steps):
            lr = learning_rate(self.config, epoch * self.steps + step, self.steps)
            batches = [order[step * size : (step + 1) * size] for order in orders]
            loss, step_wrong = self.run_step(epoch, step, batches, lr)
            loss_sum += loss * len(batches[0])
            wrong += step_wrong
        if not all(np.isfinite(value).all() for value in self.store.values()):
            raise diverged("a parameter", epoch, self.steps - 1, lr)
        self.epoch = epoch + 1
        self.note("lr", lr)
        self.note("train_loss", loss_sum / self.total)
        self.note("train_error", wrong / (self.total * len(self.images)))

    def order(self, task: int, epoch: int) -> NDArray[np.int64]:
        """Return the images that a task sees in an epoch: as many as the largest task has."""
        count = self.images[task]
        rounds = [
            generator(self.seed, "nn.joint.shuffle", task, epoch, number).permutation(count)
            for number in range(math.ceil(self.total / count))
        ]
        return np.concatenate(rounds)[: self.total]

    def run_step(
        self, epoch: int, step: int, batches: Sequence[NDArray[np.int64]], lr: float
    ) -> tuple[float, int]:
        total, wrong = 0.0, 0
        grads = {name: np.zeros_like(self.store[name]) for name in self.multi.trainable()}
        for task, indices in enumerate(batches):
            bindings = self.multi.bindings[task]
            result = self.gradients_of(task, epoch, step, indices)
            if not math.isfinite(result.loss):
                raise diverged(f"the loss of task {self.multi.tasks[task]!r}", epoch, step, lr)
            weight = self.weights[task]
            for name, grad in result.grads.items():
                bindings[name].add(grads[bindings[name].name], grad if weight == 1.0 else weight * grad)
            for name, value in result.buffer_updates.items():
                bindings[name].put(self.store[bindings[name].name], value)
            total += weight * result.loss
            wrong += result.wrong
        self.optimizer.step(self.k, self.store, grads, lr)
        if self.on_step is not None:
            self.on_step(StepReport(epoch, step, self.steps, total, lr))
        return total, wrong

    def gradients_of(self, task: int, epoch: int, step: int, indices: NDArray[np.int64]) -> StepResult:
        """Return loss and gradients of one task on its own batch."""
        net, params = self.multi.networks[task], self.multi.params(self.store, task)
        images, labels = self.data[task].batch(
            indices, generator(self.seed, "nn.joint.augment", task, epoch, step)
        )
        labels = check_labels(labels, len(indices), net.classes)

        def part_of(part: slice) -> StepResult:
            return loss_and_gradients(
                net,
                params,
                images[part],
                labels[part],
                backend=self.k,
                rng=generator(self.seed, "nn.joint.dropout", task, epoch, step, *part_number(part)),
                loss=self.loss,
            )

        return in_parts(self.batches, len(indices), part_of)

    def validate(self, validation: Sequence[TrainData]) -> None:
        errors = []
        for task, some in enumerate(validation):
            params = self.multi.params(self.store, task)
            errors.append(evaluate_data(self.multi.networks[task], params, some, self.k).error)
        self.note("validation_error", sum(errors) / len(errors))
        for name, error in zip(self.multi.tasks, errors, strict=True):
            self.note(f"validation_error_{name}", error)

    def note(self, curve: str, value: float) -> None:
        self.curves.setdefault(curve, []).append(value)


def save_joint_state(path: str | os.PathLike[str], state: JointState) -> None:
    """Write the state of a joint training to one HDF5 file, atomically.

    Parameters
    ----------
    path : path
        The file; replaced if it exists.
    state : JointState
        As given to `on_epoch`.

    Raises
    ------
    FileFormatError
        If the file cannot be written.
    """

    def fill(file: h5py.File) -> None:
        write_attributes(file, emoref_class=_CLASS, format_version=FORMAT_VERSION)
        entries = {"seed": state.seed, "images": list(state.images), "epoch": state.epoch}
        entries |= {"steps": state.steps, "curves": state.curves}
        write_json(file, "training", {"config": state.config.to_dict(), **entries})
        arrays = {"store": state.store, **{f"slot_{name}": slot for name, slot in state.slots.items()}}
        for title, values in arrays.items():
            group = file.create_group(title)
            for name, value in values.items():
                write_array(group, name, value)

    write_atomic(path, fill)


def load_joint_state(path: str | os.PathLike[str]) -> JointState:
    """Read the state of a joint training.

    Parameters
    ----------
    path : path
        A file that :func:`save_joint_state` wrote.

    Returns
    -------
    JointState
        To be given to :func:`fit_jointly` as `resume`.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another class or a newer format version.
    """
    with open_checked(path, _CLASS, FORMAT_VERSION) as file:
        data = read_json(file, "training")
        groups = {title: file[title] for title in file if isinstance(file[title], h5py.Group)}
        arrays = {title: {name: read_array(group, name) for name in group} for title, group in groups.items()}
    try:
        return JointState(
            TrainConfig.from_dict(data["config"]),
            int(data["seed"]),
            tuple(int(n) for n in data["images"]),
            int(data["epoch"]),
            int(data["steps"]),
            arrays.pop("store"),
            {title.removeprefix("slot_"): values for title, values in arrays.items()},
            {str(name): [float(v) for v in curve] for name, curve in data["curves"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise FileFormatError(f"{path}: /training is damaged: {error}") from None
