"""Image data: readers of the published formats, data sets in memory, image folders, splits and the catalogue.

Needs NumPy and the standard library alone; image folders need Pillow when one is opened. See the chapter
``docs/data.md``.
"""

from emoref.data.catalog import CatalogEntry, describe, load, locate, names
from emoref.data.cifar import read_cifar10, read_cifar100
from emoref.data.dataset import Augmentation, Dataset, channel_statistics
from emoref.data.folders import IMAGENET_MEAN, IMAGENET_STD, ImageFolder
from emoref.data.idx import read_idx, read_image_set, read_images, read_labels, write_idx
from emoref.data.splits import class_balanced_subset, stratified_split
from emoref.data.tasks import in_shape, select_classes

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "CatalogEntry",
    "Dataset",
    "ImageFolder",
    "channel_statistics",
    "class_balanced_subset",
    "describe",
    "in_shape",
    "load",
    "locate",
    "names",
    "read_cifar10",
    "read_cifar100",
    "read_idx",
    "read_image_set",
    "read_images",
    "read_labels",
    "select_classes",
    "stratified_split",
    "write_idx",
]
