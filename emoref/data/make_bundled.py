"""Build the embedded data set from the official Fashion-MNIST files.

Usage: ``python -m emoref.data.make_bundled SOURCE_FOLDER OUT``. The same source gives the same images in the
same order; with the same liblzma also the same bytes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emoref.data import classes
from emoref.data.dataset import Dataset
from emoref.data.idx import read_image_set, write_idx
from emoref.data.splits import class_balanced_subset
from emoref.errors import DataError, EmorefError

SEED = 0
IMAGES = {"train": 6000, "t10k": 1000}


def build(source: Path, out: Path) -> list[Path]:
    """Choose the embedded images and write them as four IDX files, compressed with xz.

    Parameters
    ----------
    source : Path
        A folder with the four official ``.gz`` files of Fashion-MNIST.
    out : Path
        Where to write; made where it is missing.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DataError
        If a source file is missing or damaged, or ``out`` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be made ({error.strerror})") from None
    written = []
    for prefix, n_images in IMAGES.items():
        image_name, label_name = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
        images, labels = read_image_set(source / f"{image_name}.gz", source / f"{label_name}.gz")
        whole = Dataset("fashion-mnist", images, labels, classes.FASHION_MNIST)
        chosen = class_balanced_subset(whole, n_images, SEED)
        for name, array in ((image_name, chosen.images[:, 0]), (label_name, chosen.labels.astype(np.uint8))):
            written.append(out / f"{name}.xz")
            write_idx(written[-1], array)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the builder from the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        SOURCE_FOLDER and OUT; by default those of the process.

    Returns
    -------
    int
        0, or 2 after a message on the standard error.
    """
    paths = sys.argv[1:] if arguments is None else list(arguments)
    if len(paths) != 2:
        sys.stderr.write("usage: python -m emoref.data.make_bundled SOURCE_FOLDER OUT\n")
        return 2
    try:
        for path in build(Path(paths[0]), Path(paths[1])):
            sys.stdout.write(f"{path.stat().st_size:>9} bytes  {path}\n")
    except EmorefError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
