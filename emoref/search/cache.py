"""Counts of candidates that have been evaluated before: in memory, and in a file of the run folder.

A count of wrong predictions is known by 16 bytes made from the candidate's genome. As many counts are kept as
a limit allows; those used longest ago go first. The file holds the same counts in the same order, so what is
kept does not depend on interruptions.

The file is a convenience, and is treated as one. It names what its counts depend on (:func:`fingerprint`)
and holds a checksum; a file that is damaged, or was made from another network, other images or on a machine
that may round differently, is left aside with a warning and made anew. One that cannot be written is given
up, with a warning. Results are the same with a file, without one, and after any interruption.

It opens with h5py alone::

    /keys    (entries, 16) uint8    blake2b of the genome's bytes; the entry used longest ago first
    /counts  (entries,)    int64    wrong predictions
    /about   JSON text: "fingerprint", and "checksum" of both arrays and the fingerprint
"""

import hashlib
import json
import logging
import platform
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref import __version__
from emoref.errors import FileFormatError
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
from emoref_kernels import load_backend

__all__ = ["FAILED", "CountCache", "Spent", "fingerprint"]

FAILED = -1
"""Stands for the count of a candidate that no worker could evaluate."""

FORMAT_VERSION = 1
_KEY_BYTES = 16
_BATCH = 32
"""The file is written when one count in so many is new, so that what is written stays in proportion."""
_LEAST = 16
"""And within a population not before so many are new."""

_LOG = logging.getLogger(__name__)

Evaluate = Callable[[list[int]], Iterable[Sequence[tuple[int, int]]]]
"""From rows to be evaluated to (row, count) pairs, some at a time as they become known."""


class Spent(NamedTuple):
    """Where the counts of candidates came from, so far.

    Every candidate that is asked for is in exactly one of the first two numbers.

    Attributes
    ----------
    evaluated : int
        Networks that were run.
    from_cache : int
        Candidates whose count was known, and equal ones of one population after the first. They cost nothing.
    from_file : int
        Those of them whose count a file held when this process began: another one had evaluated them.
    """

    evaluated: int
    from_cache: int
    from_file: int

    def since(self, earlier: "Spent") -> dict[str, int]:
        """Return by name what was added after `earlier`."""
        return {name: getattr(self, name) - getattr(earlier, name) for name in self._fields}


class CountCache:
    """Counts of wrong predictions by candidate.

    Parameters
    ----------
    limit : int
        Counts to keep, at least 0.
    images : int
        The largest count that there can be.
    """

    def __init__(self, limit: int, images: int) -> None:
        self.limit, self.images = limit, images
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._of_file: set[bytes] = set()
        self._file: tuple[Path, str] | None = None
        self._unsaved = 0
        self._evaluated = self._from_cache = self._from_file = 0

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def spent(self) -> Spent:
        """Where the counts came from, so far."""
        return Spent(self._evaluated, self._from_cache, self._from_file)

    def complete(self, rows: NDArray[Any], evaluate: Evaluate) -> NDArray[np.int64]:
        """Return the count of each row, or `FAILED`.

        Parameters
        ----------
        rows : array, shape (P, ...), C-contiguous
            Genomes.
        evaluate : callable
            Gets the numbers of distinct unknown rows. Counts that it has yielded are kept even if it raises
            later. Negative numbers are passed on and not kept: what failed may have been the machine's fault,
            and a bound is no count.
        """
        keys = _keys(rows)
        found = {key: self._counts[key] for key in keys if key in self._counts}
        self._from_file += sum(key in self._of_file for key in keys if key in found)
        unknown: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in found:
                unknown.setdefault(key, place)
        self._evaluated += len(unknown)
        self._from_cache += len(keys) - len(unknown)
        for some in evaluate(list(unknown.values())) if unknown else ():
            new = {keys[place]: int(count) for place, count in some}
            found.update(new)
            self._add({key: count for key, count in new.items() if count >= 0}, _LEAST)
        for key in keys:  # in this order, whoever counted
            if key in self._counts:
                self._counts.move_to_end(key)
        self._add({})
        return np.array([found[key] for key in keys], dtype=np.int64)

    def known(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return the counts of rows as far as they are known, elsewhere `FAILED`; nothing is tallied.

        Parameters
        ----------
        rows : array, shape (P, ...), C-contiguous
            Genomes.
        """
        return np.array([self._counts.get(key, FAILED) for key in _keys(rows)], dtype=np.int64)

    def remember(self, rows: NDArray[Any], counts: ArrayLike) -> None:
        """Take over counts that were found elsewhere.

        Parameters
        ----------
        rows : array, shape (P, ...), C-contiguous
            Genomes.
        counts : array_like of int, shape (P,)
            Their wrong predictions.
        """
        found = np.asarray(counts, dtype=np.int64).tolist()
        pairs = zip(_keys(rows), found, strict=True)
        self._add({key: count for key, count in pairs if key not in self._counts})

    def _add(self, new: dict[bytes, int], least: int = 1) -> None:
        self._counts.update(new)
        while len(self._counts) > self.limit:
            self._of_file.discard(self._counts.popitem(last=False)[0])
        self._unsaved += len(new)
        if self._unsaved >= max(least, len(self._counts) / _BATCH):
            self.save()

    # ------------------------------------------------------------------------------------------ the file

    def attach(self, path: Path, fingerprint: str) -> None:
        """Take over what a file holds, and keep the counts there from now on.

        Parameters
        ----------
        path : Path
            The file; its folder must exist. One that is not there yet is made.
        fingerprint : str
            What the counts depend on; see :func:`fingerprint`.
        """
        if self.limit == 0:
            return
        self._file = path, fingerprint
        if not path.exists():
            return
        try:
            keys, counts = _read(path, fingerprint, self.images)
        except FileFormatError as error:
            _LOG.warning("%s; the cache of evaluated candidates begins anew", error)
            return
        stored = [key.tobytes() for key in keys[-self.limit :]]
        own = self._counts
        self._counts = OrderedDict(zip(stored, counts[-self.limit :].tolist(), strict=True))
        self._of_file = set(stored)
        self._add(dict(own))

    def save(self) -> None:
        """Write the file, if there is one and something is new; a file that cannot be written is given up."""
        if self._file is None or self._unsaved == 0:
            return
        path, name = self._file
        keys = np.frombuffer(b"".join(self._counts), dtype=np.uint8).reshape(-1, _KEY_BYTES)
        counts = np.fromiter(self._counts.values(), dtype=np.int64, count=len(self._counts))

        def fill(file: h5py.File) -> None:
            write_attributes(file, emoref_class="counts", format_version=FORMAT_VERSION)
            write_json(file, "about", {"fingerprint": name, "checksum": _checksum(name, keys, counts)})
            write_array(file, "keys", keys, dimensions="entry, byte")
            write_array(file, "counts", counts, dimensions="entry", units="wrong predictions")

        try:
            write_atomic(path, fill)
            self._unsaved = 0
        except FileFormatError as error:
            _LOG.warning("%s; evaluated candidates are remembered in memory alone", error)
            self._file = None


def _keys(rows: NDArray[Any]) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=_KEY_BYTES).digest() for row in rows]


def _checksum(name: str, keys: NDArray[np.uint8], counts: NDArray[np.int64]) -> str:
    digest = hashlib.blake2b(name.encode(), digest_size=16)
    digest.update(keys.tobytes())
    digest.update(counts.astype("<i8").tobytes())
    return digest.hexdigest()


def _read(path: Path, name: str, images: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return keys and counts of a file, after all that can be checked has been."""
    with open_checked(path, "counts", FORMAT_VERSION) as file:
        about = read_json(file, "about")
        if not isinstance(about, dict) or about.get("fingerprint") != name:
            raise FileFormatError(
                f"{path}: holds counts of another network, other images, or of other software or machine"
            )
        keys = read_array(file, "keys", kinds="u")
        counts = read_array(file, "counts", shape=(len(keys),), kinds="i").astype(np.int64)
    if keys.dtype != np.uint8 or keys.shape[1:] != (_KEY_BYTES,):
        raise FileFormatError(f"{path}: damaged: /keys is {keys.dtype} of shape {keys.shape}")
    if _checksum(name, keys, counts) != about.get("checksum"):
        raise FileFormatError(f"{path}: damaged: its content does not have the checksum that it names")
    if ((counts < 0) | (counts > images)).any():
        raise FileFormatError(f"{path}: damaged: a count is not 0 to {images}")
    return keys, counts


# ------------------------------------------------------------------------------------- what counts depend on


def fingerprint(
    kind: str,
    backend: str,
    nets: Sequence[Network],
    arrays: Iterable[tuple[str, NDArray[Any]]],
    details: Any = None,
) -> str:
    """Return a text that tells apart whatever may lead to other counts.

    Parameters
    ----------
    kind : str
        What a candidate is.
    backend : str
        The back end and its mode, as :func:`emoref_kernels.load_backend` takes them.
    nets : sequence of Network
        The architectures.
    arrays : iterable of (str, array)
        Parameters, images, labels: names, types, shapes and values count.
    details : JSON-able, optional
        Settings that matter besides.

    Returns
    -------
    str
        32 hexadecimal digits. Versions of the software, the processor's instruction set and the GPU are in
        it, because they may change the last bit of a logit. Threads, workers and block sizes do not.
    """
    head = {
        "kind": kind,
        "computed": _computed_by(backend),
        "nets": [net.to_dict() for net in nets],
        "details": details,
    }
    digest = hashlib.blake2b(json.dumps(head, sort_keys=True).encode(), digest_size=16)
    for name, array in arrays:
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _computed_by(backend: str) -> list[str]:
    """Return what rounding depends on: back end, software, and the machine's arithmetic."""
    from emoref_kernels.cpu.simd import enabled_features

    table = load_backend(backend)
    software = [f"emoref {__version__}", f"numpy {np.__version__}", f"numba {numba.__version__}"]
    features = " ".join([platform.machine(), *sorted(enabled_features())])
    if table.name != "cuda":
        return [table.name, table.mode, *software, features]
    from emoref_kernels.cuda import provider

    device = provider.require_device()
    return [table.name, table.mode, *software, features, device.name, str(device.capability)]
