"""A training that was interrupted, on disk: :func:`save_state` after an epoch, :func:`load_state` to resume.

::

    /                          attributes emoref_class = "training_state", format_version = 1
    /architecture, /parameters as in a network file
    /training                  JSON text: settings, seed, number of images, epoch, steps, teacher's checksum
    /optimizer/<slot>/<name>   the optimiser's arrays
    /history/<curve>           (epochs,) float64
"""

import os
from typing import Any

import h5py

from emoref.errors import ConfigError, FileFormatError
from emoref.hdf5 import (
    open_checked,
    read_array,
    read_json,
    write_array,
    write_atomic,
    write_attributes,
    write_json,
)
from emoref.nn.config import TrainConfig
from emoref.nn.io import read_network, write_network
from emoref.nn.optim import make_optimizer
from emoref.nn.training import History, TrainingState

__all__ = ["FORMAT_VERSION", "load_state", "save_state"]

FORMAT_VERSION = 1
_CLASS = "training_state"
_COUNTS = ("seed", "images", "epoch", "steps")


def save_state(path: str | os.PathLike[str], state: TrainingState) -> None:
    """Write a training's state to one HDF5 file, atomically.

    Parameters
    ----------
    path : path
        The file; replaced if it exists.
    state : TrainingState
        As given to `on_epoch` by :func:`emoref.nn.fit`.

    Raises
    ------
    FileFormatError
        If the file cannot be written.
    """

    def fill(file: h5py.File) -> None:
        write_attributes(file, emoref_class=_CLASS, format_version=FORMAT_VERSION)
        write_network(file, state.net, state.params)
        counts = {name: getattr(state, name) for name in (*_COUNTS, "teacher")}
        write_json(file, "training", {"config": state.config.to_dict(), **counts})
        slots = file.create_group("optimizer")
        for slot, values in state.slots.items():
            group = slots.create_group(slot)
            for name, value in values.items():
                write_array(group, name, value)
        curves = file.create_group("history")
        for name, curve in vars(state.history).items():
            units = "nats" if name.endswith("loss") else ""
            write_array(curves, name, [float(v) for v in curve], dimensions="epoch", units=units)

    write_atomic(path, fill)


def load_state(path: str | os.PathLike[str]) -> TrainingState:
    """Read a training's state.

    Parameters
    ----------
    path : path
        A file that :func:`save_state` wrote.

    Returns
    -------
    TrainingState
        To be given to :func:`emoref.nn.fit` as `resume`.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another class or a newer format version.
    """
    with open_checked(path, _CLASS, FORMAT_VERSION) as file:
        net, params = read_network(file)
        counts, config = _training(path, read_json(file, "training"))
        slots = make_optimizer(net, params, config).slots
        for slot, values in slots.items():
            for name, value in values.items():
                values[name] = read_array(file, f"optimizer/{slot}/{name}", shape=value.shape)
        history = History(**{name: read_array(file, f"history/{name}").tolist() for name in vars(History())})
    if history.epochs != counts["epoch"] or counts["epoch"] > config.epochs:
        raise FileFormatError(f"{path}: {history.epochs} epochs of history, but epoch {counts['epoch']}")
    return TrainingState(net, config, params=params, slots=slots, history=history, **counts)


def _training(path: Any, data: Any) -> tuple[dict[str, int], TrainConfig]:
    try:
        counts = {name: int(data[name]) for name in _COUNTS}
        # Files of the first versions, which knew no teachers, have no such entry.
        counts["teacher"] = int(data.get("teacher", 0))
        return counts, TrainConfig.from_dict(data["config"])
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise FileFormatError(f"{path}: /training is damaged: {error}") from None
