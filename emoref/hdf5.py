"""HDF5 files that are written atomically and read with suspicion.

Every file of emoref names its class and format version in two attributes of the root group. Writing goes
to a temporary file beside the target, which then takes its place in one step: whoever reads sees the old
file or the new one, never half of either. Nothing of clock, path or machine is stored, so equal content
gives equal bytes.

Reading trusts nothing: before any value is read, every object of the file is looked at. Links that lead out
of the file, data types that emoref never writes, and data sets that claim more bytes than the file can hold
are refused without allocating what they claim.
"""

import contextlib
import io
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import FileFormatError

__all__ = [
    "open_checked",
    "read_array",
    "read_json",
    "write_array",
    "write_atomic",
    "write_attributes",
    "write_bytes_atomic",
    "write_json",
]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_DEPTH = 8
# Deflate cannot shrink anything further than about 1032 times; a chunk of constant bytes reaches that.
_MAX_COMPRESSION = 1032
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_KINDS = "biufS"


def write_atomic(path: str | os.PathLike[str], fill: Callable[[h5py.File], None]) -> None:
    """Write an HDF5 file so that it is there completely or not at all.

    Parameters
    ----------
    path : path
        The file; replaced if it exists. Its folder must exist.
    fill : callable
        Gets the open, empty file and writes everything into it. If it raises, the target stays as it was.
        Text attributes that it sets are stored with fixed length (see :func:`write_attributes`).

    Raises
    ------
    FileFormatError
        If the file cannot be written (no such folder, no permission, disk full).
    """
    _replace(path, lambda raw: _fill_through(_Sink(raw), fill))


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to a file of another format than HDF5, so that it is there completely or not at all.

    Parameters
    ----------
    path : path
        The file; replaced if it exists. Its folder must exist.
    data : bytes
        All of its content.

    Raises
    ------
    FileFormatError
        If the file cannot be written (no such folder, no permission, disk full).
    """

    def write(raw: io.FileIO) -> None:
        view = memoryview(data)
        while len(view):
            view = view[raw.write(view) :]

    _replace(path, write)


def _replace(path: str | os.PathLike[str], write: Callable[[io.FileIO], None]) -> None:
    """Let `write` fill a temporary file beside the target, which then takes its place."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb+", buffering=0) as raw:
            write(raw)
            os.fsync(raw.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        kept = "; the file of before is kept" if target.is_file() else ""
        raise FileFormatError(f"{target}: cannot be written ({error.strerror or error}){kept}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fill_through(sink: "_Sink", fill: Callable[[h5py.File], None]) -> None:
    try:
        with h5py.File(sink, "w") as file:
            fill(file)
            _fix_texts("/", file)
            file.visititems(_fix_texts)
    except Exception:
        if sink.error is None:
            raise
    if sink.error is not None:
        raise sink.error


class _Sink(io.RawIOBase):
    """A file that HDF5 writes through, which keeps the first error to itself.

    HDF5 cannot close a file whose last bytes do not fit on the disk: it keeps the descriptor, and with it the
    space of the deleted file, until the process ends. So it is told that all went well, and the error is
    raised once it has let go.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``, or nothing after an error."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.error is None:
            with self._keeping():
                done += self._raw.write(view[done:])
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length."""
        with self._keeping():
            self._raw.truncate(size)
        return size or 0

    def readinto(self, buffer: Any) -> int:
        """Read back; what could not be written reads as zeros."""
        view = memoryview(buffer).cast("B")
        count = 0
        with self._keeping():
            count = self._raw.readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._raw.tell()

    def flush(self) -> None:
        """Do nothing: the file beneath has no buffer."""

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


def _sync_folder(folder: Path) -> None:
    # The new name must survive a power cut as well; systems that cannot sync a folder do without.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def open_checked(path: str | os.PathLike[str], emoref_class: str, newest_version: int) -> Iterator[h5py.File]:
    """Open a file of emoref for reading, after checking all of its structure.

    Parameters
    ----------
    path : path
        The file.
    emoref_class : str
        What the file must say that it is, e.g. ``"network"``.
    newest_version : int
        Newest format version that the caller reads; older ones (from 1) are accepted.

    Yields
    ------
    h5py.File
        The open file, read-only. What HDF5 reports as an error inside the ``with`` block is raised as
        FileFormatError too.

    Raises
    ------
    FileFormatError
        If the file is missing, not HDF5, truncated, of another class or a newer version, or holds links, data
        types or sizes that no file of emoref has. The text begins with the path.
    """
    path = Path(path)
    _check_signature(path)
    try:
        # Files are replaced, never changed in place, so a reader needs no lock.
        with h5py.File(path, "r", locking=False) as file:
            _check_structure(file, path, emoref_class, newest_version)
            yield file
    except FileFormatError:
        raise
    except (OSError, RuntimeError, KeyError, MemoryError) as error:
        raise FileFormatError(f"{path}: truncated or damaged ({str(error).strip()})") from None


def _check_signature(path: Path) -> None:
    try:
        with open(path, "rb") as raw:
            start = raw.read(len(_SIGNATURE))
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from None
    if start != _SIGNATURE:
        what = "is empty" if not start else "is not an HDF5 file (its first 8 bytes are not HDF5's signature)"
        raise FileFormatError(f"{path}: {what}")


def _check_structure(file: h5py.File, path: Path, emoref_class: str, newest_version: int) -> None:
    try:
        _check_class(file, path, emoref_class, newest_version)
        _check_objects(file, path)
    except FileFormatError:
        raise
    except (ArithmeticError, AttributeError, MemoryError, TypeError, ValueError) as error:
        # What h5py makes of damaged types and names, besides the errors that HDF5 itself reports.
        raise FileFormatError(f"{path}: truncated or damaged ({str(error).strip()})") from None


def _attribute(file: h5py.File, name: str, kinds: str) -> Any:
    """Return a scalar attribute of the root, or None where it is missing or of another kind.

    The type is looked at before the value: HDF5 can loop for ever over the heap in which a damaged file keeps
    strings of variable length.
    """
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.kind not in kinds:
        return None
    return file.attrs[name]


def _check_class(file: h5py.File, path: Path, emoref_class: str, newest_version: int) -> None:
    found = (_attribute(file, "emoref_class", "S") or b"").decode("utf-8", "replace")
    if found != emoref_class:
        what = f'holds a "{found}"' if found else "was not written by emoref (no attribute emoref_class)"
        raise FileFormatError(f'{path}: {what}; a file of class "{emoref_class}" is needed here')
    version = _attribute(file, "format_version", "iu")
    if version is None or version < 1:
        found = "another type" if version is None else str(version)
        raise FileFormatError(f"{path}: attribute format_version must be a positive integer, got {found}")
    if version > newest_version:
        raise FileFormatError(
            f"{path}: has format version {version}, this emoref reads up to {newest_version}; "
            "use a newer emoref"
        )


def _check_objects(file: h5py.File, path: Path) -> None:
    size_bytes = path.stat().st_size
    seen = {_address(file)}

    def visit(group: h5py.Group, depth: int) -> None:
        for name in group:
            where = f"{path}: {group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise FileFormatError(f"{where} is a soft or external link; files of emoref hold none")
            item = group[name]
            if _address(item) in seen:
                raise FileFormatError(
                    f"{where} is a second name of another object; files of emoref hold none"
                )
            seen.add(_address(item))
            if isinstance(item, h5py.Dataset):
                _check_dataset(item, where, size_bytes)
            elif not isinstance(item, h5py.Group) or depth == _MAX_DEPTH:
                raise FileFormatError(f"{where}: files of emoref hold no such object here")
            else:
                visit(item, depth + 1)

    visit(file, 1)


def _address(item: Any) -> int:
    return h5py.h5o.get_info(item.id).addr


def _check_dataset(dataset: h5py.Dataset, where: str, file_bytes: int) -> None:
    if dataset.shape is None or dataset.dtype.kind not in _KINDS:
        raise FileFormatError(f"{where} has data type {dataset.dtype}, which files of emoref never have")
    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
        raise FileFormatError(f"{where} keeps its data in another file; files of emoref hold all their data")
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if filters - _FILTERS:
        raise FileFormatError(f"{where} is packed with filter {min(filters - _FILTERS)}, which is not read")
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), file_bytes)
    if layout == h5py.h5d.CONTIGUOUS and claimed:
        offset = dataset.id.get_offset()
        stored = stored if offset is not None and offset + claimed <= file_bytes else 0
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    factor = _MAX_COMPRESSION if filters else 1
    if claimed > stored * factor or (claimed and chunk > max(stored * factor, claimed)):
        raise FileFormatError(
            f"{where} claims {claimed:,} bytes, but the file ({file_bytes:,} bytes) cannot hold them"
        )


def write_attributes(item: h5py.Group | h5py.Dataset, **values: str | int | float) -> None:
    """Write `values` as attributes of `item`.

    Texts become UTF-8 of fixed length, the only kind that :func:`open_checked` reads.
    """
    for name, value in values.items():
        if isinstance(value, str):
            data = value.encode("utf-8")
            item.attrs.create(name, data, shape=(), dtype=h5py.string_dtype("utf-8", max(len(data), 1)))
        else:
            item.attrs[name] = value


def _fix_texts(name: str, item: h5py.Group | h5py.Dataset) -> None:
    """Rewrite text attributes of variable length with fixed length."""
    for key in list(item.attrs):
        if isinstance(item.attrs[key], str):
            write_attributes(item, **{key: item.attrs[key]})


def write_array(
    group: h5py.Group, name: str, values: ArrayLike, *, dimensions: str = "", units: str = ""
) -> None:
    """Write an array as an uncompressed data set, with names of its axes and units as attributes.

    Parameters
    ----------
    group : h5py.Group
        Where to.
    name : str
        Name of the data set.
    values : array_like
        Numbers or booleans.
    dimensions : str
        Names of the axes, separated by commas; empty: none stored.
    units : str
        Units of the values; empty: none stored.
    """
    dataset = group.create_dataset(name, data=np.asarray(values), track_times=False)
    texts = {"dimensions": dimensions, "units": units}
    write_attributes(dataset, **{key: text for key, text in texts.items() if text})


def read_array(
    group: h5py.Group, name: str, *, shape: tuple[int, ...] | None = None, kinds: str = "f"
) -> NDArray[Any]:
    """Read a numeric data set whole.

    Parameters
    ----------
    group : h5py.Group
        Where from; of a file opened with :func:`open_checked`.
    name : str
        Name of the data set.
    shape : tuple of int, optional
        Shape that it must have.
    kinds : str
        NumPy's letters of the kinds allowed: ``"f"`` floating point, ``"i"`` and ``"u"`` integers,
        ``"b"`` boolean.

    Returns
    -------
    ndarray
        In the machine's byte order.

    Raises
    ------
    FileFormatError
        If it is missing, no data set, or of another kind or shape.
    """
    where = f"{group.file.filename}: {group.name.rstrip('/')}/{name}"
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise FileFormatError(f"{where} is missing")
    if dataset.dtype.kind not in kinds:
        raise FileFormatError(f"{where} has data type {dataset.dtype}, wanted kind {kinds!r}")
    if shape is not None and dataset.shape != shape:
        raise FileFormatError(f"{where} has shape {dataset.shape}, wanted {shape}")
    values = dataset[()]
    return np.asarray(values, dtype=dataset.dtype.newbyteorder("="))


def write_json(group: h5py.Group, name: str, value: Any) -> None:
    """Write a JSON-able value into `group` as a data set `name` of one UTF-8 string, keys sorted."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8")
    group.create_dataset(
        name, data=text, dtype=h5py.string_dtype("utf-8", len(text)), shape=(), track_times=False
    )


def read_json(group: h5py.Group, name: str) -> Any:
    """Read what :func:`write_json` wrote.

    Raises
    ------
    FileFormatError
        If it is missing or not JSON text.
    """
    where = f"{group.file.filename}: {group.name.rstrip('/')}/{name}"
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != () or dataset.dtype.kind != "S":
        raise FileFormatError(f"{where}: a JSON text is missing")
    try:
        return json.loads(bytes(dataset[()]).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or a number of too many digits
        raise FileFormatError(f"{where} is not JSON ({error})") from None
