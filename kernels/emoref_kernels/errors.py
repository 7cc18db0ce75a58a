"""Errors that a user of the kernels can meet.

Every error of the project derives from :class:`EmorefError`, so that one ``except`` at the edge of a
program (the command line's, for instance) catches what the user can mend and lets real bugs through.
"""


class EmorefError(Exception):
    """Base of every error that bad input can raise; its text says what, where and what would be right."""


class ShapeError(EmorefError, ValueError):
    """Arrays whose shapes do not fit together, or a size outside its range."""


class DtypeError(EmorefError, TypeError):
    """An array of a dtype that the back end does not compute with."""


class BackendError(EmorefError):
    """A back end that is unknown, or that this machine cannot run."""


class DeviceMemoryError(BackendError):
    """The memory of a device does not suffice."""
