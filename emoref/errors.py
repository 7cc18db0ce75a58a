"""Every error that a user of emoref can meet.

The kernels' own errors are re-exported, so ``from emoref.errors import ...`` is all that a caller needs.
All derive from :class:`EmorefError`; the command line prints their text and ends with exit code 2.
"""

import difflib
from collections.abc import Iterable

from emoref_kernels.errors import BackendError, DtypeError, EmorefError, ShapeError

__all__ = [
    "BackendError",
    "ConfigError",
    "DataError",
    "DtypeError",
    "EmorefError",
    "FileFormatError",
    "MissingDependencyError",
    "NetworkError",
    "ProblemError",
    "RunFolderError",
    "ShapeError",
    "TrainingDivergedError",
    "WorkerError",
    "suggest",
]


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, or the list of all where none is near.

    Parameters
    ----------
    word
        What was asked for.
    known
        What there is.
    """
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(words)}"


class DataError(EmorefError):
    """A data file or data set that is missing, damaged or contradicts itself."""


class NetworkError(EmorefError):
    """A network description that cannot work; names the node."""


class ProblemError(EmorefError):
    """An optimisation problem, its bounds or its objective values that make no sense."""


class ConfigError(EmorefError):
    """An experiment's configuration with an unknown, missing or impossible entry; names the field."""


class FileFormatError(EmorefError):
    """A file of ours that is truncated, not what it should be, or of a newer format version."""


class RunFolderError(EmorefError):
    """A run folder that is missing, holds another run, or lacks what the command needs."""


class TrainingDivergedError(EmorefError):
    """The loss became NaN or infinite; names epoch, step and learning rate."""


class WorkerError(EmorefError):
    """Workers that cannot be started or reached, or none of which can do its work."""


class MissingDependencyError(EmorefError):
    """An optional package is needed and not installed; names the extra to install."""
