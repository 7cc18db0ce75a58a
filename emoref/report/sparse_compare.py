"""Joint sparse runs over several seeds: joint against separate networks, ladder against random parents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from emoref.errors import RunFolderError
from emoref.report.compare import check_same_settings
from emoref.report.sparse_tables import duels, hypervolumes
from emoref.report.tables import Cell, Table
from emoref.runs.folder import RunFolder
from emoref.runs.record import RunRecord, read_run
from emoref.runs.sparse_record import read_sparse_records, search_name
from emoref.runs.store import SearchStore
from emoref.systems import load_run_config
from emoref.systems.joint_sparse_search import INITIALISATIONS

__all__ = ["TEXT_COLUMNS", "compare_sparse_runs", "text_rows"]

_COLUMNS = (
    "comparison",
    "quantity",
    "seeds",
    "first",
    "second",
    "difference",
    "standard_error",
    "p_value",
    "first_better",
)

Pairs = dict[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True)
class _Run:
    """What one run contributes: by (comparison, quantity), the values of the first and the second."""

    folder: RunFolder
    config: dict[str, Any]
    pairs: Pairs


def compare_sparse_runs(folders: Sequence[str | Path]) -> Table:
    """Return paired statistics of joint sparse runs over seeds.

    Runs of one configuration with different seeds are the sample. Two things are compared, as far as the runs
    hold them:

    * ``joint - separate``: the mean test error over the tasks of the joint network, and of separate networks,
      at each kept ratio, and so at equal total kept connections;
    * ``ladder - random``: the hypervolume, with respect to (1, ..., 1), of the fronts that the joint search
      reached from parents of either kind at equal evaluations.

    Parameters
    ----------
    folders : sequence of path
        At least two finished runs that differ in nothing but seed, name, description and threads.

    Returns
    -------
    Table
        One row a comparison and quantity: number of ``seeds`` n, means of ``first`` and ``second``, the mean
        ``difference`` first - second with its ``standard_error`` (sample standard deviation / sqrt(n)), the
        two-sided ``p_value`` of the paired t-test (n - 1 degrees of freedom; empty if all differences are
        equal), and in how many seeds the first was better: lower in error, higher in hypervolume. Not
        corrected for the number of rows.

    Raises
    ------
    RunFolderError
        If a folder is no run, unfinished, of another configuration or with nothing to compare, or of a seed
        that is there already; names the folder.
    """
    if len(folders) < 2:
        raise RunFolderError("compare: needs at least two run folders, one a seed")
    runs = [_read(folder) for folder in folders]
    for place, run in enumerate(runs[1:], start=1):
        check_same_settings(run.folder.path, run.config, runs[0].folder.path, runs[0].config)
        twin = next((one for one in runs[:place] if one.config["seed"] == run.config["seed"]), None)
        if twin is not None:
            raise RunFolderError(
                f"{run.folder.path}: has seed {run.config['seed']}, like {twin.folder.path}; "
                "give each seed once"
            )
    return Table("compare", _COLUMNS, tuple(_row(key, runs) for key in runs[0].pairs))


def _read(path: str | Path) -> _Run:
    folder = RunFolder.open(path)
    config = load_run_config(folder).model_dump(mode="json", exclude_none=True)
    record = read_run(folder, config)
    pairs = _errors(record) | _volumes(record)
    if not pairs:
        raise RunFolderError(
            f"{folder.path}: nothing to compare; run with --set baselines.separate=true and "
            "--set select.kept_ratios=[0.02,0.05], or --set baselines.initialisation=true"
        )
    return _Run(folder, config, pairs)


def _errors(record: RunRecord) -> Pairs:
    folder, config = record.folder, record.config
    unfinished = RunFolderError(
        f"{folder.path}: this run is not finished; go on with: emoref resume {folder.path}"
    )
    found = read_sparse_records(folder)
    if not found or not all(one.tested for one in found):
        raise unfinished
    if not config["baselines"]["separate"]:
        return {}
    pairs: Pairs = {}
    for duel in duels(found):
        joint, separate = duel.errors("test")
        means = (sum(joint) / len(joint), sum(separate) / len(separate))
        pairs["joint - separate", f"test error at {duel.kept_ratio:g}"] = means
    if len(pairs) < len(config["select"]["kept_ratios"]):
        raise unfinished
    return pairs


def _volumes(record: RunRecord) -> Pairs:
    if not record.config["baselines"]["initialisation"]:
        return {}
    main = str(record.config["search"]["initialisation"])
    stores = [record.searches.get(search_name("joint", kind, main)) for kind in INITIALISATIONS]
    both = [store for store in stores if store is not None]
    if len(both) < len(stores):
        raise RunFolderError(f"{record.folder.path}: its searches from both kinds of parents are not there")
    evaluations = min(store.generations[-1].evaluations for store in both)
    ladder, random = (_volume_at(store, evaluations) for store in both)
    return {("ladder - random", "hypervolume"): (ladder, random)}


def _volume_at(store: SearchStore, evaluations: int) -> float:
    """Return the hypervolume of the last generation that took no more evaluations than that."""
    reached = [g for g, one in enumerate(store.generations) if one.evaluations <= evaluations]
    return hypervolumes(store)[reached[-1]]


def _row(key: tuple[str, str], runs: Sequence[_Run]) -> tuple[Cell, ...]:
    values = np.array([run.pairs[key] for run in runs])
    differences = values[:, 0] - values[:, 1]
    spread = float(differences.std(ddof=1))
    p_value = float(stats.ttest_rel(values[:, 0], values[:, 1]).pvalue) if spread > 0 else None
    better = differences > 0 if key[1] == "hypervolume" else differences < 0
    means = values.mean(axis=0)
    return (
        *key,
        len(runs),
        float(means[0]),
        float(means[1]),
        float(differences.mean()),
        spread / math.sqrt(len(runs)),
        p_value,
        int(better.sum()),
    )


#: Column titles of :func:`text_rows`.
TEXT_COLUMNS = ("quantity", "first", "second", "difference", "std. error", "p", "first better in")


def text_rows(table: Table) -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of :func:`compare_sparse_runs` for a terminal, by comparison; errors in per cent."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    for comparison, quantity, seeds, first, second, difference, error, p_value, better in table.rows:
        form = ".4f" if quantity == "hypervolume" else ".2%"
        cells = (
            str(quantity),
            f"{first:{form}}",
            f"{second:{form}}",
            f"{difference:+{form}}",
            f"{error:{form}}",
            "-" if p_value is None else f"{p_value:.2g}",
            f"{better} of {seeds}",
        )
        rows.setdefault(str(comparison), []).append(cells)
    return rows
