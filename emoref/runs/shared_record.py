"""What is known of networks that share filters: the figures stored in their files, as a report shows them."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emoref.compress import load_shared_extra
from emoref.errors import FileFormatError
from emoref.runs.folder import RunFolder

__all__ = ["SharedRecord", "TaskFigures", "read_shared_record", "read_shared_records", "shared_file"]


@dataclass(frozen=True)
class TaskFigures:
    """One task's network: what it costs and how often it is wrong.

    Attributes
    ----------
    task : str
        Name of the task.
    macs, params : int
        Of the slim network that is exported for it.
    macs_original, params_original : int
        Of the unpruned network.
    validation_images : int
        Number of held-out images.
    wrong_original, wrong_before, wrong_after : int
        Of them wrong: by the unpruned network, and by the pruned one before and after the joint training.
    test_images : int
        Number of test images; 0 before they were used.
    test_wrong_original, test_wrong_after : int
        Of them wrong.
    """

    task: str
    macs: int
    params: int
    macs_original: int
    params_original: int
    validation_images: int
    wrong_original: int
    wrong_before: int
    wrong_after: int
    test_images: int = 0
    test_wrong_original: int = 0
    test_wrong_after: int = 0

    def error(self, which: str, split: str = "validation") -> float | None:
        """Return an error in [0, 1]: "original", "before" or "after"; None where it is not known."""
        if split == "validation":
            return getattr(self, f"wrong_{which}") / self.validation_images
        if not self.test_images or which == "before":
            return None
        return getattr(self, f"test_wrong_{which}") / self.test_images


@dataclass(frozen=True)
class SharedRecord:
    """Networks of several tasks under one index matrix, or a baseline of such.

    Attributes
    ----------
    name : str
        Of a baseline: ``<selected>--<method>``.
    role : str
        "selected" or "baseline".
    variant : str
        How the networks were made to share, or the method of a baseline.
    choice : str
        In words.
    rate : float or None
        The pre-specified pruning rate; None for an adaptive one.
    stored : dict of str to int
        Stored parameters by kind: shared, private, heads, norms.
    stored_original : int
        Parameters of the tasks' unpruned networks together.
    slots : dict of str to int
        Slots of each layer.
    kept : dict of str to list of int
        For each layer the number of slots that each task keeps.
    shared : dict of str to int
        For each layer the number of shared slots.
    sharing_ratio : float
        Kept slots that are shared / kept slots.
    tasks : list of TaskFigures
        One for each task.
    curves : dict of str to list of float
        Of the joint training.
    size_bytes : int
        Length of the file, filled in when it is read.
    """

    name: str
    role: str
    variant: str
    choice: str
    rate: float | None
    stored: dict[str, int]
    stored_original: int
    slots: dict[str, int]
    kept: dict[str, list[int]]
    shared: dict[str, int]
    sharing_ratio: float
    tasks: list[TaskFigures]
    curves: dict[str, list[float]] = field(default_factory=dict)
    size_bytes: int = 0

    @property
    def stored_total(self) -> int:
        """Stored parameters of all kinds."""
        return sum(self.stored.values())

    @property
    def stored_ratio(self) -> float:
        """Stored parameters / parameters of the unpruned networks together."""
        return self.stored_total / self.stored_original

    @property
    def selected(self) -> str:
        """The network that a baseline belongs to; its own name otherwise."""
        return self.name.partition("--")[0]

    def mean_error(self, which: str, split: str = "validation") -> float | None:
        """Return the mean over the tasks of :meth:`TaskFigures.error`."""
        errors = [task.error(which, split) for task in self.tasks]
        known = [error for error in errors if error is not None]
        return sum(known) / len(known) if len(known) == len(errors) else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "SharedRecord":
        """Return the record that :meth:`to_dict` described."""
        return cls(**{**table, "tasks": [TaskFigures(**task) for task in table["tasks"]]})


def shared_file(folder: RunFolder, name: str) -> Path:
    """Return the path of a stored shared network."""
    return folder.shared / f"{name}.h5"


def read_shared_record(folder: RunFolder, name: str) -> SharedRecord:
    """Read the figures stored inside a shared network's file.

    Parameters
    ----------
    folder : RunFolder
        The run.
    name : str
        The network.

    Raises
    ------
    FileFormatError
        If the file is damaged or holds no such figures.
    """
    path = shared_file(folder, name)
    try:
        record = SharedRecord.from_dict(load_shared_extra(path)["record"])
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path}: damaged record ({error})") from None
    return SharedRecord.from_dict({**record.to_dict(), "size_bytes": path.stat().st_size})


def read_shared_records(folder: RunFolder) -> list[SharedRecord]:
    """Read the figures of all shared networks of a run, sorted by name; each is followed by its baselines."""
    names = sorted(path.stem for path in folder.shared.glob("*.h5")) if folder.shared.is_dir() else []
    return [read_shared_record(folder, name) for name in names]
