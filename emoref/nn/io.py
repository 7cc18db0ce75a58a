"""One file for one network: architecture and parameters, readable with h5py alone.

::

    /                        attributes emoref_class = "network", format_version = 1
    /architecture            JSON text: Network.to_dict()
    /parameters/<name>       one data set each, e.g. /parameters/conv1.weight (20, 1, 5, 5) float32
    /extra                   JSON text: whatever the writer adds (optional)

Equal networks with equal parameters give files with equal bytes.
"""

import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emoref.errors import FileFormatError, NetworkError
from emoref.hdf5 import (
    open_checked,
    read_array,
    read_json,
    write_array,
    write_atomic,
    write_attributes,
    write_json,
)
from emoref.nn.graph import Network

__all__ = ["FORMAT_VERSION", "check_params", "load", "load_extra", "read_network", "save", "write_network"]

FORMAT_VERSION = 1
_CLASS = "network"
_DIMENSIONS = {
    ("conv2d", "weight"): "filter, channel in group, row, column",
    ("linear", "weight"): "unit, feature",
}


def check_params(net: Network, params: Mapping[str, NDArray[Any]]) -> None:
    """Check that `params` holds exactly the parameters of `net`, in the right shapes.

    Raises
    ------
    NetworkError
        If one is missing, unknown, of another shape, or not float32 or float64; names the parameter.
    """
    shapes = net.param_shapes()
    for name in [*shapes, *params]:
        if name not in params:
            raise NetworkError(f'network "{net.name}": parameter "{name}" {shapes[name]} is missing')
        if name not in shapes:
            raise NetworkError(f'network "{net.name}" has no parameter "{name}"')
        value = params[name]
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise NetworkError(f'parameter "{name}" must be a float32 or float64 array, got {found}')
        if value.shape != shapes[name]:
            raise NetworkError(f'parameter "{name}" must have shape {shapes[name]}, got {value.shape}')


def save(
    path: str | os.PathLike[str],
    net: Network,
    params: Mapping[str, NDArray[Any]],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a network with its parameters to one HDF5 file, atomically.

    Parameters
    ----------
    path : path
        The file; replaced if it exists.
    net : Network
        The architecture.
    params : dict of str to ndarray
        Its parameters, float32 or float64.
    extra : dict, optional
        JSON-able notes, read back by :func:`load_extra`.

    Raises
    ------
    NetworkError
        If the parameters are not those of the network.
    FileFormatError
        If the file cannot be written.
    """

    def fill(file: h5py.File) -> None:
        write_attributes(file, emoref_class=_CLASS, format_version=FORMAT_VERSION)
        write_network(file, net, params)
        if extra is not None:
            write_json(file, "extra", dict(extra))

    check_params(net, params)
    write_atomic(path, fill)


def load(path: str | os.PathLike[str]) -> tuple[Network, dict[str, NDArray[Any]]]:
    """Read a network with its parameters.

    Parameters
    ----------
    path : path
        A file that :func:`save` wrote.

    Returns
    -------
    net : Network
        The architecture.
    params : dict of str to ndarray
        Its parameters.

    Raises
    ------
    FileFormatError
        If the file is missing, not HDF5, truncated, of another class or a newer format version, or if its
        parameters are not exactly those of its architecture.
    """
    with open_checked(path, _CLASS, FORMAT_VERSION) as file:
        return read_network(file)


def load_extra(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the notes stored beside a network, ``{}`` where there are none; raises as :func:`load`."""
    with open_checked(path, _CLASS, FORMAT_VERSION) as file:
        return read_json(file, "extra") if "extra" in file else {}


def write_network(group: h5py.Group, net: Network, params: Mapping[str, NDArray[Any]]) -> None:
    """Write architecture and parameters into an open file, for files that hold more than a network."""
    write_json(group, "architecture", net.to_dict())
    parameters = group.create_group("parameters")
    for name in net.param_shapes():
        node, leaf = name.rsplit(".", 1)
        dimensions = _DIMENSIONS.get((net.node(node).op, leaf), "channel")
        write_array(parameters, name, params[name], dimensions=dimensions)


def read_network(group: h5py.Group) -> tuple[Network, dict[str, NDArray[Any]]]:
    """Read what :func:`write_network` wrote; the file must come from ``open_checked``."""
    path = group.file.filename
    try:
        net = Network.from_dict(read_json(group, "architecture"))
    except NetworkError as error:
        raise FileFormatError(f"{path}: /architecture: {error}") from None
    shapes, stored = net.param_shapes(), group.get("parameters")
    if not isinstance(stored, h5py.Group):
        raise FileFormatError(f"{path}: group /parameters is missing")
    extra = sorted(set(stored) - set(shapes))
    if extra:
        raise FileFormatError(f'{path}: parameter "{extra[0]}" belongs to no node of the architecture')
    params = {name: read_array(stored, name, shape=shape) for name, shape in shapes.items()}
    try:
        check_params(net, params)
    except NetworkError as error:
        raise FileFormatError(f"{path}: {error}") from None
    return net, params
