"""The golden file: recorded inputs and float64 results of every operation, and ten steps of a training.

Layout, format version 1; ``docs/golden.md`` reads it with h5py alone::

    /operations/<operation>/<number>/case          JSON: about, arguments, inputs, results
                                    /<input>       one data set an input
                                    /<result>      one data set a result
    /training/setup                                JSON: about, network, config
             /images, labels                       (steps, batch, C, H, W) and (steps, batch)
             /initial/<parameter>                  float32, before the first step
             /losses                               (steps,), each before its step
             /norms                                (steps, parameters): Euclidean norms after each step
             /final/<parameter>                    after the last step
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emoref.errors import FileFormatError
from emoref.hdf5 import open_checked, read_array, read_json, write_array, write_atomic, write_json
from emoref.nn.config import TrainConfig
from emoref.nn.graph import Network

__all__ = [
    "FORMAT_CLASS",
    "FORMAT_VERSION",
    "GOLDEN_PATH",
    "Golden",
    "GoldenCase",
    "GoldenTraining",
    "load_golden",
    "save_golden",
]

Array = NDArray[Any]

FORMAT_CLASS = "golden"
FORMAT_VERSION = 1
GOLDEN_PATH = Path(__file__).with_name("golden.h5")
"""The file that ships with emoref."""


@dataclass(frozen=True)
class GoldenCase:
    """One call of an operation, forward and backward.

    Attributes
    ----------
    operation : str
        A name of the table of functions, e.g. ``"conv2d"``; its gradients belong to it.
    about : str
        What the case is there for.
    arguments : dict
        Arguments that are no arrays, by name: JSON values.
    inputs : dict of str to ndarray
        Arguments that are arrays, float32 (labels int64, masks boolean, objective values float64). ``dy`` is
        the gradient in the result ``y``.
    results : dict of str to ndarray
        Float64 (ranks int64), computed by the reference back end in float64: ``y``, and the gradient
        ``d<input>`` of each differentiable input.
    """

    operation: str
    about: str
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Array]
    results: Mapping[str, Array]

    def inputs_as(self, dtype: str) -> dict[str, Array]:
        """Return copies of the inputs, those in float32 converted to `dtype`."""
        return {
            name: array.astype(dtype if array.dtype == np.float32 else array.dtype)
            for name, array in self.inputs.items()
        }


@dataclass(frozen=True)
class GoldenTraining:
    """A recorded training: what it starts from, and where each step leads in float64.

    Attributes
    ----------
    about : str
        What was trained, in words.
    net : Network
        The architecture.
    config : TrainConfig
        Optimiser and its constants; the learning rate is the same in every step.
    images : ndarray of float32, shape (steps, batch, C, H, W)
        The batch of each step.
    labels : ndarray of int64, shape (steps, batch)
        Their classes.
    initial : dict of str to ndarray of float32
        Parameters and running statistics before the first step.
    losses : ndarray of float64, shape (steps,)
        Mean cross-entropy of each batch in nats, before its step.
    norms : ndarray of float64, shape (steps, len(initial))
        Euclidean norm of every entry of `initial`, in its order, after each step.
    final : dict of str to ndarray of float64
        Parameters and running statistics after the last step.
    """

    about: str
    net: Network
    config: TrainConfig
    images: Array
    labels: Array
    initial: Mapping[str, Array]
    losses: Array
    norms: Array
    final: Mapping[str, Array]

    @property
    def expected(self) -> dict[str, Array]:
        """All that is compared, by name: ``losses``, ``norms`` and ``final <parameter>``."""
        finals = {f"final {name}": value for name, value in self.final.items()}
        return {"losses": self.losses, "norms": self.norms, **finals}


@dataclass(frozen=True)
class Golden:
    """Everything that the golden file holds.

    Attributes
    ----------
    cases : tuple of GoldenCase
        Sorted by operation.
    training : GoldenTraining
        The recorded training.
    """

    cases: tuple[GoldenCase, ...]
    training: GoldenTraining

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations that have cases, in the order of the cases."""
        return tuple(dict.fromkeys(case.operation for case in self.cases))

    def cases_of(self, operation: str) -> tuple[GoldenCase, ...]:
        """Return the cases of an operation."""
        return tuple(case for case in self.cases if case.operation == operation)


def save_golden(path: str | os.PathLike[str], golden: Golden) -> None:
    """Write a golden file; equal contents give equal bytes.

    Parameters
    ----------
    path : path
        The file; replaced if it exists.
    golden : Golden
        The contents.

    Raises
    ------
    FileFormatError
        If the file cannot be written.
    """

    def fill(file: h5py.File) -> None:
        file.attrs["emoref_class"] = FORMAT_CLASS
        file.attrs["format_version"] = FORMAT_VERSION
        operations = _new_group(file, "operations")
        for operation in golden.operations:
            group = _new_group(operations, operation)
            for number, case in enumerate(golden.cases_of(operation)):
                _write_case(_new_group(group, f"{number:02d}"), case)
        _write_training(_new_group(file, "training"), golden.training)

    write_atomic(path, fill)


def _new_group(parent: h5py.Group, name: str) -> h5py.Group:
    # Groups that keep the order of their entries also have the smaller kind of header.
    return parent.create_group(name, track_order=True)


def _write_case(group: h5py.Group, case: GoldenCase) -> None:
    record = {
        "about": case.about,
        "arguments": dict(case.arguments),
        "inputs": list(case.inputs),
        "results": list(case.results),
    }
    write_json(group, "case", record)
    for name, array in {**case.inputs, **case.results}.items():
        write_array(group, name, array)


def _write_training(group: h5py.Group, training: GoldenTraining) -> None:
    setup = {
        "about": training.about,
        "network": training.net.to_dict(),
        "config": training.config.to_dict(),
        "parameters": list(training.initial),
    }
    write_json(group, "setup", setup)
    write_array(group, "images", training.images, dimensions="step,image,channel,row,column")
    write_array(group, "labels", training.labels, dimensions="step,image")
    write_array(group, "losses", training.losses, dimensions="step", units="nat")
    write_array(group, "norms", training.norms, dimensions="step,parameter")
    for folder, values in (("initial", training.initial), ("final", training.final)):
        subgroup = _new_group(group, folder)
        for name, value in values.items():
            write_array(subgroup, name, value)


def load_golden(path: str | os.PathLike[str] = GOLDEN_PATH) -> Golden:
    """Read a golden file.

    Parameters
    ----------
    path : path
        The file; the one that ships with emoref unless given.

    Returns
    -------
    Golden
        Its contents.

    Raises
    ------
    FileFormatError
        If it is missing, damaged, of another class or of a newer format version.
    """
    with open_checked(path, FORMAT_CLASS, FORMAT_VERSION) as file:
        try:
            cases = tuple(
                _read_case(operation, file["operations"][operation][number])
                for operation in sorted(file["operations"])
                for number in sorted(file["operations"][operation])
            )
            return Golden(cases, _read_training(file["training"]))
        except (AttributeError, TypeError) as error:
            raise FileFormatError(f"{path}: not the layout of a golden file ({error})") from None


def _read_case(operation: str, group: h5py.Group) -> GoldenCase:
    record = read_json(group, "case")
    inputs, results = (
        {name: read_array(group, name, kinds="fib") for name in record[key]} for key in ("inputs", "results")
    )
    return GoldenCase(operation, record["about"], record["arguments"], inputs, results)


def _read_training(group: h5py.Group) -> GoldenTraining:
    setup = read_json(group, "setup")
    initial, final = (
        {name: read_array(group[folder], name) for name in setup["parameters"]}
        for folder in ("initial", "final")
    )
    return GoldenTraining(
        setup["about"],
        Network.from_dict(setup["network"]),
        TrainConfig.from_dict(setup["config"]),
        read_array(group, "images"),
        read_array(group, "labels", kinds="i"),
        initial,
        read_array(group, "losses"),
        read_array(group, "norms"),
        final,
    )
