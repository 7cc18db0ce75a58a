"""Warnings of the engine, such as batches that were halved, into the log of the run that they belong to."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from emoref.runs.folder import RunFolder

__all__ = ["messages_to"]


class _FolderLog(logging.Handler):
    """Writes what the engine warns of into a run's ``log.jsonl``."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(logging.WARNING)
        self._folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        self._folder.log("warning", message=record.getMessage(), source=record.name)


@contextmanager
def messages_to(folder: RunFolder) -> Iterator[None]:
    """While the context lasts, write warnings of ``emoref`` and its kernels to the run's log.

    Parameters
    ----------
    folder : RunFolder
        The run's folder.
    """
    handler, loggers = _FolderLog(folder), [logging.getLogger(name) for name in ("emoref", "emoref_kernels")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
