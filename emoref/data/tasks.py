"""Sets of images for several tasks: classes taken out of a data set, and images of a common shape."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from emoref.data.dataset import Dataset
from emoref.errors import DataError, suggest

__all__ = ["in_shape", "select_classes"]


def select_classes(dataset: Dataset, chosen: Sequence[int | str]) -> Dataset:
    """Return the images of some classes, as a data set with those classes alone.

    Parameters
    ----------
    dataset : Dataset
        The whole set.
    chosen : sequence of int or str
        Numbers or names of classes; they are numbered anew from 0, in the order given.

    Returns
    -------
    Dataset
        Images in the order of the whole set; same normalisation and augmentation.

    Raises
    ------
    DataError
        If a class is unknown or named twice, none is named, or a class has no images.

    Examples
    --------
    >>> from emoref.data import load, select_classes
    >>> shoes = select_classes(load("fashion-mnist-small", "test"), ["Sneaker", 9])
    >>> len(shoes), shoes.classes
    (200, ('Sneaker', 'Ankle boot'))
    """
    numbers = [_class_number(dataset, one) for one in chosen]
    if not numbers:
        raise DataError(f"data set {dataset.name!r}: no class is chosen; name at least one")
    if len(set(numbers)) < len(numbers):
        raise DataError(f"data set {dataset.name!r}: classes {list(chosen)} name one of them twice")
    new_label = np.full(len(dataset.classes), -1, dtype=np.int64)
    new_label[numbers] = np.arange(len(numbers))
    labels = new_label[dataset.labels]
    counts = np.bincount(labels[labels >= 0], minlength=len(numbers))
    if (counts == 0).any():
        name = dataset.classes[numbers[int(np.argmin(counts))]]
        raise DataError(f"data set {dataset.name!r}: class {name!r} has no images")
    rows = np.flatnonzero(labels >= 0)
    return dataclasses.replace(
        dataset,
        images=dataset.images[rows],
        labels=labels[rows],
        classes=tuple(dataset.classes[number] for number in numbers),
    )


def _class_number(dataset: Dataset, one: int | str) -> int:
    if isinstance(one, str):
        if one not in dataset.classes:
            raise DataError(f"data set {dataset.name!r} has no class {one!r}{suggest(one, dataset.classes)}")
        return dataset.classes.index(one)
    if isinstance(one, bool) or not 0 <= one < len(dataset.classes):
        raise DataError(
            f"data set {dataset.name!r} has no class {one!r}; expected 0 to {len(dataset.classes) - 1}"
        )
    return int(one)


def in_shape(dataset: Dataset, shape: Sequence[int]) -> Dataset:
    """Return the same images in a common shape, so that several sets fit one network.

    A border of black pixels is put round images that are smaller, the odd pixel right and below; a single
    grey channel is repeated. Nothing is scaled or cut, so no image loses anything.

    Parameters
    ----------
    dataset : Dataset
        Images (C, H, W).
    shape : sequence of int
        The wanted (C, H, W), at least as large.

    Returns
    -------
    Dataset
        The set itself where the shape is right already. Repeated channels keep the constants of the grey one.

    Raises
    ------
    DataError
        If the images are larger than the shape, or have another number of channels above 1.
    """
    channels, height, width = (int(size) for size in shape)
    found = dataset.image_shape
    if found == (channels, height, width):
        return dataset
    if found[0] not in (1, channels) or found[1] > height or found[2] > width:
        raise DataError(
            f"data set {dataset.name!r}: images of shape {found} do not fit into "
            f"{(channels, height, width)}; the shape must be as large, with as many channels or grey images"
        )
    top, left = (height - found[1]) // 2, (width - found[2]) // 2
    border = ((0, 0), (0, 0), (top, height - found[1] - top), (left, width - found[2] - left))
    images = np.pad(dataset.images, border)
    mean, std = dataset.mean, dataset.std
    if found[0] == 1 < channels:
        images, mean, std = np.repeat(images, channels, axis=1), mean * channels, std * channels
    return dataclasses.replace(dataset, images=images, mean=mean, std=std)
