"""The IDX format of MNIST and Fashion-MNIST: any number of dimensions, six number types.

Byte layout (LeCun, Cortes, Burges, "The MNIST database"): two zero bytes, a type code, the number of
dimensions; then each dimension as a big-endian unsigned 32-bit integer; then the numbers, big-endian, last
dimension fastest. Files may be plain, gzip or xz.
"""

import gzip
import io
import lzma
import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.data.files import GZIP_MAX_RATIO, ByteReader
from emoref.errors import DataError

TYPE_CODES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

# The format allows 255; an array of NumPy 2 has at most 64.
MAX_DIMENSIONS = 64

# These are xz's own defaults, the best of seven settings tried on images of 28 x 28. They are written out so
# that other defaults of another version cannot change the files that we make.
_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 0, "pb": 2}]


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def header_bytes(self) -> int:
        return 4 + 4 * len(self.shape)

    @property
    def body_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def total_bytes(self) -> int:
        return self.header_bytes + self.body_bytes

    def claim(self) -> str:
        sizes = _sizes(self.shape) if len(self.shape) <= 6 else f"{len(self.shape)} dimensions"
        # Up to 64 sizes of 32 bits multiply to more digits than a message should have.
        total = str(self.total_bytes) if self.total_bytes < 10**18 else "10**18 or more"
        return f"the header claims {sizes} of {self.dtype.newbyteorder('=')}, {total} bytes in all"


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def read_idx(path: str | PathLike[str]) -> NDArray[Any]:
    """Read an IDX file.

    Parameters
    ----------
    path : path
        A plain, gzip or xz file; which of them is told from its first bytes.

    Returns
    -------
    array
        uint8, int8, int16, int32, float32 or float64 in the machine's byte order, of the header's shape.

    Raises
    ------
    DataError
        If the file is missing, a directory or empty; if header or body are cut short; if the magic number is
        not one of IDX; if bytes follow the body; if a compressed stream is damaged. The text names the file,
        the byte offset, what was found and what was expected. A header that claims more than the file can
        hold is refused before memory is taken for it.
    """
    with ByteReader(Path(path)) as reader:
        header = _read_header(reader)
        _check_claim(reader, header)
        body = reader.read(header.body_bytes)
        if len(body) < header.body_bytes:
            raise DataError(_cut_short(reader, header, reader.offset))
        if reader.read(1):
            end = reader.where(header.total_bytes)
            raise DataError(f"{path}: trailing bytes from {end}; {header.claim()}")
    try:
        values = np.frombuffer(body, header.dtype) if body else np.empty(0, header.dtype)
        return values.astype(header.dtype.newbyteorder("="), copy=False).reshape(header.shape)
    except ValueError:
        # Only an empty array gets here: one size is 0 and the product of the others is beyond NumPy.
        raise DataError(f"{path}: byte 4: sizes that no array can have; {header.claim()}") from None


def _read_header(reader: ByteReader) -> _Header:
    magic = reader.read(4)
    if len(magic) >= 2 and magic[:2] != b"\0\0":
        found = f"byte 0: found {magic.hex(' ')}, expected 00 00, a type code and a number of dimensions"
        raise DataError(f"{reader.path}: not an IDX file; {reader.misnamed() or found}")
    if len(magic) < 4:
        raise DataError(
            f"{reader.path}: IDX header cut short at {reader.where(len(magic))}; "
            "expected a magic number of 4 bytes"
        )
    if magic[2] not in TYPE_CODES:
        known = " ".join(f"{code:02x}" for code in TYPE_CODES)
        raise DataError(f"{reader.path}: byte 2: found type code {magic[2]:02x}, expected one of {known}")
    if not 1 <= magic[3] <= MAX_DIMENSIONS:
        raise DataError(f"{reader.path}: byte 3: found {magic[3]} dimensions, expected 1 to {MAX_DIMENSIONS}")
    sizes = reader.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(
            f"{reader.path}: IDX header cut short at {reader.where(reader.offset)}; "
            f"expected {4 + 4 * magic[3]} bytes for {magic[3]} dimensions"
        )
    return _Header(TYPE_CODES[magic[2]], tuple(int(size) for size in np.frombuffer(sizes, ">u4")))


def _check_claim(reader: ByteReader, header: _Header) -> None:
    """Compare the claimed size with what the file holds, or at most can hold, before reading on."""
    if reader.kind == "plain" and reader.stored_bytes < header.total_bytes:
        raise DataError(_cut_short(reader, header, reader.stored_bytes))
    if reader.kind == "plain" and reader.stored_bytes > header.total_bytes:
        surplus = reader.stored_bytes - header.total_bytes
        raise DataError(
            f"{reader.path}: {surplus} trailing bytes from byte {header.total_bytes}; {header.claim()}"
        )
    if reader.kind == "gzip" and header.total_bytes > GZIP_MAX_RATIO * reader.stored_bytes:
        raise DataError(
            f"{reader.path}: byte 4: {header.claim()}; "
            f"{reader.stored_bytes} bytes of gzip cannot hold that, expected smaller sizes"
        )


def _cut_short(reader: ByteReader, header: _Header, end: int) -> str:
    return f"{reader.path}: body cut short, it ends at {reader.where(end)}; {header.claim()}"


def write_idx(path: str | PathLike[str], array: NDArray[Any]) -> None:
    """Write an array as an IDX file.

    The same array gives the same bytes each time (no time stamp, no file name inside).

    Parameters
    ----------
    path : path
        Where to. A name ending in ``.gz`` or ``.xz`` is compressed.
    array : array
        uint8, int8, int16, int32, float32 or float64, 1 to 64 dimensions.

    Raises
    ------
    DataError
        If the format has no code for the dtype or the shape, or the file cannot be written.
    """
    codes = {dtype.newbyteorder("="): code for code, dtype in TYPE_CODES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        known = ", ".join(str(dtype) for dtype in codes)
        raise DataError(f"{path}: IDX cannot hold {array.dtype}; expected one of {known}")
    if not 1 <= array.ndim <= MAX_DIMENSIONS or max(array.shape) >= 1 << 32:
        raise DataError(
            f"{path}: IDX cannot hold an array of shape {array.shape}; "
            f"expected 1 to {MAX_DIMENSIONS} dimensions below 2**32"
        )
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = header + array.astype(TYPE_CODES[code], copy=False).tobytes()
    try:
        Path(path).write_bytes(_compressed(data, Path(path).suffix))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from None


def _compressed(data: bytes, suffix: str) -> bytes:
    if suffix == ".xz":
        return lzma.compress(data, check=lzma.CHECK_CRC32, filters=_XZ_FILTERS)
    if suffix == ".gz":
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as stream:
            stream.write(data)
        return buffer.getvalue()
    return data


def read_images(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read grey images from an IDX file of three dimensions.

    Parameters
    ----------
    path : path
        The file, e.g. ``train-images-idx3-ubyte.gz``.

    Returns
    -------
    uint8 array of shape (N, 1, H, W)
        The images, N at least 1.

    Raises
    ------
    DataError
        As :func:`read_idx`, and if the file holds something else than uint8 images.
    """
    array = read_idx(path)
    if array.ndim == 1:
        raise DataError(f"{path}: byte 3: found 1 dimension, a label file; expected images of 3 dimensions")
    if array.ndim != 3 or array.dtype != np.uint8:
        raise DataError(
            f"{path}: bytes 2 and 3: found {array.dtype} in {array.ndim} dimensions; "
            "expected images, uint8 in 3 dimensions"
        )
    if array.size == 0:
        raise DataError(f"{path}: byte 4: found {_sizes(array.shape)} images; expected no size to be 0")
    return array[:, None]


def read_labels(path: str | PathLike[str], n_classes: int = 10) -> NDArray[np.int64]:
    """Read class labels from an IDX file of one dimension.

    Parameters
    ----------
    path : path
        The file, e.g. ``train-labels-idx1-ubyte.gz``.
    n_classes : int
        Labels must lie in 0 .. n_classes - 1.

    Returns
    -------
    int64 array of shape (N,)
        The labels.

    Raises
    ------
    DataError
        As :func:`read_idx`, and if the file holds images, numbers that are not integers, or a label outside
        the range (named with its byte offset).
    """
    array = read_idx(path)
    if array.ndim != 1:
        raise DataError(
            f"{path}: byte 3: found {array.ndim} dimensions ({_sizes(array.shape[:6])}), an image file; "
            "expected labels of 1 dimension"
        )
    if array.dtype.kind not in "iu":
        raise DataError(f"{path}: byte 2: found {array.dtype} numbers; expected integer labels")
    wrong = np.flatnonzero((array < 0) | (array >= n_classes))
    if wrong.size:
        first = int(wrong[0])
        raise DataError(
            f"{path}: byte {8 + first * array.itemsize}: label {first} is {array[first]}; "
            f"expected 0 to {n_classes - 1}"
        )
    return array.astype(np.int64)


def read_image_set(
    images_path: str | PathLike[str], labels_path: str | PathLike[str], n_classes: int = 10
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images and the labels that belong to them.

    Parameters
    ----------
    images_path, labels_path : path
        Two IDX files.
    n_classes : int
        Labels must lie in 0 .. n_classes - 1.

    Returns
    -------
    images : uint8 array of shape (N, 1, H, W)
        The images.
    labels : int64 array of shape (N,)
        Their classes.

    Raises
    ------
    DataError
        As :func:`read_images` and :func:`read_labels`, and if the two numbers of items differ.
    """
    images = read_images(images_path)
    labels = read_labels(labels_path, n_classes)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: byte 4: found {len(labels)} labels; expected {len(images)}, "
            f"as there are images in {images_path}"
        )
    return images, labels
