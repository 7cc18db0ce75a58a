"""Seeded, class-balanced choices of images: validation sets and small subsets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.data.dataset import Dataset
from emoref.errors import DataError
from emoref.seeding import generator


def stratified_split(dataset: Dataset, n_validation: int, seed: int) -> tuple[Dataset, Dataset]:
    """Hold a validation set out of a training set, each class in proportion.

    Class c with N_c of the N images gives n_validation * N_c / N images, rounded by the method of the largest
    remainder (ties: lower class first), so that each class is within one image of its share.

    Every image draws a 64-bit key, and the images of a class with the smallest keys are held out. A larger
    validation set of the same seed therefore contains the smaller one, as far as the rounding allows. The
    keys are the raw output of PCG64, which NumPy keeps the same in all versions, unlike ``shuffle``.

    Parameters
    ----------
    dataset : Dataset
        The training set.
    n_validation : int
        Images to hold out, at least 1.
    seed : int
        The run's seed.

    Returns
    -------
    train, validation : Dataset
        Together the data set, without overlap, both in its order. The validation set has no augmentation.

    Raises
    ------
    DataError
        If nothing would be left to train on: n_validation below 1, N or more, or all images of a class.
    """
    counts = dataset.class_counts()
    n_validation = _whole("n_validation", n_validation)
    if not 1 <= n_validation < len(dataset):
        raise DataError(
            f"data set {dataset.name!r}: n_validation is {n_validation}; expected 1 to {len(dataset) - 1}, "
            "so that images are left to train on"
        )
    quotas = _largest_remainder(counts, n_validation)
    emptied = np.flatnonzero((counts > 0) & (quotas == counts))
    if emptied.size:
        name = dataset.classes[emptied[0]]
        raise DataError(
            f"data set {dataset.name!r}: n_validation of {n_validation} takes all "
            f"{counts[emptied[0]]} images of class {name!r}; expected a smaller n_validation"
        )
    held_out = _smallest_keys(dataset.labels, counts, quotas, seed, "data.split")
    kept = np.setdiff1d(np.arange(len(dataset)), held_out, assume_unique=True)
    return dataset.subset(kept), dataset.subset(held_out).with_augmentation(None)


def class_balanced_subset(dataset: Dataset, n: int, seed: int) -> Dataset:
    """Choose n images, the same number of every class.

    Where n is no multiple of the number of classes, the first classes give one image more. Chosen by keys as
    in :func:`stratified_split`, but with keys of its own.

    Parameters
    ----------
    dataset : Dataset
        Where to choose from.
    n : int
        Images to choose, at least 1.
    seed : int
        The run's seed.

    Returns
    -------
    Dataset
        The chosen images in the data set's order.

    Raises
    ------
    DataError
        If n is below 1 or a class has too few images.
    """
    counts = dataset.class_counts()
    n = _whole("n", n)
    if n < 1:
        raise DataError(f"data set {dataset.name!r}: n is {n}; expected at least 1 image")
    quotas = _largest_remainder(np.ones_like(counts), n)
    short = np.flatnonzero(quotas > counts)
    if short.size:
        first = short[0]
        raise DataError(
            f"data set {dataset.name!r}: a balanced subset of {n} needs {quotas[first]} images of class "
            f"{dataset.classes[first]!r}, which has {counts[first]}; expected a smaller n"
        )
    return dataset.subset(_smallest_keys(dataset.labels, counts, quotas, seed, "data.subset"))


def _whole(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DataError(f"{what} is {value!r}; expected an integer number of images")
    return int(value)


def _largest_remainder(weights: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Share ``total`` in proportion to ``weights``, in integers throughout."""
    # Python integers: 2**63 is within reach of a product only for absurd requests, but those reach here too.
    shares = [divmod(total * int(weight), int(weights.sum())) for weight in weights]
    quotas = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: (-shares[index][1], index))
    for index in by_remainder[: total - sum(quotas)]:
        quotas[index] += 1
    return np.array(quotas, dtype=np.int64)


def _smallest_keys(
    labels: NDArray[np.int64], counts: NDArray[np.int64], quotas: NDArray[np.int64], seed: int, purpose: str
) -> NDArray[np.int64]:
    """Return, ascending, the indices of the ``quotas[c]`` images of each class c with the smallest keys."""
    bits: Any = generator(seed, purpose).bit_generator
    keys = bits.random_raw(len(labels))
    by_class_then_key = np.lexsort((keys, labels))
    starts = np.cumsum(counts) - counts
    chosen = [by_class_then_key[start : start + quota] for start, quota in zip(starts, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))
