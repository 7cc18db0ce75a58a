"""The run folder: one experiment's configuration, state, networks, tables, report and log.

::

    config.toml    complete, so that the experiment can be run again
    base.h5        the trained network that is compressed
    search.h5      every generation; replaced atomically, equal for equal seeds
    library.h5     the pruned models that a search chooses from, where a system has such
    searches/*.h5  every generation of each search, where a system has several
    cache/*.h5     counts of candidates that were evaluated; may be deleted at any time
    models/        each compressed network with its architecture: *.h5, or *.emz and its figures in *.json
    bases/*.h5     each task's trained network, where a system has several tasks
    shared/*.h5    networks of several tasks that share filters, with what they are compared with
    stages/*.h5    sub-networks trained by themselves and their detectors; joint.h5 joins them
    joint/*.json   what networks joined from pruned sub-networks were measured to be
    exports/       <shared or sparse network>/<task>.h5: one task's plain network; of sparse ones *.emz
                   and record.json too
    baselines/     <compressed network>/<method>.h5: what it is compared with, if asked for
    tables/*.csv   what the report shows, for other programs
    report.html    self-contained
    log.jsonl      one event a line, with the time; the only place where a clock is read
    .config.json   what config.toml said when the run began, to notice a change by hand
    .lock          held by the one process that writes

Whatever cannot be written (disk full, no permission, a folder where a file belongs) ends in one
RunFolderError with path and reason; a file is replaced in one step, so the last good one stays.
"""

import contextlib
import hashlib
import json
import os
import secrets
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emoref.errors import RunFolderError
from emoref.runs.config import read_table

try:
    import fcntl
except ImportError:  # not on Windows, where two writers are not detected
    fcntl = None  # type: ignore[assignment]

# Results do not depend on these.
FREE_FIELDS = (
    "description",
    "engine.threads",
    "engine.workers",
    "engine.dask",
    "engine.cache",
    "search.racing",
)


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
        self.library = path / "library.h5"
        self.searches = path / "searches"
        self.cache = path / "cache"
        self.models = path / "models"
        self.bases = path / "bases"
        self.shared = path / "shared"
        self.exports = path / "exports"
        self.stages = path / "stages"
        self.joint = path / "joint"
        self.baselines = path / "baselines"
        self.tables = path / "tables"
        self.report = path / "report.html"
        self.log_file = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"
        self.config_record = path / ".config.json"

    @classmethod
    def create(cls, path: str | Path, config_toml: str) -> "RunFolder":
        """Make a new run folder and store its configuration.

        Raises
        ------
        RunFolderError
            If the folder holds another run or other files, or cannot be written.
        """
        folder = cls(Path(path))
        with _reporting(folder.path):
            folder._check_new()
            if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
                raise RunFolderError(f"{folder.path} exists and is not an empty folder; choose another --out")
            folder.path.mkdir(parents=True, exist_ok=True)
        with folder.writing():
            folder._check_new()  # another process may have been faster
            # The record comes first: a folder with config.toml is a run, and complete.
            write_text_atomic(folder.config_record, _record_of(config_toml))
            write_text_atomic(folder.config, config_toml)
        return folder

    def _check_new(self) -> None:
        if self.config.exists():
            raise RunFolderError(
                f"{self.path} already holds a run; continue it with 'emoref resume {self.path}' "
                "or choose another --out"
            )

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open an existing run folder.

        Raises
        ------
        RunFolderError
            If it is not one.
        """
        folder = cls(Path(path))
        with _reporting(folder.path, "read"):
            if not folder.path.exists():
                raise RunFolderError(f"{folder.path}: no such folder; start a run with 'emoref run'")
            if not folder.path.is_dir():
                raise RunFolderError(f"{folder.path} is a file; a run folder is needed here")
            if not folder.config.exists():
                raise RunFolderError(f"{folder.path} is not a run folder: it has no config.toml")
            if not folder.config.is_file():
                raise RunFolderError(f"{folder.path} is not a run folder: its config.toml is not a file")
        return folder

    def check_config(self) -> None:
        """Check that ``config.toml`` still says what it said when the run began.

        The results already stored belong to the old settings, so a changed file would describe a run that
        never was. Comments and layout may change, and so may ``description``, the engine's threads, workers,
        Dask address and cache, and the search's racing; and ``[baselines]`` while none is stored, so that a
        finished run can be compared afterwards. Folders of versions that kept no record are not checked.

        Raises
        ------
        RunFolderError
            If a field was changed, added or removed (the first three are named, with both values), or the
            record is damaged.
        ConfigError
            If ``config.toml`` is no longer TOML.
        """
        record = self._config_record()
        if record is None:
            return
        found = read_table(self.config)
        with _reporting(self.config, "read"):
            if hashlib.sha256(self.config.read_bytes()).hexdigest() == record["sha256"]:
                return
        before, after = _flat(record["config"]), _flat(found)
        names = [n for n in dict.fromkeys([*before, *after]) if not self._may_change(n)]
        changed = [n for n in names if before.get(n, _ABSENT) != after.get(n, _ABSENT)]
        if changed:
            shown = [f"{n} (was {_brief(before, n)}, is {_brief(after, n)})" for n in changed[:3]]
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise RunFolderError(
                f"{self.config} was changed after the run began: {', '.join(shown)}{more}\n"
                f"put the old values back, or start a new run: emoref run {self.config} --out NEW_FOLDER"
            )

    def _may_change(self, field: str) -> bool:
        return field in FREE_FIELDS or (field.startswith("baselines.") and not self.baselines.exists())

    def _config_record(self) -> dict[str, Any] | None:
        try:
            if self.config_record.stat().st_size > 10_000_000:
                raise ValueError("too large")
            record = json.loads(self.config_record.read_text("utf-8"))
            if not isinstance(record["sha256"], str) or not isinstance(record["config"], dict):
                raise TypeError("wrong types")
            return record
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunFolderError(f"{self.config_record}: cannot be read ({_reason(error)})") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise RunFolderError(
                f"{self.config_record} is damaged; if config.toml is as it was when the run began, delete "
                f"{self.config_record.name} and try again"
            ) from None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for one writer.

        Raises
        ------
        RunFolderError
            If another process is writing to it, the folder cannot be written, or a file has the name of one
            of its sub-folders (which would come out only after hours of work).
        """
        with contextlib.ExitStack() as stack:
            with _reporting(self.path):
                lock = stack.enter_context(open(self.path / ".lock", "w"))
                if fcntl is not None:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        raise RunFolderError(f"{self.path}: another process is writing to this run") from None
                self._check_places()
            yield

    def _check_places(self) -> None:
        several = (self.searches, self.cache, self.bases, self.shared, self.exports, self.stages, self.joint)
        for place in (self.models, self.baselines, self.tables, self.checkpoints, *several):
            if place.exists() and not place.is_dir():
                raise RunFolderError(f"{place}: is a file; a folder is needed here")

    def discard_unused(self) -> bool:
        """Remove the folder if nothing was computed in it, and return whether it was.

        A run that is refused before its first result leaves nothing worth to go on with; a folder that stayed
        would stand in the way of the corrected command.

        Raises
        ------
        RunFolderError
            If it cannot be removed.
        """
        own = {self.config, self.config_record, self.path / ".lock", self.log_file}
        with _reporting(self.path):
            if not own.issuperset(self.path.iterdir()):
                return False
            for file in own:
                file.unlink(missing_ok=True)
            self.path.rmdir()
        return True

    def make_folder(self, path: Path) -> Path:
        """Make one of the run's sub-folders where it is not there yet, and return it.

        Raises
        ------
        RunFolderError
            If it cannot be made, or a file of that name is in the way.
        """
        with _reporting(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, event: str, **fields: Any) -> None:
        """Append one event to ``log.jsonl`` (time in seconds since 1970, UTC).

        Raises
        ------
        RunFolderError
            If the line cannot be written.
        """
        record = {"time_s": round(time.time(), 3), "event": event, **fields}
        line = (json.dumps(record) + "\n").encode("utf-8")
        with _reporting(self.log_file), open(self.log_file, "a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                # A line that a full disk or a crash cut short must not swallow this one.
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)

    def events(self) -> list[dict[str, Any]]:
        """Return the logged events; a last line cut short by a crash is left out."""
        with _reporting(self.log_file, "read"):
            if not self.log_file.exists():
                return []
            lines = self.log_file.read_text("utf-8", errors="replace").splitlines()
        events = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("event"), str):
                    events.append(event)
        return events

    def model_file(self, name: str) -> Path:
        """Return the path of a compressed network's file."""
        return self.models / f"{name}.h5"

    def search_file(self, name: str) -> Path:
        """Return the path of one of several searches."""
        return self.searches / f"{name}.h5"

    def counts_file(self, name: str) -> Path:
        """Return the path of the counts of candidates that were evaluated for one purpose."""
        return self.cache / f"{name}.h5"

    def network_file(self, name: str) -> Path:
        """Return the path of any network's file: ``base``, ``<compressed>``, or ``<compressed>/<method>``."""
        if name == "base":
            return self.base
        compressed, slash, method = name.partition("/")
        return self.baselines / compressed / f"{method}.h5" if slash else self.model_file(name)


def write_text_atomic(path: Path, text: str) -> None:
    """Replace a text file: write beside it, flush to disk, rename.

    Raises
    ------
    RunFolderError
        If it cannot be written; the file of before is kept.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with _reporting(path):
            with open(beside, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _reporting(path: Path, what: str = "written") -> Iterator[None]:
    """Turn what the system refuses into a RunFolderError."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeError):
            raise
        raise RunFolderError(f"{path}: cannot be {what} ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


_ABSENT = object()


def _record_of(config_toml: str) -> str:
    record = {
        "sha256": hashlib.sha256(config_toml.encode("utf-8")).hexdigest(),
        "config": tomllib.loads(config_toml),
    }
    return json.dumps(record, indent=1, default=str) + "\n"


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"search.generations": 200, ...}`` for nested tables."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _brief(values: Mapping[str, Any], name: str) -> str:
    text = repr(values[name]) if name in values else "absent"
    return text if len(text) <= 40 else text[:37] + "..."
