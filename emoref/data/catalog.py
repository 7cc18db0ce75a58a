"""The data sets that emoref knows by name, and where they are looked for.

Searched in this order: the folders in the environment variable ``EMOREF_DATA`` (one or more, separated like
those in ``PATH``), then ``emoref/data`` in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``). Each holds
sub-folders with the official files. Nothing is downloaded here; :mod:`emoref.download` puts files into the
cache.
"""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from emoref.data import cifar, classes
from emoref.data.dataset import Dataset
from emoref.data.idx import read_image_set
from emoref.errors import DataError

PARTS = ("train", "test")

_BUNDLED = Path(__file__).parent / "bundled"
_IDX_PREFIX = {"train": "train", "test": "t10k"}
_IDX_KINDS = ("images-idx3", "labels-idx1")


@dataclass(frozen=True)
class CatalogEntry:
    """What the catalogue says about a data set on this machine.

    Attributes
    ----------
    name : str
        What :func:`load` calls it.
    train_images, test_images : int
        Number of images as published.
    image_shape : tuple of int
        (C, H, W).
    classes : int
        Number of classes.
    found : Path or None
        The folder with its files, or None.
    how_to_get : str
        Which files to put where.
    """

    name: str
    train_images: int
    test_images: int
    image_shape: tuple[int, int, int]
    classes: int
    found: Path | None
    how_to_get: str


@dataclass(frozen=True)
class _Source:
    """How a data set is published; mean and std are those of its training set (white is 1)."""

    folder: str
    layout: str
    train_images: int
    test_images: int
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


_GREY, _COLOUR = (1, 28, 28), (3, 32, 32)
_SOURCES = {
    "mnist": _Source("mnist", "idx", 60000, 10000, _GREY, classes.MNIST, (0.1307,), (0.3081,)),
    "fashion-mnist": _Source(
        "fashion-mnist", "idx", 60000, 10000, _GREY, classes.FASHION_MNIST, (0.2860,), (0.3530,)
    ),
    "fashion-mnist-small": _Source(
        "fashion-mnist-small", "bundled", 6000, 1000, _GREY, classes.FASHION_MNIST, (0.2860,), (0.3530,)
    ),
    "cifar10": _Source(
        "cifar-10-batches-bin", "cifar10", 50000, 10000, _COLOUR, classes.CIFAR10,
        (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
    ),
    "cifar100": _Source(
        "cifar-100-binary", "cifar100", 50000, 10000, _COLOUR, classes.CIFAR100,
        (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762),
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Give the names that :func:`load` knows.

    Returns
    -------
    tuple of str
        In the order of :func:`describe`.
    """
    return tuple(_SOURCES)


def load(name: str, part: str = "train") -> Dataset:
    """Load a data set of the catalogue.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist", "fashion-mnist-small", "cifar10", "cifar100"}
        ``fashion-mnist-small`` (6,000 + 1,000 images) comes with emoref and is always there. CIFAR-100 has
        its 100 fine classes.
    part : {"train", "test"}
        Training or test images, in the order of the files.

    Returns
    -------
    Dataset
        With the normalisation constants of the published training set, without augmentation.

    Raises
    ------
    DataError
        If the name or part is unknown (the nearest name is suggested), the files are not found (with the
        folders searched and the files needed), or a file is damaged.
    """
    source = _source(name)
    if part not in PARTS:
        raise DataError(f"data set {name!r} has no part {part!r}; expected 'train' or 'test'")
    folder = locate(name)
    if folder is None:
        raise DataError(_not_found(name, source))
    if source.layout == "cifar10":
        images, labels = cifar.read_cifar10(folder, part)
    elif source.layout == "cifar100":
        images, labels, _ = cifar.read_cifar100(folder, part)
    else:
        image_file, label_file = (_idx_file(folder, part, kind) for kind in _IDX_KINDS)
        assert image_file is not None
        assert label_file is not None
        images, labels = read_image_set(image_file, label_file, len(source.classes))
        if images.shape[1:] != source.image_shape:
            height, width = images.shape[2:]
            raise DataError(
                f"{image_file}: byte 8: found images of {height} x {width} pixels; those of {name} have "
                f"{source.image_shape[1]} x {source.image_shape[2]}"
            )
    return Dataset(name, images, labels, source.classes, source.mean, source.std)


def locate(name: str) -> Path | None:
    """Find the folder of a data set.

    Parameters
    ----------
    name : str
        A name of the catalogue.

    Returns
    -------
    Path or None
        The first folder searched that has all files of the data set, or None.

    Raises
    ------
    DataError
        If the name is unknown.
    """
    source = _source(name)
    folders = (root / source.folder for root in _roots(source))
    return next((folder for folder in folders if not _missing_files(source, folder)), None)


def describe() -> list[CatalogEntry]:
    """List the data sets: sizes, where each was found on this machine, how to get it.

    Returns
    -------
    list of CatalogEntry
        One for each name, in the order of :func:`names`.
    """
    return [
        CatalogEntry(
            name,
            source.train_images,
            source.test_images,
            source.image_shape,
            len(source.classes),
            locate(name),
            _how_to_get(name, source),
        )
        for name, source in _SOURCES.items()
    ]


def _source(name: str) -> _Source:
    if name in _SOURCES:
        return _SOURCES[name]
    near = difflib.get_close_matches(str(name).lower().replace("_", "-"), _SOURCES, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    raise DataError(f"unknown data set {name!r}{hint} Known are: {', '.join(_SOURCES)}")


def _roots(source: _Source) -> list[Path]:
    if source.layout == "bundled":
        return [_BUNDLED]
    listed = os.environ.get("EMOREF_DATA", "").split(os.pathsep)
    roots = [Path(entry).expanduser() for entry in listed if entry.strip()]
    return [*roots, cache_folder()]


def cache_folder() -> Path:
    """Give the folder in the user's cache that is searched last, whether it is there or not.

    Returns
    -------
    Path
        ``emoref/data`` in ``$XDG_CACHE_HOME``, or in ``~/.cache`` where that is not set.
    """
    # The XDG base directory specification: a relative path in the variable is to be ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        cache = Path(os.path.expanduser("~/.cache"))
    return cache / "emoref" / "data"


def folder_name(name: str) -> str:
    """Give the sub-folder in which the files of a data set are looked for.

    Parameters
    ----------
    name : str
        A name of the catalogue.

    Returns
    -------
    str
        For example ``"cifar-10-batches-bin"``.

    Raises
    ------
    DataError
        If the name is unknown.
    """
    return _source(name).folder


def _idx_file(folder: Path, part: str, kind: str) -> Path | None:
    """Find one of the four IDX files under any spelling: dash or dot, plain or compressed."""
    stem, numbers = f"{_IDX_PREFIX[part]}-{kind.split('-')[0]}", kind.split("-")[1]
    for suffix in ("", ".gz", ".xz"):
        for joint in "-.":
            candidate = folder / f"{stem}{joint}{numbers}-ubyte{suffix}"
            if candidate.is_file():
                return candidate
    return None


def _missing_files(source: _Source, folder: Path) -> list[str]:
    if source.layout in ("idx", "bundled"):
        wanted = [(part, kind) for part in PARTS for kind in _IDX_KINDS]
        return [f"{_IDX_PREFIX[p]}-{k}-ubyte" for p, k in wanted if _idx_file(folder, p, k) is None]
    return [name for name in _cifar_files(source) if not (folder / name).is_file()]


def _cifar_files(source: _Source) -> list[str]:
    files = cifar.CIFAR10_FILES if source.layout == "cifar10" else cifar.CIFAR100_FILES
    return [name for part in PARTS for name in files[part]]


def _how_to_get(name: str, source: _Source) -> str:
    if source.layout == "bundled":
        return "comes with emoref"
    if source.layout == "idx":
        kinds = " and ".join(f"{{train,t10k}}-{kind}-ubyte" for kind in _IDX_KINDS)
        files = f"the official files {kinds} (plain or .gz)"
    elif source.layout == "cifar10":
        files = "the official binary files data_batch_1.bin .. data_batch_5.bin and test_batch.bin"
    else:
        files = "the official binary files train.bin and test.bin"
    put = f"put {files} into a folder {source.folder}/ and name the folder above it in EMOREF_DATA"
    return f"run 'emoref data get {name}', or {put}"


def _not_found(name: str, source: _Source) -> str:
    searched = []
    for root in _roots(source):
        folder = root / source.folder
        missing = _missing_files(source, folder)
        state = f" (lacks {', '.join(missing)})" if folder.is_dir() else " (no such folder)"
        searched.append(f"{folder}{state}")
    return f"data set {name!r} not found; searched {', '.join(searched)}\n{_how_to_get(name, source)}"
