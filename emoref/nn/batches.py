"""Where training and evaluation get their images from."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import ConfigError, DataError

__all__ = ["ArrayData", "TrainData", "check_labels", "slices"]


class TrainData(Protocol):
    """What training and evaluation need of a data set."""

    def __len__(self) -> int:
        """Return the number of images."""

    def batch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the images (n, C, H, W) float32 and labels (n,) int64 at `indices`, augmented with `rng`."""


class ArrayData:
    """Plain arrays as training data, without augmentation.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W) or (N, features)
        Ready for the network; float64 is kept as it is (for the reference back end).
    labels : array_like of int, shape (N,)
        Class numbers from 0.

    Raises
    ------
    DataError
        If the lengths differ, the images are not floating-point, or the labels not non-negative integers.
    """

    def __init__(self, images: NDArray[Any], labels: ArrayLike) -> None:
        self.images = np.asarray(images)
        if self.images.dtype not in (np.float32, np.float64):
            raise DataError(
                f"images must be float32 (float64 for the reference back end), got {self.images.dtype}"
            )
        self.labels = check_labels(labels, len(self.images))

    def __len__(self) -> int:
        return len(self.images)

    def batch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the images and labels at `indices`; nothing is augmented, `rng` or not."""
        return self.images[indices], self.labels[indices]


def check_labels(labels: ArrayLike, count: int, classes: int | None = None) -> NDArray[np.int64]:
    """Return labels as int64, checked.

    Parameters
    ----------
    labels : array_like of int, shape (count,)
        Class numbers.
    count : int
        How many there must be.
    classes : int, optional
        Labels must be below it.

    Raises
    ------
    DataError
        If the labels are not `count` integers in the range 0 to `classes` - 1.
    """
    array = np.asarray(labels)
    if array.shape == (0,):
        array = array.astype(np.int64)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise DataError(f"labels must be {count} integers, got shape {array.shape}, dtype {array.dtype}")
    low, high = (int(array.min()), int(array.max())) if count else (0, 0)
    if low < 0 or (classes is not None and high >= classes):
        wanted = "at least 0" if classes is None else f"in 0..{classes - 1}"
        raise DataError(f"labels must be {wanted}, found {low if low < 0 else high}")
    return array.astype(np.int64, copy=False)


def slices(count: int, batch_size: int) -> Iterator[slice]:
    """Yield the slices that cut `count` items into batches; the last one may be smaller.

    Raises
    ------
    ConfigError
        If `batch_size` is not a positive integer.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ConfigError(f"batch_size must be a positive integer, got {batch_size!r}")
    return (slice(start, min(start + batch_size, count)) for start in range(0, count, int(batch_size)))
