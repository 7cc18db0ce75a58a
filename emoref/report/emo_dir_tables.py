"""The tables of an EMO-DIR run: fronts of the stages, impairments, joint schemes, networks, cost ledger."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoref.emo import hypervolume
from emoref.nn import load_extra
from emoref.report.tables import Cell, Table
from emoref.runs.joint_record import (
    MeasuredScheme,
    RankedMember,
    Ranking,
    SchemeSet,
    read_ranking,
    read_schemes,
)
from emoref.runs.record import NetworkRecord, RunRecord
from emoref.runs.store import Generation, SearchStore, front_rows
from emoref.systems.emo_dir_joint import first_paid

__all__ = [
    "LedgerRow",
    "all_tables",
    "fronts_table",
    "joint_volume",
    "judges_error",
    "ledger",
    "members",
    "ranking_table",
    "scheme_sets",
    "stage_searches",
    "whole_at_equal_cost",
    "whole_progress",
]

RULES = {
    "schemes": "equal impairment",
    "random": "random combination",
    "equal-rate": "equal rate",
    "whole-features": "whole network by its logits",
}
"""What the report calls measured networks by the name of their file: rules that join fronts, and a front."""

WHOLE = {
    "whole": "search of the whole network",
    "whole-features": "search of the whole network by its logits",
}
"""What the report calls the searches over the whole network, by the name of their file."""


def stage_searches(record: RunRecord) -> dict[str, SearchStore]:
    """Return the stages' searches, in order."""
    found = [name for name in record.searches if re.fullmatch(r"stage\d+", name)]
    return {name: record.searches[name] for name in sorted(found, key=lambda name: int(name[5:]))}


def judges_error(store: SearchStore) -> bool:
    """Return whether a search's second objective is an error, and not the distance of features."""
    return store.layout["objectives"][1] == "error"


def scheme_sets(record: RunRecord) -> dict[str, SchemeSet]:
    """Return the measured joint schemes of every rule that has run."""
    found = {rule: read_schemes(record.folder, rule) for rule in RULES}
    return {rule: schemes for rule, schemes in found.items() if schemes is not None}


def members(record: RunRecord) -> list[NetworkRecord]:
    """Return the joint networks, each followed by its rivals."""
    return [one for leader in record.selected for one in (leader, *record.baselines.get(leader.name, []))]


# -------------------------------------------------------------------------------------------------- ledger


@dataclass(frozen=True)
class LedgerRow:
    """What one part of a run has cost.

    Attributes
    ----------
    phase : str
        Which part.
    evaluations : int or None
        Networks that were evaluated; None for a training.
    macs : int
        Multiply-accumulates that were executed; of a training: that it takes.
    """

    phase: str
    evaluations: int | None
    macs: int

    @property
    def macs_each(self) -> float | None:
        """Multiply-accumulates of one evaluation, on average."""
        return self.macs / self.evaluations if self.evaluations else None


def ledger(record: RunRecord) -> list[LedgerRow]:
    """Return the costs of a run as far as it has come: trainings, searches, ranking, schemes, rivals.

    The row "search in all" is what the search over the whole network gets as its budget.
    """
    rows = list(_trainings(record))
    ranking, sets = read_ranking(record.folder), scheme_sets(record)
    own = [_search_row(name, store) for name, store in stage_searches(record).items()]
    if ranking is not None:
        own.append(LedgerRow("impairment ranking", ranking.evaluations, ranking.macs_executed))
    if "schemes" in sets:
        own.append(LedgerRow("joint schemes", sets["schemes"].evaluations, sets["schemes"].macs_executed))
    rows += own
    if own:
        evaluations = sum(row.evaluations or 0 for row in own)
        rows.append(LedgerRow("search in all", evaluations, sum(row.macs for row in own)))
    for rule in ("random", "equal-rate", "whole-features"):
        if rule in sets:
            rows.append(LedgerRow(RULES[rule], sets[rule].evaluations, sets[rule].macs_executed))
    rows += [_search_row(name, record.searches[name]) for name in WHOLE if name in record.searches]
    return rows


def _trainings(record: RunRecord) -> Iterator[LedgerRow]:
    folder = record.folder.stages
    names = ("detector*.h5", "stage*.h5") if folder.is_dir() else ()
    for path in (path for name in names for path in sorted(folder.glob(name))):
        yield LedgerRow(f"training of {path.stem}", None, int(load_extra(path).get("training_macs", 0)))


def _search_row(name: str, store: SearchStore) -> LedgerRow:
    return LedgerRow(
        WHOLE.get(name, f"search of {name}"),
        store.generations[-1].evaluations,
        int(store.state["macs_executed"][-1]),
    )


def joint_volume(ranking: Ranking, schemes: SchemeSet) -> float:
    """Return the hypervolume of measured schemes and the intact network.

    In (remaining multiply-accumulates of the whole network, error), up to (1, 1).
    """
    intact = MeasuredScheme((), None, 0, ranking.intact_wrong)
    F = [[1 - s.saved_macs / ranking.macs, s.wrong / ranking.images] for s in (intact, *schemes.schemes)]
    return float(hypervolume(np.array(F), np.ones(2)))


def whole_at_equal_cost(record: RunRecord) -> Generation:
    """Return what the whole-network search had when it had executed as much as led to the joint schemes."""
    store = record.searches["whole"]
    spent = next((row.macs for row in ledger(record) if row.phase == "search in all"), 0)
    return store.generations[first_paid(store.state["macs_executed"], spent)]


def whole_progress(store: SearchStore) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return executed multiply-accumulates and hypervolume after every generation of a search."""
    volumes = [
        float(hypervolume(generation.objectives[front_rows(generation)], np.ones(2)))
        for generation in store.generations
    ]
    return np.asarray(store.state["macs_executed"], dtype=np.int64), np.array(volumes)


# --------------------------------------------------------------------------------------------------- tables


def fronts_table(record: RunRecord) -> Table:
    """Return one row a member of each stage's last front, least multiply-accumulates first."""
    columns = (
        "stage",
        "member",
        "filters_kept",
        "remaining_macs_ratio",
        "wrong",
        "error",
        "feature_distance",
    )
    rows: list[tuple[Cell, ...]] = []
    for name, store in record.searches.items():
        last, images = store.generations[-1], int(store.layout["images"])
        for place, row in enumerate(front_rows(last)):
            ratio, second = (float(value) for value in last.objectives[row])
            counted = judges_error(store)
            judged = (round(second * images), second, None) if counted else (None, None, second)
            rows.append((name, place, int(last.genomes[row].sum()), ratio, *judged))
    return Table("stage_fronts", columns, tuple(rows))


def ranking_table(record: RunRecord) -> Table:
    """Return all members by rising impairment of the whole network."""
    columns = ("rank", "stage", "member", "saved_macs", "saved_ratio", "wrong", "impairment")
    ranking = read_ranking(record.folder)
    rows: list[tuple[Cell, ...]] = []
    for rank, m in enumerate(ordered(ranking) if ranking else []):
        assert ranking is not None
        impairment = (m.wrong - ranking.intact_wrong) / ranking.images
        saved = m.saved_macs / ranking.macs
        rows.append((rank, m.stage + 1, m.index, m.saved_macs, saved, m.wrong, impairment))
    return Table("impairments", columns, tuple(rows))


def ordered(ranking: Ranking) -> list[RankedMember]:
    """Return the members of `ranking` by rising impairment."""
    return sorted(ranking.members, key=lambda m: (m.wrong, -m.saved_macs, m.stage, m.index))


def schemes_table(record: RunRecord) -> Table:
    """Return every measured joint scheme of every rule."""
    columns = ("rule", "level", "choice", "saved_macs", "saved_ratio", "wrong", "error")
    ranking = read_ranking(record.folder)
    rows: list[tuple[Cell, ...]] = []
    for rule, schemes in scheme_sets(record).items() if ranking else ():
        assert ranking is not None
        for s in schemes.schemes:
            choice = " ".join(str(index) for index in s.choice)
            saved = s.saved_macs / ranking.macs
            rows.append((rule, s.level, choice, s.saved_macs, saved, s.wrong, s.wrong / ranking.images))
    return Table("joint_schemes", columns, tuple(rows))


def networks_table(record: RunRecord) -> Table:
    """Return the base, the joint networks and their rivals, with errors before and after fine-tuning."""
    columns = (
        "name",
        "role",
        "choice",
        "macs",
        "params",
        "filters",
        "size_bytes",
        "validation_error_before",
        "validation_error_after",
        "test_error_before",
        "test_error_after",
    )
    rows: list[tuple[Cell, ...]] = []
    for one in ([record.base] if record.base else []) + members(record):
        test = (None, None) if one.test is None else (one.test.error_before, one.test.error_after)
        size = (one.macs, one.params, one.filters, one.size_bytes)
        errors = (one.validation.error_before, one.validation.error_after)
        rows.append((one.name, one.role, one.choice, *size, *errors, *test))
    return Table("networks", columns, tuple(rows))


def ledger_table(record: RunRecord) -> Table:
    """Return the cost ledger."""
    rows = tuple((row.phase, row.evaluations, row.macs, row.macs_each) for row in ledger(record))
    return Table("ledger", ("phase", "evaluations", "macs_executed", "macs_an_evaluation"), rows)


def all_tables(record: RunRecord) -> list[Table]:
    """Return all of them."""
    return [
        fronts_table(record),
        ranking_table(record),
        schemes_table(record),
        networks_table(record),
        ledger_table(record),
    ]
