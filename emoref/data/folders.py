"""Folders of image files, one sub-folder a class, decoded when a batch asks for them.

The layout of ImageNet and of many smaller collections::

    root/tench/n01440764_10026.JPEG
    root/goldfish/n01443537_10007.JPEG

Only the list of files is kept in memory; a batch of n images takes 12 n H W bytes, whatever the size of the
collection. Decoding needs Pillow (``pip install emoref[data]``), which is imported when a folder is opened.
"""

import math
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.data.dataset import checked_rows
from emoref.errors import DataError, MissingDependencyError

# Of the 1.28 million training images of ImageNet (ILSVRC 2012), as all published networks use them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
MAX_PIXELS = 100_000_000
_KINDS = ", ".join(FORMATS)
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_CROP_TRIALS = 10


class ImageFolder:
    """Labelled images in files, resized, cropped and normalised batch by batch.

    Takes the place of :class:`emoref.data.Dataset` in training and evaluation.

    Parameters
    ----------
    root : path
        Folder with one sub-folder for each class. Classes are numbered in the sorted order of their names,
        images in the sorted order of their paths. Hidden entries, and files beside the class folders, are
        passed over.
    size : int
        Height and width in pixels of the images given out.
    resize : int, optional
        Without augmentation: length in pixels to which the shorter side is brought (bilinear, with
        antialiasing) before the centre is cut out. By default ``size * 256 / 224``, rounded, which is the
        usual 256 for 224.
    mean, std : tuple of 3 floats
        Normalisation in units where white is 1: a pixel p becomes (p / 255 - mean) / std. Those of ImageNet
        by default.
    augment : bool
        Whether :meth:`batch` changes images at random when it is given a generator: a crop of 8 to 100 % of
        the area with an aspect ratio of 3/4 to 4/3, resized to ``size``, and mirrored with probability 1/2
        (Szegedy et al., "Going deeper with convolutions", 2015, section 6; the mirror is Krizhevsky's, 2012).
    skip_unreadable : bool
        Leave out files that are no readable images, and list them in ``skipped``, instead of refusing the
        folder.
    decode : bool
        Decode every image once on opening, which also finds files that are damaged behind their header. By
        default only headers are read, and such a file is reported by the batch that meets it.
    name : str, optional
        What the images are called in messages; the folder's name by default.

    Attributes
    ----------
    classes : tuple of str
        Names of the sub-folders, sorted.
    labels : int64 array of shape (N,)
        Classes 0 .. ``len(classes) - 1``; read-only.
    files : tuple of str
        Path of each image below ``root``.
    skipped : tuple of (str, str)
        Path and reason of each file left out.

    Raises
    ------
    DataError
        If the folder is missing or a file, has no class folders, a class has no image, or a file is no
        readable image (and ``skip_unreadable`` is not set).
    MissingDependencyError
        If Pillow is not installed.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int = 224,
        *,
        resize: int | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        augment: bool = True,
        skip_unreadable: bool = False,
        decode: bool = False,
        name: str | None = None,
    ) -> None:
        self._pil, self._unidentified = _pillow()
        self.root = Path(root)
        self.name = name or self.root.name or str(self.root)
        self.size = _pixels("size", size, 1)
        self.resize = _pixels("resize", resize, size) if resize is not None else round(size * 256 / 224)
        self.mean, self.std = _constants("mean", mean), _constants("std", std)
        if min(self.std) <= 0:
            raise DataError(f"{self.root}: std is {self.std}; expected numbers above 0")
        self.augment = augment
        self.classes = _class_folders(self.root)
        files, labels, skipped = self._scan(skip_unreadable, decode)
        self.files, self.skipped = tuple(files), tuple(skipped)
        self.labels = np.array(labels, dtype=np.int64)
        self.labels.flags.writeable = False

    def _scan(
        self, skip_unreadable: bool, decode: bool
    ) -> tuple[list[str], list[int], list[tuple[str, str]]]:
        files: list[str] = []
        labels: list[int] = []
        skipped: list[tuple[str, str]] = []
        for label, folder in enumerate(self.classes):
            for entry in _entries(self.root / folder):
                path = f"{folder}/{entry}"
                reason = self._unreadable(self.root / path, decode)
                if not reason:
                    files.append(path)
                    labels.append(label)
                elif skip_unreadable:
                    skipped.append((path, reason))
                else:
                    raise DataError(
                        f"{self.root / path}: {reason}; remove it, or pass over such files with "
                        "skip_unreadable=True"
                    )
            if not labels or labels[-1] != label:
                found = f"{len(skipped)} unreadable files" if skipped else "no file"
                raise DataError(f"{self.root / folder}: class folder without images ({found})")
        return files, labels, skipped

    def _unreadable(self, path: Path, decode: bool) -> str:
        """Say why a file cannot be used, from its header alone if ``decode`` is not set."""
        if not path.is_file():
            return "is a folder, a device or a dangling link; expected an image file"
        try:
            with self._open(path) as image:
                if decode:
                    image.load()
        except DataError as error:
            return str(error).removeprefix(f"{path}: ")
        except Exception as error:  # Pillow keeps no list of what damaged pixels raise
            return f"damaged image ({_reason(error)})"
        return ""

    def _open(self, path: Path) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's on large images; the limit below is lower
                image = self._pil.open(path, formats=FORMATS)
        except self._unidentified:
            what = "empty file" if path.stat().st_size == 0 else f"no image of a known kind ({_KINDS})"
            raise DataError(f"{path}: {what}") from None
        except Exception as error:  # Pillow keeps no list of what damaged headers raise
            raise DataError(f"{path}: not a readable image ({_reason(error)})") from None
        width, height = image.size
        problem = ""
        if width < 1 or height < 1 or width * height > MAX_PIXELS:
            problem = f"{width:,} x {height:,} pixels; expected 1 to {MAX_PIXELS:,} pixels"
        elif image.mode not in _MODES:
            problem = f"pixels of mode {image.mode}; expected 8 bits a channel"
        if problem:
            image.close()
            raise DataError(f"{path}: {problem}")
        return image

    def __repr__(self) -> str:
        return (
            f"<ImageFolder {self.name!r}: {len(self)} images of 3 x {self.size} x {self.size}, "
            f"{len(self.classes)} classes>"
        )

    def __len__(self) -> int:
        return len(self.files)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images given out."""
        return 3, self.size, self.size

    def class_counts(self) -> NDArray[np.int64]:
        """Count the images of each class: int64 array of shape (number of classes,)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64, copy=False)

    def batch(
        self, indices: ArrayLike, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Decode the images that a training or evaluation step works on.

        Parameters
        ----------
        indices : integers of shape (n,)
            Which images; repeats are allowed.
        rng : numpy.random.Generator, optional
            Source of the augmentation: 23 uniform numbers an image, drawn at once, whatever the images are.
            Without it, or with ``augment=False``, the centre is cut out and nothing is drawn.

        Returns
        -------
        images : float32 array of shape (n, 3, size, size)
            Normalised images.
        labels : int64 array of shape (n,)
            Their classes.

        Raises
        ------
        DataError
            If an index is not an integer in 0 .. N - 1, or a file can no longer be decoded (it is named).
        """
        rows = self._rows(indices)
        draws = rng.random((len(rows), 2 * _CROP_TRIALS + 3)) if rng is not None and self.augment else None
        pixels = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        for i, row in enumerate(rows):
            pixels[i] = self._pixels_of(self.root / self.files[row], None if draws is None else draws[i])
        return self.normalise(pixels.transpose(0, 3, 1, 2)), self.labels[rows]

    def _pixels_of(self, path: Path, draws: NDArray[np.float64] | None) -> NDArray[np.uint8]:
        """Return the pixels (size, size, 3) of one file, cut out of the centre or at random."""
        try:
            with self._open(path) as image, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on odd metadata, which is not used
                # A palette's transparent colour is a colour like the others only after this detour.
                palette = image.mode in ("P", "PA") and "transparency" in image.info
                plain = (image.convert("RGBA") if palette else image).convert("RGB")
        except DataError:
            raise
        except Exception as error:  # Pillow keeps no list of what damaged pixels raise
            raise DataError(f"{path}: damaged image ({_reason(error)})") from None
        bilinear = self._pil.Resampling.BILINEAR
        if draws is None:
            height, width = resized_shape(plain.height, plain.width, self.resize)
            top, left = round((height - self.size) / 2), round((width - self.size) / 2)
            resized = plain.resize((width, height), bilinear)
            return np.asarray(resized.crop((left, top, left + self.size, top + self.size)))
        top, left, height, width = random_window(plain.height, plain.width, draws[:-1])
        window = plain.resize((self.size, self.size), bilinear, box=(left, top, left + width, top + height))
        pixels = np.asarray(window)
        return pixels[:, ::-1] if draws[-1] < 0.5 else pixels

    def normalise(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map pixels p of images (n, 3, H, W) to (p / 255 - mean) / std, as p * scale + shift."""
        std = np.array(self.std)
        scale, shift = 1 / (255 * std), -np.array(self.mean) / std
        normalised = np.empty(images.shape, np.float32)
        np.multiply(images, scale.astype(np.float32)[:, None, None], out=normalised)
        normalised += shift.astype(np.float32)[:, None, None]
        return normalised

    def subset(self, indices: ArrayLike) -> "ImageFolder":
        """Give the named images, in the order named, as a collection of their own.

        Parameters
        ----------
        indices : integers of shape (n,)
            Which images, at least one.

        Returns
        -------
        ImageFolder
            The same root, classes and settings; the files are not looked at again.

        Raises
        ------
        DataError
            If there is no index, or one is not an integer in 0 .. N - 1.
        """
        rows = self._rows(indices)
        if len(rows) == 0:
            raise DataError(f"data set {self.name!r}: a subset needs at least one image")
        chosen = self._like(self.augment)
        chosen.files = tuple(self.files[row] for row in rows)
        chosen.labels = self.labels[rows]
        chosen.labels.flags.writeable = False
        return chosen

    def with_augmentation(self, augment: bool | None) -> "ImageFolder":
        """Give the same images with random changes in training, or (``False`` or ``None``) without."""
        return self._like(bool(augment))

    def _like(self, augment: bool) -> "ImageFolder":
        copy = object.__new__(ImageFolder)
        copy.__dict__.update(self.__dict__, augment=augment)
        return copy

    def _rows(self, indices: ArrayLike) -> NDArray[np.intp]:
        return checked_rows(indices, len(self), self.name)


def resized_shape(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Bring the shorter side to a length and keep the aspect ratio.

    Parameters
    ----------
    height, width : int
        Of an image, in pixels.
    shorter : int
        Wanted length of the shorter side.

    Returns
    -------
    height, width : int
        The longer side is rounded down, as torchvision does.
    """
    if width <= height:
        return shorter * height // width, shorter
    return shorter, shorter * width // height


def random_window(height: int, width: int, draws: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Choose the part of an image that a random resized crop keeps.

    Ten trials: an area uniform in 8 to 100 % of the image and an aspect ratio log-uniform in 3/4 to 4/3; the
    first window that fits is put at a uniform place. If none fits, the largest window in the centre with an
    aspect ratio within the bounds.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    draws : float64 array of shape (22,)
        Uniform in [0, 1): ten areas, ten ratios, top, left.

    Returns
    -------
    top, left, height, width : int
        The window.
    """
    low, high = math.log(3 / 4), math.log(4 / 3)
    areas = (0.08 + 0.92 * draws[:_CROP_TRIALS]) * (height * width)
    ratios = np.exp(low + (high - low) * draws[_CROP_TRIALS : 2 * _CROP_TRIALS])
    for area, ratio in zip(areas, ratios, strict=True):
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = draws[-2:] * (height - h + 1, width - w + 1)
            return int(top), int(left), h, w
    h = min(height, max(1, round(width * 4 / 3)))
    w = min(width, max(1, round(height * 4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w


def _pillow() -> tuple[ModuleType, type[Exception]]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError(
            "image folders need Pillow, which is not installed; install it with: pip install 'emoref[data]'"
        ) from None
    return Image, UnidentifiedImageError


def _class_folders(root: Path) -> tuple[str, ...]:
    if not root.exists():
        raise DataError(f"{root}: no such folder")
    if not root.is_dir():
        raise DataError(f"{root}: is a file; expected a folder with one sub-folder for each class")
    folders = tuple(entry for entry in _entries(root) if (root / entry).is_dir())
    if not folders:
        raise DataError(f"{root}: no class folders; expected one sub-folder of images for each class")
    return folders


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or (
        str(error).splitlines() or [type(error).__name__]
    )[0][:100]


def _pixels(what: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise DataError(f"{what} is {value!r}; expected a whole number of pixels, at least {least}")
    return int(value)


def _constants(what: str, values: Any) -> tuple[float, ...]:
    array = np.asarray(values, np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise DataError(f"{what} is {values!r}; expected three finite numbers, one a channel")
    return tuple(float(value) for value in array)
