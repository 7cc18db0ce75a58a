"""The run folder: one experiment's configuration, state, networks, tables, report and log.

::

    config.toml    complete, so that the experiment can be run again
    base.h5        the trained network that is compressed
    search.h5      every generation; replaced atomically, equal for equal seeds
    models/*.h5    each compressed network with its architecture
    tables/*.csv   what the report shows, for other programs
    report.html    self-contained
    log.jsonl      one event a line, with the time; the only place where a clock is read
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emoref.errors import RunFolderError

try:
    import fcntl
except ImportError:  # not on Windows, where two writers are not detected
    fcntl = None  # type: ignore[assignment]


class RunFolder:
    """Paths and files of one run.

    Parameters
    ----------
    path : Path
        The folder; see :meth:`create` and :meth:`open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.base = path / "base.h5"
        self.search = path / "search.h5"
        self.models = path / "models"
        self.tables = path / "tables"
        self.report = path / "report.html"
        self.log_file = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, path: str | Path, config_toml: str) -> "RunFolder":
        """Make a new run folder and store its configuration.

        Raises
        ------
        RunFolderError
            If the folder holds another run or other files, or cannot be written.
        """
        folder = cls(Path(path))
        if folder.config.exists():
            raise RunFolderError(
                f"{folder.path} already holds a run; continue it with 'emoref resume {folder.path}' "
                "or choose another --out"
            )
        try:
            if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
                raise RunFolderError(f"{folder.path} exists and is not an empty folder; choose another --out")
            folder.path.mkdir(parents=True, exist_ok=True)
            write_text_atomic(folder.config, config_toml)
        except OSError as error:
            raise RunFolderError(f"{folder.path}: cannot be written ({error.strerror})") from None
        return folder

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open an existing run folder.

        Raises
        ------
        RunFolderError
            If it is not one.
        """
        folder = cls(Path(path))
        if not folder.path.is_dir():
            raise RunFolderError(f"{folder.path}: no such folder; start a run with 'emoref run'")
        if not folder.config.is_file():
            raise RunFolderError(f"{folder.path} is not a run folder: it has no config.toml")
        return folder

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for one writer.

        Raises
        ------
        RunFolderError
            If another process is writing to it.
        """
        with open(self.path / ".lock", "w") as lock:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise RunFolderError(f"{self.path}: another process is writing to this run") from None
            yield

    def log(self, event: str, **fields: Any) -> None:
        """Append one event to ``log.jsonl`` (time in seconds since 1970, UTC)."""
        record = {"time_s": round(time.time(), 3), "event": event, **fields}
        with open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """Return the logged events; a last line cut short by a crash is left out."""
        if not self.log_file.exists():
            return []
        events = []
        for line in self.log_file.read_text("utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        return events

    def model_file(self, name: str) -> Path:
        """Return the path of a compressed network's file."""
        return self.models / f"{name}.h5"


def write_text_atomic(path: Path, text: str) -> None:
    """Replace a text file: write beside it, flush to disk, rename."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
