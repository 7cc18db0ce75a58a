"""Labelled images in memory, normalised and augmented batch by batch."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import DataError


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images: the padded crop and mirror of the CIFAR papers, and cutout.

    He et al., "Deep residual learning for image recognition", 2016, section 4.2: 4 pixels padded on each
    side, a 32 x 32 crop, mirrored or not. That is ``Augmentation(flip=True, crop_padding=4)``. DeVries and
    Taylor, "Improved regularization of convolutional neural networks with cutout", 2017, section 3.2: after
    that a square of the image is hidden, so that the network cannot lean on one detail.

    Attributes
    ----------
    flip : bool
        Mirror left-right with probability 1/2.
    crop_padding : int
        Pad each side by this many pixels of value 0 (black) and cut the original size out again at a place
        drawn uniformly. 0 does not crop. Padding happens before normalisation, so that a padded pixel is
        black and not the mean colour.
    cutout : int
        Hide a square of this many pixels a side under one colour, the mean of all images. Its centre is drawn
        uniformly from all pixels, so that the square may reach over the edge: then less is hidden, as in the
        paper. 0 hides nothing; the paper takes 16 for the ten classes of CIFAR-10.
    """

    flip: bool = False
    crop_padding: int = 0
    cutout: int = 0

    def __post_init__(self) -> None:
        """Check the padding and the square."""
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise DataError(f"{name} is {value!r}; expected an integer of 0 or more pixels")

    def apply(
        self, images: NDArray[np.uint8], rng: np.random.Generator, cover: Sequence[int] = (0,)
    ) -> NDArray[np.uint8]:
        """Change each image in its own random way.

        Parameters
        ----------
        images : uint8 array of shape (N, C, H, W)
            The images; left as they are.
        rng : numpy.random.Generator
            Draws 2 N crop offsets (all rows, then all columns), then N coins for the mirror, then 2 N centres
            of squares (all rows, then all columns).
        cover : sequence of C ints, or of one
            What a hidden pixel becomes in each channel.

        Returns
        -------
        uint8 array of shape (N, C, H, W)
            The changed images.
        """
        changed = images
        if self.crop_padding:
            changed = _random_crop(changed, self.crop_padding, rng)
        if self.flip:
            mirrored = rng.random(len(changed)) < 0.5
            changed = np.where(mirrored[:, None, None, None], changed[:, :, :, ::-1], changed)
        if self.cutout:
            changed = _cut_out(changed, self.cutout, rng, cover)
        return changed


def _random_crop(images: NDArray[np.uint8], padding: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    n, _, height, width = images.shape
    top, left = rng.integers(0, 2 * padding + 1, size=(2, n))
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    return windows[np.arange(n), :, top, left]


def _cut_out(
    images: NDArray[np.uint8], size: int, rng: np.random.Generator, cover: Sequence[int]
) -> NDArray[np.uint8]:
    n, _, height, width = images.shape
    rows = _covered(rng.integers(0, height, size=(n,)), height, size)
    columns = _covered(rng.integers(0, width, size=(n,)), width, size)
    colour = np.asarray(cover, np.uint8)[None, :, None, None]
    return np.where(rows[:, None, :, None] & columns[:, None, None, :], colour, images)


def _covered(centre: NDArray[np.int64], length: int, size: int) -> NDArray[np.bool_]:
    """Return which of `length` places a stretch of `size` hides, (N, length); if even, more to the left."""
    offset = np.arange(length) - (centre[:, None] - size // 2)
    return (offset >= 0) & (offset < size)


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation of each channel over all pixels of all images.

    Parameters
    ----------
    images : uint8 array of shape (N, C, H, W)
        The images, N at least 1.

    Returns
    -------
    mean, std : tuple of C floats
        In units where black is 0 and white is 1; the standard deviation divides by the number of pixels.

    Notes
    -----
    Counted exactly: a histogram of the 256 values, then sums of integers, divided once.
    """
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = [int(c) for c in np.bincount(images[:, channel].ravel(), minlength=256)]
        n = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value * value * count for value, count in enumerate(counts))
        mean.append(total / (255 * n))
        std.append((n * squares - total * total) ** 0.5 / (255 * n))
    return tuple(mean), tuple(std)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images in memory.

    Attributes
    ----------
    name : str
        What the images are called in messages and reports.
    images : uint8 array of shape (N, C, H, W)
        The images as published, 0 .. 255; read-only. N is at least 1.
    labels : int64 array of shape (N,)
        Classes 0 .. ``len(classes) - 1``; read-only.
    classes : tuple of str
        Name of each class.
    mean, std : tuple of C floats
        Normalisation in units where white is 1: a pixel p becomes (p / 255 - mean) / std. A single number
        stands for all channels. By default nothing is shifted and white becomes 1.
    augmentation : Augmentation or None
        Applied in :meth:`batch` when a generator is given.

    Raises
    ------
    DataError
        If shapes, dtypes, labels or constants contradict each other.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    augmentation: Augmentation | None = None
    _scale: NDArray[np.float32] = field(init=False)
    _shift: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        """Check that the parts fit together and prepare the normalisation."""
        images, labels = self._checked_images(), self._checked_labels()
        object.__setattr__(self, "images", _read_only(images))
        object.__setattr__(self, "labels", _read_only(labels))
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        n_channels = images.shape[1]
        mean, std = self._constants("mean", n_channels), self._constants("std", n_channels)
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and min(std) > 0):
            raise DataError(
                f"data set {self.name!r}: mean {mean}, std {std}; expected finite numbers, std above 0"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)
        # (p / 255 - mean) / std = p * scale + shift, laid out for each element of a flattened image:
        # NumPy then runs through long contiguous rows, twice as fast as with one number a channel.
        scale = 1.0 / (255.0 * np.array(std))
        shift = -np.array(mean) / np.array(std)
        plane = images.shape[2] * images.shape[3]
        object.__setattr__(self, "_scale", np.repeat(scale.astype(np.float32), plane))
        object.__setattr__(self, "_shift", np.repeat(shift.astype(np.float32), plane))

    def _checked_images(self) -> NDArray[np.uint8]:
        images = np.asarray(self.images)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(
                f"data set {self.name!r}: images are {images.dtype} of shape {images.shape}; "
                "expected uint8 of shape (N, C, H, W)"
            )
        if images.size == 0:
            raise DataError(
                f"data set {self.name!r}: images have shape {images.shape}; expected at least one image"
            )
        return np.ascontiguousarray(images)

    def _checked_labels(self) -> NDArray[np.int64]:
        labels = np.asarray(self.labels)
        if labels.shape != (len(self.images),) or labels.dtype.kind not in "iu":
            raise DataError(
                f"data set {self.name!r}: labels are {labels.dtype} of shape {labels.shape}; "
                f"expected integers of shape ({len(self.images)},), one an image"
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if wrong.size:
            raise DataError(
                f"data set {self.name!r}: label {wrong[0]} is {labels[wrong[0]]}; "
                f"expected 0 to {len(self.classes) - 1}"
            )
        return labels.astype(np.int64, copy=False)

    def _constants(self, which: str, n_channels: int) -> tuple[float, ...]:
        values = np.atleast_1d(np.asarray(getattr(self, which), np.float64))
        if values.shape not in ((1,), (n_channels,)):
            raise DataError(
                f"data set {self.name!r}: {which} has shape {values.shape}; expected {n_channels} numbers, "
                "one a channel"
            )
        return tuple(float(value) for value in np.broadcast_to(values, n_channels))

    def __repr__(self) -> str:
        sizes = " x ".join(str(size) for size in self.image_shape)
        return f"<Dataset {self.name!r}: {len(self)} images of {sizes}, {len(self.classes)} classes>"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def class_counts(self) -> NDArray[np.int64]:
        """Count the images of each class: int64 array of shape (number of classes,)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64, copy=False)

    def batch(
        self, indices: ArrayLike, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Give the images that a training or evaluation step works on.

        Parameters
        ----------
        indices : integers of shape (n,)
            Which images; repeats are allowed.
        rng : numpy.random.Generator, optional
            Source of the augmentation. Without it, or where the data set has no augmentation, the images come
            as they are and nothing is drawn.

        Returns
        -------
        images : float32 array of shape (n, C, H, W)
            Normalised images, a fresh array.
        labels : int64 array of shape (n,)
            Their classes.

        Raises
        ------
        DataError
            If an index is not an integer in 0 .. N - 1.
        """
        rows = self._rows(indices)
        images = np.take(self.images, rows, axis=0)
        if rng is not None and self.augmentation is not None:
            cover = np.clip(np.rint(255 * np.array(self.mean)), 0, 255).astype(int)
            images = self.augmentation.apply(images, rng, cover.tolist())
        return self.normalise(images), np.take(self.labels, rows)

    def arrays(self, indices: ArrayLike | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Give all images, or those named, normalised and never augmented.

        Parameters
        ----------
        indices : integers of shape (n,), optional
            Which images; all by default.

        Returns
        -------
        images : float32 array of shape (n, C, H, W)
            Normalised images, a fresh array of 4 bytes a pixel.
        labels : int64 array of shape (n,)
            Their classes, a fresh array.

        Raises
        ------
        DataError
            If an index is not an integer in 0 .. N - 1.
        """
        if indices is not None:
            return self.batch(indices)
        return self.normalise(self.images), self.labels.copy()

    def normalise(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map pixels p to (p / 255 - mean) / std.

        Parameters
        ----------
        images : uint8 array of shape (n, C, H, W)
            Images of this data set's shape.

        Returns
        -------
        float32 array of shape (n, C, H, W)
            A fresh array. Each pixel is computed by itself as p * scale + shift, so it does not depend on the
            batch around it; it lies within 1e-6 of the exact value for the constants of the catalogue.
        """
        normalised = images.astype(np.float32)
        rows = normalised.reshape(len(images), self._scale.size)
        rows *= self._scale
        rows += self._shift
        return normalised

    def subset(self, indices: ArrayLike) -> "Dataset":
        """Copy the named images, in the order named, into a data set of their own.

        Parameters
        ----------
        indices : integers of shape (n,)
            Which images, at least one.

        Returns
        -------
        Dataset
            Same name, classes, constants and augmentation.

        Raises
        ------
        DataError
            If there is no index, or one is not an integer in 0 .. N - 1.
        """
        rows = self._rows(indices)
        return dataclasses.replace(self, images=self.images[rows], labels=self.labels[rows])

    def with_augmentation(self, augmentation: Augmentation | None) -> "Dataset":
        """Give the same data (shared, not copied) with another augmentation, or with none."""
        return dataclasses.replace(self, augmentation=augmentation)

    def _rows(self, indices: ArrayLike) -> NDArray[np.intp]:
        return checked_rows(indices, len(self), self.name)


def checked_rows(indices: ArrayLike, count: int, name: str) -> NDArray[np.intp]:
    """Return row numbers as a vector of integers.

    Parameters
    ----------
    indices : array_like of int, shape (n,)
        The row numbers.
    count : int
        How many rows there are.
    name : str
        The data set's name, for the message.

    Raises
    ------
    DataError
        If they are not a row of integers in 0 .. count - 1.
    """
    rows = np.asarray(indices)
    if rows.size == 0 and rows.ndim == 1:
        return np.empty(0, np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError(
            f"data set {name!r}: indices are {rows.dtype} of shape {rows.shape}; expected a row of integers"
        )
    low, high = rows.min(), rows.max()
    if low < 0 or high >= count:
        raise DataError(f"data set {name!r}: index {low if low < 0 else high}; expected 0 to {count - 1}")
    return rows.astype(np.intp, copy=False)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
