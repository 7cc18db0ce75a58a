"""What is known of sparse networks of several applications: the figures that a report shows.

A sparse network is a folder, ``exports/<name>/``: each task's plain network (``<task>.h5``), the same
quantised and coded (``*.emz``), and its figures (``record.json``), which are written last.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emoref.errors import FileFormatError
from emoref.runs.folder import RunFolder, write_text_atomic
from emoref.runs.shared_record import TaskFigures

__all__ = [
    "SparseRecord",
    "read_sparse_record",
    "read_sparse_records",
    "record_file",
    "search_name",
    "write_sparse_record",
]

_MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class SparseRecord:
    """One sparse network of one application, or of several that share a trunk.

    Attributes
    ----------
    name : str
        Its name, ``<group>-<pick>``.
    group : str
        ``"joint"``, or ``"single-<task>"``.
    choice : str
        Why it is here, in words.
    kept_ratio : float or None
        The kept ratio that was asked for, in shares of the hidden weights of separate networks for all
        tasks; None where none was.
    kept, weights : dict of str to int
        For each hidden layer, kept weights and all.
    tasks : list of TaskFigures
        Costs and errors, task by task; ``original`` is the unpruned network, ``before`` and ``after`` refer
        to the fine-tuning. MACs and parameters are those of weights that are kept.
    stored_wrong : list of int
        Wrong predictions on the validation images of what the coded files hold, task by task.
    bits : int
        Bits of a coded weight.
    coders : dict of str to str
        What wrote each layer.
    file_bytes : int
        Length of the coded files.
    dense_bytes : int
        What the unpruned parameters take in 32 bits each, those of the trunk once.
    curves : dict of str to list of float
        Of the fine-tuning; see :func:`emoref.nn.fit_jointly`.
    test_stored_wrong : list of int
        As `stored_wrong`, on the test images; empty before they were used.
    """

    name: str
    group: str
    choice: str
    kept_ratio: float | None
    kept: dict[str, int]
    weights: dict[str, int]
    tasks: list[TaskFigures]
    stored_wrong: list[int]
    bits: int
    coders: dict[str, str]
    file_bytes: int
    dense_bytes: int
    curves: dict[str, list[float]] = field(default_factory=dict)
    test_stored_wrong: list[int] = field(default_factory=list)

    @property
    def kept_total(self) -> int:
        """Kept connections ||M||_0 of the hidden layers."""
        return sum(self.kept.values())

    @property
    def weights_total(self) -> int:
        """Connections |W| of the hidden layers."""
        return sum(self.weights.values())

    @property
    def remaining_ratio(self) -> float:
        """Kept / all connections."""
        return self.kept_total / self.weights_total

    @property
    def compression_rate(self) -> float:
        """All / kept connections, |W| / ||M||_0."""
        return self.weights_total / self.kept_total

    @property
    def tested(self) -> bool:
        """Whether it was measured on the test sets."""
        return bool(self.test_stored_wrong) and all(task.test_images for task in self.tasks)

    def mean_error(self, which: str, split: str = "validation") -> float | None:
        """Return the mean over the tasks of an error: "original", "before", "after" or "stored"."""
        if which == "stored":
            wrong = self.stored_wrong if split == "validation" else self.test_stored_wrong
            images = [t.validation_images if split == "validation" else t.test_images for t in self.tasks]
            errors = [n / total for n, total in zip(wrong, images, strict=False)]
        else:
            errors = [e for task in self.tasks if (e := task.error(which, split)) is not None]
        return sum(errors) / len(errors) if len(errors) == len(self.tasks) else None


def search_name(group: str, initialisation: str, main: str) -> str:
    """Return the name of a group's search; that with another than the `main` initialisation says so."""
    return group if initialisation == main else f"{group}--{initialisation}"


def record_file(folder: RunFolder, name: str) -> Path:
    """Return where the figures of a sparse network are."""
    return folder.exports / name / "record.json"


def write_sparse_record(folder: RunFolder, record: SparseRecord) -> None:
    """Write the figures of a sparse network, atomically."""
    write_text_atomic(record_file(folder, record.name), json.dumps(asdict(record), indent=1) + "\n")


def read_sparse_record(folder: RunFolder, name: str) -> SparseRecord:
    """Read the figures of a sparse network.

    Parameters
    ----------
    folder : RunFolder
        The run.
    name : str
        The network.

    Raises
    ------
    FileFormatError
        If the file is missing or damaged.
    """
    path = record_file(folder, name)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
        record = SparseRecord(**{**table, "tasks": [TaskFigures(**task) for task in table["tasks"]]})
        if len(record.stored_wrong) != len(record.tasks) or not record.weights_total or not record.kept_total:
            raise ValueError("its figures do not fit together")
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error})") from None
    return record


def read_sparse_records(folder: RunFolder) -> list[SparseRecord]:
    """Read the figures of all sparse networks of a run: joint ones first, then by group and size."""
    names = [path.parent.name for path in sorted(folder.exports.glob("*/record.json"))]
    records = [read_sparse_record(folder, name) for name in names]
    return sorted(records, key=lambda one: (one.group != "joint", one.group, -one.kept_total, one.name))
