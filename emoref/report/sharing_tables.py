"""The tables of a run with several tasks: stored parameters, errors by task, slots by layer."""

from emoref.report.tables import Cell, Table
from emoref.runs.record import RunRecord
from emoref.runs.shared_record import SharedRecord, read_shared_records

__all__ = ["all_tables", "layers_table", "members", "networks_table", "selected", "tasks_table"]

_ERRORS = (
    ("validation", "original"),
    ("validation", "before"),
    ("validation", "after"),
    ("test", "original"),
    ("test", "after"),
)


def selected(record: RunRecord) -> list[SharedRecord]:
    """Return the networks that were selected, by variant, and in each most parameters first."""
    found = [one for one in read_shared_records(record.folder) if one.role == "selected"]
    return sorted(found, key=lambda one: (one.variant, -one.stored_total, one.name))


def members(record: RunRecord) -> list[SharedRecord]:
    """Return every selected network, each followed by its baselines."""
    everything = read_shared_records(record.folder)
    return [
        one
        for leader in selected(record)
        for one in (leader, *(r for r in everything if r.role == "baseline" and r.selected == leader.name))
    ]


def networks_table(record: RunRecord) -> Table:
    """Return one row a network: stored parameters by kind, sharing, and mean errors over the tasks."""
    columns = (
        "name",
        "role",
        "variant",
        "choice",
        "rate",
        "stored_shared",
        "stored_private",
        "stored_heads",
        "stored_norms",
        "stored",
        "stored_original",
        "stored_ratio",
        "sharing_ratio",
        "size_bytes",
        *(f"mean_{split}_error_{which}" for split, which in _ERRORS),
    )
    rows = [_network_row(one) for one in members(record)]
    return Table("shared_networks", columns, tuple(rows))


def _network_row(one: SharedRecord) -> tuple[Cell, ...]:
    return (
        one.name,
        one.role,
        one.variant,
        one.choice,
        one.rate,
        *(one.stored[kind] for kind in ("shared", "private", "heads", "norms")),
        one.stored_total,
        one.stored_original,
        one.stored_ratio,
        one.sharing_ratio,
        one.size_bytes,
        *(one.mean_error(which, split) for split, which in _ERRORS),
    )


def tasks_table(record: RunRecord) -> Table:
    """Return one row for each network and task: cost of the exported network, wrong predictions, errors."""
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
        "test_images",
        "test_wrong_original",
        "test_wrong_after",
        *(f"{split}_error_{which}" for split, which in _ERRORS),
    )
    rows: list[tuple[Cell, ...]] = []
    for one in members(record):
        for task in one.tasks:
            tested = task.test_images > 0
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
                    task.test_images if tested else None,
                    task.test_wrong_original if tested else None,
                    task.test_wrong_after if tested else None,
                    *(task.error(which, split) for split, which in _ERRORS),
                )
            )
    return Table("shared_tasks", columns, tuple(rows))


def layers_table(record: RunRecord) -> Table:
    """Return one row for each network, layer and task: slots, those kept, those shared."""
    columns = ("name", "layer", "task", "slots", "kept", "shared")
    rows: list[tuple[Cell, ...]] = [
        (one.name, layer, task.task, one.slots[layer], kept[t], one.shared[layer])
        for one in members(record)
        for layer, kept in one.kept.items()
        for t, task in enumerate(one.tasks)
    ]
    return Table("shared_layers", columns, tuple(rows))


def all_tables(record: RunRecord) -> list[Table]:
    """Return all of them."""
    return [networks_table(record), tasks_table(record), layers_table(record)]
