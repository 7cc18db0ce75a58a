"""The file of a shared network: every stored filter once, and the index matrix that says whose it is.

::

    /                         attributes emoref_class = "shared_network", format_version = 1
    /tasks                    JSON text: names of the tasks and their unpruned architectures
    /index/<layer>/kept       (tasks, slots) uint8   1 = the task keeps the slot
    /index/<layer>/shared     (slots,) uint8         1 = its keepers share one filter
    /parameters/<name>        of a weight in a layer of the index matrix: the values of the kernels that some
                              task reads, (kernels, ...) in the order of rows and columns; else the array
    /extra                    JSON text: notes
"""

import os
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emoref.compress.index_matrix import IndexMatrix, LayerSlots, SharedNetwork, share_filters
from emoref.errors import EmorefError, FileFormatError, NetworkError
from emoref.hdf5 import (
    open_checked,
    read_array,
    read_json,
    write_array,
    write_atomic,
    write_attributes,
    write_json,
)
from emoref.nn import Network

__all__ = ["load_shared", "load_shared_extra", "save_shared"]

Array = NDArray[Any]

FORMAT_VERSION = 1
_CLASS = "shared_network"

# A file names unpruned architectures, of which it holds a part alone. So that a small one cannot ask for any
# amount of memory, they may have so many values, or so many for each byte of what is stored.
_MOST_VALUES = 2**26
_MOST_VALUES_PER_BYTE = 1024


def save_shared(
    path: str | os.PathLike[str],
    shared: SharedNetwork,
    store: Mapping[str, Array],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a shared network to one HDF5 file, atomically; nothing that no task reads is stored.

    Parameters
    ----------
    path : path
        The file; replaced if it exists.
    shared : SharedNetwork
        What is stored, and for whom.
    store : mapping of str to ndarray
        The stored arrays.
    extra : mapping, optional
        JSON-able notes, read back by :func:`load_shared_extra`.

    Raises
    ------
    ShapeError
        If the store does not fit the network.
    NetworkError
        If hardly anything is left of large networks (less than a byte for 1024 of more than 2**26 values):
        such a file would be refused when read.
    FileFormatError
        If the file cannot be written.
    """
    shared.multi.check_store(store)
    _check_values(shared.nets, 4 * sum(_stored(shared, name, value) for name, value in store.items()))

    def fill(file: h5py.File) -> None:
        write_attributes(file, emoref_class=_CLASS, format_version=FORMAT_VERSION)
        networks = [net.to_dict() for net in shared.nets]
        write_json(file, "tasks", {"names": list(shared.index.tasks), "networks": networks})
        index = file.create_group("index")
        for name, slots in shared.index.layers.items():
            group = index.create_group(name)
            write_array(group, "kept", slots.kept.astype(np.uint8), dimensions="task, slot")
            write_array(group, "shared", slots.shared.astype(np.uint8), dimensions="slot")
        parameters = file.create_group("parameters")
        for name, value in store.items():
            used = shared.used.get(name)
            write_array(parameters, name, value if used is None else value[used])
        write_json(file, "extra", dict(extra or {}))

    write_atomic(path, fill)


def load_shared(path: str | os.PathLike[str]) -> tuple[SharedNetwork, dict[str, Array]]:
    """Read a shared network.

    Parameters
    ----------
    path : path
        A file that :func:`save_shared` wrote.

    Returns
    -------
    shared : SharedNetwork
        What is stored, and for whom.
    store : dict of str to ndarray
        The stored arrays.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of another class or a newer format version, contradicts itself, or
        claims networks far larger than what it holds.
    """
    with open_checked(path, _CLASS, FORMAT_VERSION) as file:
        tasks = read_json(file, "tasks")
        layers = {}
        for name in _group(path, file, "index"):
            kept, shared = (
                read_array(file, f"index/{name}/{leaf}", kinds="u").astype(bool)
                for leaf in ("kept", "shared")
            )
            layers[name] = (kept, shared)
        values = {name: read_array(file, f"parameters/{name}") for name in _group(path, file, "parameters")}
    try:
        nets = [Network.from_dict(net) for net in tasks["networks"]]
        _check_values(nets, os.path.getsize(path))
        order = [name for name in layers if name in {node.name for node in nets[0].nodes}]
        order.sort(key=[node.name for node in nets[0].nodes].index)
        index = IndexMatrix(
            tuple(str(name) for name in tasks["names"]), {name: LayerSlots(*layers[name]) for name in order}
        )
        zeros = [
            {name: np.zeros(shape, np.float32) for name, shape in net.param_shapes().items()} for net in nets
        ]
        shared_net, store = share_filters(nets, zeros, index)
        for name, target in store.items():
            used = shared_net.used.get(name)
            wanted = target.shape if used is None else (int(used.sum()), *target.shape[2:])
            if values[name].shape != wanted:
                raise ValueError(f"parameter {name!r} must have shape {wanted}, has {values[name].shape}")
            target[... if used is None else used] = values[name]
    except (EmorefError, KeyError, IndexError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: damaged: {error}") from None
    return shared_net, store


def _stored(shared: SharedNetwork, name: str, value: Array) -> int:
    """Return how many numbers of a stored array the file holds."""
    used = shared.used.get(name)
    return value.size if used is None else int(used.sum()) * prod(value.shape[2:])


def _check_values(nets: Sequence[Network], stored_bytes: int) -> None:
    values = sum(prod(shape) for net in nets for shape in net.param_shapes().values())
    if values > max(_MOST_VALUES, _MOST_VALUES_PER_BYTE * stored_bytes):
        raise NetworkError(
            f"{values:,} values in the unpruned networks are far more than {stored_bytes:,} bytes stand for"
        )


def load_shared_extra(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the notes stored beside a shared network; raises as :func:`load_shared`."""
    with open_checked(path, _CLASS, FORMAT_VERSION) as file:
        return read_json(file, "extra")


def _group(path: str | os.PathLike[str], file: h5py.File, name: str) -> list[str]:
    if not isinstance(file.get(name), h5py.Group):
        raise FileFormatError(f"{path}: group /{name} is missing")
    return list(file[name])
