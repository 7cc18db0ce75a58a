"""The training loop: reproducible bit for bit, and resumable after any epoch."""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import ConfigError, DataError, NetworkError, TrainingDivergedError
from emoref.nn.batches import TrainData, check_labels
from emoref.nn.config import TrainConfig
from emoref.nn.device import HalvedBatches, fetched, is_device, placed, resident
from emoref.nn.evaluation import Predictor, evaluate_data
from emoref.nn.executor import (
    StepResult,
    backend_of,
    in_parts,
    loss_and_gradients,
    part_number,
    run_nodes,
)
from emoref.nn.graph import INPUT, Network
from emoref.nn.io import check_params
from emoref.nn.loss import Loss
from emoref.nn.optim import Optimizer, make_optimizer
from emoref.nn.schedule import learning_rate
from emoref.seeding import generator

__all__ = ["Gradients", "History", "StepReport", "TrainingState", "fit"]

Array = NDArray[Any]
Gradients = Callable[[Mapping[str, Array], Array, NDArray[np.int64], int, int], StepResult]
"""From parameters, images, labels, epoch and step (both from 0) to loss and gradients."""


@dataclass
class History:
    """Curves of a training, one entry an epoch.

    Attributes
    ----------
    lr : list of float
        Learning rate of the epoch's last step.
    train_loss : list of float
        Mean of what is minimised (nats) over the epoch's batches, each measured before its step: the
        cross-entropy, with label smoothing and the teacher's share where there are such.
    train_error : list of float
        Share of wrong predictions in the same passes, in [0, 1].
    validation_loss, validation_error : list of float
        On the validation data after the epoch; empty where there are none.
    """

    lr: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    train_error: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_error: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return len(self.lr)

    def copy(self) -> "History":
        """Return a copy that shares nothing."""
        return History(**{name: list(curve) for name, curve in vars(self).items()})


@dataclass(frozen=True)
class StepReport:
    """What `on_step` is told: epoch and step from 0, steps in the epoch, the step's loss and rate."""

    epoch: int
    step: int
    steps: int
    loss: float
    lr: float


@dataclass(frozen=True)
class TrainingState:
    """Everything that a training needs to go on: what :func:`fit` gives to `on_epoch` and takes as `resume`.

    Attributes
    ----------
    net : Network
        The architecture.
    config : TrainConfig
        The settings.
    seed : int
        The seed.
    images : int
        Number of training images.
    epoch : int
        Completed epochs.
    steps : int
        Optimiser steps taken.
    params : dict of str to ndarray
        Parameters and running statistics.
    slots : dict of str to dict of str to ndarray
        The optimiser's arrays, see :class:`emoref.nn.optim.Optimizer`.
    history : History
        Curves so far.
    teacher : int
        Checksum of the teacher's architecture and parameters, 0 without one.
    """

    net: Network
    config: TrainConfig
    seed: int
    images: int
    epoch: int
    steps: int
    params: dict[str, Array]
    slots: dict[str, dict[str, Array]]
    history: History
    teacher: int = 0

    def copy(self) -> "TrainingState":
        """Return a copy that shares no array; the state given to `on_epoch` changes in the next epoch."""
        return TrainingState(
            self.net,
            self.config,
            self.seed,
            self.images,
            self.epoch,
            self.steps,
            {name: value.copy() for name, value in self.params.items()},
            {slot: {n: v.copy() for n, v in values.items()} for slot, values in self.slots.items()},
            self.history.copy(),
            self.teacher,
        )


def fit(
    net: Network,
    params: dict[str, Array],
    train_data: TrainData,
    config: TrainConfig,
    validation: TrainData | None = None,
    backend: Any = "cpu",
    seed: int = 0,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[TrainingState], None] | None = None,
    resume: TrainingState | None = None,
    teacher: tuple[Network, Mapping[str, Array]] | None = None,
    gradients: Gradients | None = None,
) -> History:
    """Train a network by minimising the softmax cross-entropy; changes `params` in place.

    With `teacher`, the network also learns to give the teacher's softened probabilities; see
    :class:`emoref.nn.Loss` and the settings `temperature` and `alpha`.

    Epoch e visits the images in the order ``generator(seed, "nn.shuffle", e).permutation``; step s augments
    with ``generator(seed, "nn.augment", e, s)`` and draws dropout masks with
    ``generator(seed, "nn.dropout", e, s)``. No state is carried from step to step but parameters and
    optimiser, so a resumed training is bit for bit the uninterrupted one.

    Parameters
    ----------
    net : Network
        The architecture.
    params : dict of str to ndarray
        Its parameters; changed in place.
    train_data : TrainData
        ``len(data)`` and ``data.batch(indices, rng)``, e.g. :class:`emoref.nn.ArrayData`.
    config : TrainConfig
        All settings.
    validation : TrainData, optional
        Evaluated after every epoch, without augmentation.
    backend : str or Backend
        Which kernels compute.
    seed : int
        Seed of shuffling, augmentation and dropout.
    on_step : callable, optional
        Called after every step with a :class:`StepReport`.
    on_epoch : callable, optional
        Called after every epoch with the :class:`TrainingState`; save it, or keep a ``.copy()``.
    resume : TrainingState, optional
        Go on from there: its parameters are copied into `params`.
    teacher : tuple (Network, dict of str to ndarray), optional
        A trained network for the same images and classes, run in evaluation mode on the same (augmented)
        batches. It is not changed.
    gradients : callable, optional
        What is minimised, in the place of the network's cross-entropy: returns a batch's loss and gradients,
        which must depend on its arguments alone. The network then need not be a classifier, and a batch need
        not fit its input. Where a device's memory does not suffice it is called for parts of a batch.

    Returns
    -------
    History
        Curves over all epochs, those before a resume included.

    Raises
    ------
    TrainingDivergedError
        If a loss, or a parameter after an epoch, is NaN or infinite; names epoch, step and rate (epochs and
        steps from 1). `params` are put back to what they were after the last completed epoch (or at the
        start).
    NetworkError, DataError, ConfigError
        If network, parameters, data, settings and `resume` do not fit together.
    """
    loop = _Loop(net, params, train_data, config, backend_of(backend), seed, on_step, teacher, gradients)
    if resume is not None:
        loop.restore(resume)

    def after_epoch() -> None:
        if validation is not None:
            result = evaluate_data(net, params, validation, loop.k)
            loop.history.validation_loss.append(result.loss)
            loop.history.validation_error.append(result.error)
        if on_epoch is not None:
            on_epoch(loop.state())

    run_epochs(range(loop.history.epochs, config.epochs), loop.run_epoch, after_epoch, params)
    return loop.history


def run_epochs(
    epochs: Iterable[int],
    run_epoch: Callable[[int], None],
    after_epoch: Callable[[], None],
    params: Mapping[str, Array],
) -> None:
    """Run epoch after epoch; one that diverges is undone before its error goes on.

    Parameters
    ----------
    epochs : iterable of int
        Numbers of the epochs.
    run_epoch : callable
        Runs one; raises TrainingDivergedError.
    after_epoch : callable
        Called after each that did not diverge.
    params : mapping of str to ndarray
        What an epoch changes, put back to what it was before the epoch that diverged.
    """
    good = {name: value.copy() for name, value in params.items()}
    for epoch in epochs:
        try:
            # Overflow on the way to a diverged loss is reported as the error below, not as warnings.
            with np.errstate(over="ignore", invalid="ignore"):
                run_epoch(epoch)
        except TrainingDivergedError:
            copy_into(params, good)
            raise
        copy_into(good, params)
        after_epoch()


def copy_into(target: Mapping[str, Array], source: Mapping[str, Array]) -> None:
    """Copy the values of arrays into the arrays of the same names."""
    for name, value in source.items():
        into: Any = target[name]
        if isinstance(into, np.ndarray):
            np.copyto(into, np.asarray(value))
        else:
            into.assign(value)


class _Loop:
    """One training under way: what :func:`fit` keeps between epochs."""

    def __init__(
        self,
        net: Network,
        params: dict[str, Array],
        data: TrainData,
        config: TrainConfig,
        k: Any,
        seed: int,
        on_step: Callable[[StepReport], None] | None,
        teacher: tuple[Network, Mapping[str, Array]] | None,
        gradients: Gradients | None,
    ) -> None:
        check_params(net, params)
        for name, value in params.items():
            if not value.flags.writeable:
                raise NetworkError(f'parameter "{name}" is read-only; training changes parameters in place')
        if not len(data):
            raise DataError("there are no training images")
        self.net, self.params, self.data, self.config = net, params, data, config
        self.k, self.seed, self.on_step = k, seed, on_step
        self.gradients = gradients
        self.loss = Loss(config.label_smoothing, config.temperature, config.alpha)
        self.teacher: Predictor | None = None
        self.teacher_checksum = 0
        if teacher is not None:
            _check_teacher(net, *teacher)
            self.teacher_checksum = _checksum(*teacher)
            self.teacher = Predictor(teacher[0], resident(teacher[1], k), k)
        self.steps = math.ceil(len(data) / config.batch_size)
        self.optimizer: Optimizer = make_optimizer(net, params, config)
        self.history = History()
        # What training changes: on a GPU, copies there, which come back after each epoch.
        self.on_device = is_device(k) and gradients is None
        self.live: Mapping[str, Array] = resident(params, k) if self.on_device else params
        self.batches = HalvedBatches()
        if self.on_device:
            slots = self.optimizer.slots
            self.optimizer.slots = {slot: dict(resident(values, k)) for slot, values in slots.items()}

    def state(self) -> TrainingState:
        return TrainingState(
            self.net,
            self.config,
            self.seed,
            len(self.data),
            self.history.epochs,
            self.optimizer.steps,
            self.params,
            {slot: fetched(values) for slot, values in self.optimizer.slots.items()},
            self.history,
            self.teacher_checksum,
        )

    def restore(self, state: TrainingState) -> None:
        if state.net != self.net:
            raise NetworkError("the training to resume is one of another network")
        found, wanted = state.config.to_dict(), self.config.to_dict()
        for name, value in wanted.items():
            if found[name] != value:
                raise ConfigError(f"{name} is {value!r}, the training to resume had {found[name]!r}")
        if state.seed != self.seed:
            raise ConfigError(f"seed is {self.seed}, the training to resume had {state.seed}")
        if state.images != len(self.data):
            raise DataError(f"{len(self.data)} training images, the training to resume had {state.images}")
        if state.teacher != self.teacher_checksum:
            had = "another teacher" if state.teacher and self.teacher else "one" if state.teacher else "none"
            raise ConfigError(
                f"teacher is {'given' if self.teacher else 'left out'}, the training to resume had {had}"
            )
        for name, value in state.params.items():
            if value.dtype != self.params[name].dtype:
                raise NetworkError(
                    f'parameter "{name}" is {self.params[name].dtype}, in the training to resume '
                    f"{value.dtype}"
                )
        copy_into(self.params, state.params)
        if self.on_device:
            copy_into(self.live, self.params)
        for slot, values in state.slots.items():
            copy_into(self.optimizer.slots[slot], values)
        self.optimizer.steps = state.steps
        self.history = state.history.copy()

    def run_epoch(self, epoch: int) -> None:
        size, count = self.config.batch_size, len(self.data)
        order = generator(self.seed, "nn.shuffle", epoch).permutation(count)
        loss_sum, wrong, lr = 0.0, 0, 0.0
        for step in range(self.steps):
            lr = learning_rate(self.config, epoch * self.steps + step, self.steps)
            indices = order[step * size : (step + 1) * size]
            loss, step_wrong = self.run_step(epoch, step, indices, lr)
            loss_sum += loss * len(indices)
            wrong += step_wrong
        if self.on_device:
            copy_into(self.params, self.live)
        if not all(np.isfinite(value).all() for value in self.params.values()):
            raise diverged("a parameter", epoch, self.steps - 1, lr)
        self.history.lr.append(lr)
        self.history.train_loss.append(loss_sum / count)
        self.history.train_error.append(wrong / count)

    def run_step(self, epoch: int, step: int, indices: NDArray[np.int64], lr: float) -> tuple[float, int]:
        images, labels = self.data.batch(indices, generator(self.seed, "nn.augment", epoch, step))
        result = self.gradients_of(images, labels, epoch, step)
        if not math.isfinite(result.loss):
            raise diverged("the loss", epoch, step, lr)
        self.optimizer.step(self.k, self.live, result.grads, lr)
        copy_into(self.live, result.buffer_updates)
        if self.on_step is not None:
            self.on_step(StepReport(epoch, step, self.steps, result.loss, lr))
        return result.loss, result.wrong

    def gradients_of(self, images: Array, labels: NDArray[np.int64], epoch: int, step: int) -> StepResult:
        if self.gradients is None:
            labels = check_labels(labels, len(images), self.net.classes)

        def part_of(part: slice) -> StepResult:
            if self.gradients is not None:
                return self.gradients(self.live, images[part], labels[part], epoch, step)
            some = placed(images[part], self.k)
            return loss_and_gradients(
                self.net,
                self.live,
                some,
                labels[part],
                backend=self.k,
                rng=generator(self.seed, "nn.dropout", epoch, step, *part_number(part)),
                loss=self.loss,
                teacher_logits=self.teacher_logits(some),
            )

        return in_parts(self.batches, len(images), part_of)

    def teacher_logits(self, images: Array) -> Array | None:
        if self.teacher is None:
            return None
        if self.on_device:
            net, out = self.teacher.net, self.teacher.net.output.name
            return run_nodes(net, self.teacher.params, {INPUT: images}, [out], self.k)[out]
        return self.teacher(images, len(images))


def _check_teacher(net: Network, teacher: Network, params: Mapping[str, Array]) -> None:
    check_params(teacher, params)
    for what, wanted, found in (
        ("images of shape", net.input_shape, teacher.input_shape),
        ("a number of classes of", net.classes, teacher.classes),
    ):
        if found != wanted:
            raise NetworkError(f'teacher "{teacher.name}" has {what} {found}, the network to train {wanted}')


def _checksum(net: Network, params: Mapping[str, Array]) -> int:
    """Return a number above 0 that tells teachers apart."""
    checksum = zlib.crc32(json.dumps(net.to_dict(), sort_keys=True).encode())
    for name in net.param_shapes():
        checksum = zlib.crc32(np.ascontiguousarray(params[name]).data, checksum)
    return checksum or 1


def diverged(what: str, epoch: int, step: int, lr: float) -> TrainingDivergedError:
    """Return the error of a training in which `what` is NaN or infinite; epoch and step count from 0."""
    return TrainingDivergedError(
        f"{what} became NaN or infinite in epoch {epoch + 1}, step {step + 1}, at learning rate {lr:g}; "
        "a smaller learning rate may help"
    )
