"""Trained networks that come with emoref, so that an experiment can begin where its figures did.

Each is a network file of :func:`emoref.nn.save` in the folder ``bundled``; its ``ORIGIN.md`` says how it was
trained. Wherever a setting takes the file of a trained network, ``bundled:NAME`` takes one of these.
"""

from pathlib import Path

from emoref.errors import NetworkError, suggest

__all__ = ["PREFIX", "trained_file", "trained_names"]

PREFIX = "bundled:"
"""What a setting begins with that names a network of emoref's own, and not a path."""

_FOLDER = Path(__file__).parent / "bundled"


def trained_names() -> list[str]:
    """Return the names of the trained networks that come with emoref."""
    return sorted(path.stem for path in _FOLDER.glob("*.h5"))


def trained_file(file: str) -> Path:
    """Return the file of a trained network that a setting asks for.

    Parameters
    ----------
    file : str
        A path, returned as it is, or ``"bundled:NAME"`` with one of :func:`trained_names`.

    Raises
    ------
    NetworkError
        If no network of that name comes with emoref; the nearest one is suggested.

    Examples
    --------
    >>> import emoref
    >>> emoref.networks.trained_file("bundled:resnet20-cifar10-jpeg").name
    'resnet20-cifar10-jpeg.h5'
    """
    if not file.startswith(PREFIX):
        return Path(file)
    name = file.removeprefix(PREFIX)
    if name not in trained_names():
        raise NetworkError(
            f"no trained network called {name!r} comes with emoref{suggest(name, trained_names())}"
        )
    return _FOLDER / f"{name}.h5"
