"""The tables of a joint sparse run: networks, tasks, layers, fronts, and joint against separate networks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoref import emo
from emoref.report.tables import Cell, Table
from emoref.runs.record import RunRecord
from emoref.runs.sparse_record import SparseRecord, read_sparse_records
from emoref.runs.store import Generation, SearchStore, front_rows

__all__ = [
    "Duel",
    "all_tables",
    "duels",
    "duels_table",
    "front_table",
    "generations_table",
    "hypervolumes",
    "layers_table",
    "networks",
    "networks_table",
    "searches",
    "tasks_table",
]

_ERRORS = (
    ("validation", "original"),
    ("validation", "before"),
    ("validation", "after"),
    ("validation", "stored"),
    ("test", "original"),
    ("test", "after"),
    ("test", "stored"),
)


def networks(record: RunRecord) -> list[SparseRecord]:
    """Return the sparse networks: joint ones first, in each group most connections first."""
    return read_sparse_records(record.folder)


def searches(record: RunRecord) -> list[tuple[str, SearchStore]]:
    """Return the searches by name, those of all tasks together first."""
    return sorted(record.searches.items(), key=lambda item: (not item[0].startswith("joint"), item[0]))


@dataclass(frozen=True)
class Duel:
    """The joint network and separate ones of the same kept ratio.

    Attributes
    ----------
    kept_ratio : float
        Kept connections as a share of the hidden weights of separate networks for all tasks.
    joint : SparseRecord
        The joint network.
    separate : tuple of SparseRecord
        One network for each task, in the order of the joint network's tasks.
    """

    kept_ratio: float
    joint: SparseRecord
    separate: tuple[SparseRecord, ...]

    @property
    def kept_separate(self) -> int:
        """Connections of the separate networks together."""
        return sum(one.kept_total for one in self.separate)

    def errors(self, split: str = "test") -> tuple[list[float], list[float]]:
        """Return the errors of joint and separate networks after fine-tuning, task by task.

        Parameters
        ----------
        split : str
            "test" or "validation".
        """
        joint = [task.error("after", split) for task in self.joint.tasks]
        separate = [one.tasks[0].error("after", split) for one in self.separate]
        return [e for e in joint if e is not None], [e for e in separate if e is not None]


def duels(found: Sequence[SparseRecord]) -> list[Duel]:
    """Return the kept ratios at which a joint network and all separate ones are there, smallest first."""
    by_place = {(one.group, one.kept_ratio): one for one in found if one.kept_ratio is not None}
    pairs = []
    for (group, ratio), joint in sorted(by_place.items(), key=lambda item: item[0][1] or 0.0):
        rivals = [by_place.get((f"single-{task.task}", ratio)) for task in joint.tasks]
        separate = tuple(one for one in rivals if one is not None)
        if group == "joint" and len(joint.tasks) > 1 and len(separate) == len(joint.tasks):
            pairs.append(Duel(ratio or 0.0, joint, separate))
    return pairs


def hypervolumes(store: SearchStore) -> list[float]:
    """Return the hypervolume of every generation's front with respect to (1, ..., 1).

    Errors and kept connections are shares, so it is the share of the unit cube that the front dominates.

    Parameters
    ----------
    store : SearchStore
        A search.
    """
    return [_hypervolume(generation) for generation in store.generations]


def _hypervolume(generation: Generation) -> float:
    front = generation.objectives[front_rows(generation)]
    return emo.hypervolume(front, np.ones(front.shape[1])) if len(front) else 0.0


# ------------------------------------------------------------------------------------------------ tables


def networks_table(record: RunRecord) -> Table:
    """Return one row a network: connections, bytes, and mean errors over its tasks."""
    columns = (
        "name",
        "group",
        "choice",
        "kept_ratio",
        "kept",
        "weights",
        "remaining_ratio",
        "compression_rate",
        "bits",
        "file_bytes",
        "dense_bytes",
        *(f"mean_{split}_error_{which}" for split, which in _ERRORS),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            one.name,
            one.group,
            one.choice,
            one.kept_ratio,
            one.kept_total,
            one.weights_total,
            one.remaining_ratio,
            one.compression_rate,
            one.bits,
            one.file_bytes,
            one.dense_bytes,
            *(one.mean_error(which, split) for split, which in _ERRORS),
        )
        for one in networks(record)
    ]
    return Table("sparse_networks", columns, tuple(rows))


def tasks_table(record: RunRecord) -> Table:
    """Return one row for each network and task: cost of what is kept, wrong predictions."""
    columns = (
        "name",
        "task",
        "macs",
        "params",
        "macs_original",
        "params_original",
        "validation_images",
        "validation_wrong_original",
        "validation_wrong_before",
        "validation_wrong_after",
        "validation_wrong_stored",
        "test_images",
        "test_wrong_original",
        "test_wrong_after",
        "test_wrong_stored",
    )
    rows: list[tuple[Cell, ...]] = []
    for one in networks(record):
        for t, task in enumerate(one.tasks):
            rows.append(
                (
                    one.name,
                    task.task,
                    task.macs,
                    task.params,
                    task.macs_original,
                    task.params_original,
                    task.validation_images,
                    task.wrong_original,
                    task.wrong_before,
                    task.wrong_after,
                    one.stored_wrong[t],
                    task.test_images if one.tested else None,
                    task.test_wrong_original if one.tested else None,
                    task.test_wrong_after if one.tested else None,
                    one.test_stored_wrong[t] if one.tested else None,
                )
            )
    return Table("sparse_tasks", columns, tuple(rows))


def layers_table(record: RunRecord) -> Table:
    """Return one row for each network and hidden layer: weights, those kept, and what wrote them."""
    rows: list[tuple[Cell, ...]] = [
        (one.name, layer, one.weights[layer], kept, one.coders.get(layer))
        for one in networks(record)
        for layer, kept in one.kept.items()
    ]
    return Table("sparse_layers", ("name", "layer", "weights", "kept", "coder"), tuple(rows))


def duels_table(record: RunRecord) -> Table:
    """Return one row a kept ratio and split: the joint network against separate ones, mean errors."""
    columns = ("kept_ratio", "split", "joint_kept", "separate_kept", "joint_error", "separate_error")
    rows: list[tuple[Cell, ...]] = []
    for duel in duels(networks(record)):
        for split in ("validation", "test"):
            joint, separate = duel.errors(split)
            if joint and len(joint) == len(separate):
                means = (sum(joint) / len(joint), sum(separate) / len(separate))
                rows.append((duel.kept_ratio, split, duel.joint.kept_total, duel.kept_separate, *means))
    return Table("joint_separate", columns, tuple(rows))


def generations_table(record: RunRecord) -> Table:
    """Return one row for each search and generation: evaluations, size and hypervolume of the front."""
    rows: list[tuple[Cell, ...]] = [
        (name, number, generation.evaluations, len(front_rows(generation)), volume)
        for name, store in searches(record)
        for number, (generation, volume) in enumerate(
            zip(store.generations, hypervolumes(store), strict=True)
        )
    ]
    return Table("generations", ("search", "generation", "evaluations", "front", "hypervolume"), tuple(rows))


def front_table(record: RunRecord) -> Table:
    """Return one row for each member of each search's last front: connections by layer, objectives."""
    found = searches(record)
    layers = [str(name) for name, _ in found[0][1].layout["layers"]] if found else []
    rows: list[tuple[Cell, ...]] = []
    for name, store in found:
        last = store.generations[-1]
        for row in front_rows(last):
            kept = [int(n) for n in last.genomes[row]]
            errors = " ".join(f"{value:.6g}" for value in last.objectives[row, :-1])
            rows.append((name, sum(kept), float(last.objectives[row, -1]), errors, *kept))
    columns = ("search", "kept", "remaining_ratio", "errors", *(f"kept_{layer}" for layer in layers))
    return Table("front", columns, tuple(rows))


def all_tables(record: RunRecord) -> list[Table]:
    """Return all of them."""
    return [
        networks_table(record),
        tasks_table(record),
        layers_table(record),
        duels_table(record),
        generations_table(record),
        front_table(record),
    ]
