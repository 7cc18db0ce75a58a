"""The binary layout of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning multiple layers of features", 2009).

A file is a row of records without header. A record is one label byte (CIFAR-10) or two (CIFAR-100: coarse,
fine), then 3,072 pixel bytes: 1,024 red, 1,024 green, 1,024 blue, each a 32 x 32 plane row by row.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoref.data.files import file_size
from emoref.errors import DataError

IMAGE_SHAPE = (3, 32, 32)
PIXEL_BYTES = 3072

CIFAR10_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR100_FILES = {"train": ("train.bin",), "test": ("test.bin",)}

_CIFAR10_LABELS = (("label", 10),)
_CIFAR100_LABELS = (("coarse label", 20), ("fine label", 100))


def read_cifar10(
    folder: str | PathLike[str], part: str = "train"
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one part of CIFAR-10.

    Parameters
    ----------
    folder : path
        The folder ``cifar-10-batches-bin`` with ``data_batch_1.bin`` .. ``data_batch_5.bin`` and
        ``test_batch.bin``. A batch may hold any number of whole records.
    part : {"train", "test"}
        The five training batches, in order, or the test batch.

    Returns
    -------
    images : uint8 array of shape (N, 3, 32, 32)
        The images.
    labels : int64 array of shape (N,)
        Classes 0 .. 9.

    Raises
    ------
    DataError
        If a batch is missing or empty, its length is not a multiple of 3,073 bytes, or a label exceeds 9.
    """
    images, labels = _read_part(Path(folder), part, CIFAR10_FILES, _CIFAR10_LABELS)
    return images, labels[:, 0]


def read_cifar100(
    folder: str | PathLike[str], part: str = "train"
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Read one part of CIFAR-100.

    Parameters
    ----------
    folder : path
        The folder ``cifar-100-binary`` with ``train.bin`` and ``test.bin``.
    part : {"train", "test"}
        Which file.

    Returns
    -------
    images : uint8 array of shape (N, 3, 32, 32)
        The images.
    fine : int64 array of shape (N,)
        Classes 0 .. 99, the ones that papers report.
    coarse : int64 array of shape (N,)
        Superclasses 0 .. 19.

    Raises
    ------
    DataError
        If the file is missing or empty, its length is not a multiple of 3,074 bytes, a coarse label exceeds
        19 or a fine one 99.
    """
    images, labels = _read_part(Path(folder), part, CIFAR100_FILES, _CIFAR100_LABELS)
    return images, labels[:, 1], labels[:, 0]


def _read_part(
    folder: Path, part: str, files: Mapping[str, tuple[str, ...]], label_kinds: tuple[tuple[str, int], ...]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if part not in files:
        raise DataError(f"{folder}: there is no part {part!r}; expected 'train' or 'test'")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with {', '.join(files[part])}")
    missing = [name for name in files[part] if not (folder / name).exists()]
    if missing:
        raise DataError(f"{folder}: {', '.join(missing)} missing; expected {', '.join(files[part])}")
    records = [_read_records(folder / name, label_kinds) for name in files[part]]
    n_labels = len(label_kinds)
    # Concatenating the pixels alone leaves one copy of them, contiguous, and drops the label columns.
    images = np.concatenate([rows[:, n_labels:] for rows in records]).reshape(-1, *IMAGE_SHAPE)
    labels = np.concatenate([rows[:, :n_labels] for rows in records]).astype(np.int64)
    return images, labels


def _read_records(path: Path, label_kinds: tuple[tuple[str, int], ...]) -> NDArray[np.uint8]:
    record_bytes = len(label_kinds) + PIXEL_BYTES
    size = file_size(path)
    if size % record_bytes:
        whole = size // record_bytes
        raise DataError(
            f"{path}: byte {whole * record_bytes}: {size % record_bytes} bytes after {whole} whole records; "
            f"expected a multiple of {record_bytes} bytes, found {size}"
        )
    try:
        records = np.fromfile(path, np.uint8).reshape(-1, record_bytes)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    for column, (kind, n_classes) in enumerate(label_kinds):
        wrong = np.flatnonzero(records[:, column] >= n_classes)
        if wrong.size:
            first = int(wrong[0])
            raise DataError(
                f"{path}: byte {first * record_bytes + column}: {kind} of record {first} is "
                f"{records[first, column]}; expected 0 to {n_classes - 1}"
            )
    return records
