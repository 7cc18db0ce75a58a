"""Results over several seeds: how much better the searched networks are than their baselines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from emoref.errors import RunFolderError
from emoref.report.tables import Cell, Table, contenders, wrong_after, wrong_before
from emoref.runs.folder import FREE_FIELDS, RunFolder
from emoref.runs.record import NetworkRecord, RunRecord, read_run
from emoref.systems import load_run_config

#: The row that averages over all selected networks of a run.
ALL_NETWORKS = "mean of all"

_COLUMNS = (
    "network",
    "method",
    "fine_tuning",
    "seeds",
    "searched_error",
    "method_error",
    "difference",
    "standard_error",
    "p_value",
)
# Settings in which runs may differ: what names them, what they begin with, and what changes no result.
_FREE = ("seed", "name", "base.file", "data.split_seed", *FREE_FIELDS)
_WHEN = {"before": wrong_before, "after": wrong_after}

Key = tuple[str, str, str]  # network (by its choice), method, "before" or "after" fine-tuning


@dataclass(frozen=True)
class _Run:
    """What one run contributes: (searched, method) wrong test images, and the number of test images."""

    folder: RunFolder
    config: dict[str, Any]
    seed: int
    images: int
    wrong: dict[Key, tuple[int, int]]


def compare_runs(folders: Sequence[str | Path]) -> Table:
    """Return paired statistics of searched networks against their baselines on the test set.

    Runs of one configuration with different seeds are the sample. Networks of different runs belong together
    if they were chosen by the same rule (``"most accurate with at most 9 filters"``, ``"evenly spaced, 1 of
    3"``), whatever their configurations. In each run the difference searched - method is taken at equal
    filters in every layer, so that the pairs share base network, configuration and batches. Rows named
    ``"mean of all"`` average over the networks of a run first.

    Parameters
    ----------
    folders : sequence of path
        At least two finished runs with baselines that differ in nothing but seed, name, description, threads
        and the file of the base network.

    Returns
    -------
    Table
        One row for network, method, and ``fine_tuning`` ``"before"`` or ``"after"``: number of ``seeds`` n,
        mean test errors in [0, 1], mean ``difference`` (negative: the search is better), its
        ``standard_error`` (sample standard deviation / sqrt(n)), and the two-sided ``p_value`` of the paired
        t-test (n - 1 degrees of freedom; empty if all differences are equal). Not corrected for the number
        of rows.

    Raises
    ------
    RunFolderError
        If a folder is no run, unfinished, without baselines, of another configuration, or of a seed that is
        there already; names the folder.
    """
    if len(folders) < 2:
        raise RunFolderError("compare: needs at least two run folders, one a seed")
    runs = [_read(folder) for folder in folders]
    for i, run in enumerate(runs[1:], start=1):
        _check_comparable(runs[0], run)
        twin = next((other for other in runs[:i] if other.seed == run.seed), None)
        if twin is not None:
            raise RunFolderError(
                f"{run.folder.path}: has seed {run.seed}, like {twin.folder.path}; give each seed once"
            )
    return Table("compare", _COLUMNS, tuple(_row(key, runs) for key in runs[0].wrong))


def _read(path: str | Path) -> _Run:
    folder = RunFolder.open(path)
    config = load_run_config(folder).model_dump(mode="json", exclude_none=True)
    record = read_run(folder, config)
    _check_finished(record)
    wrong: dict[Key, tuple[int, int]] = {}
    for selected in record.selected:
        for method, rival in contenders(record, selected)[1:]:
            for when, count in _WHEN.items():
                ours, theirs = count(selected, selected.test), count(rival, rival.test)
                if ours is not None and theirs is not None:
                    # A network chosen for several reasons stands for each of them.
                    wrong |= {(why, method, when): (ours, theirs) for why in selected.choice.split("; ")}
    ordered = dict(sorted(wrong.items(), key=lambda item: item[0][0]))
    assert record.base is not None
    assert record.base.test is not None
    return _Run(folder, config, int(config["seed"]), record.base.test.images, _with_means(ordered))


def _check_finished(record: RunRecord) -> None:
    path = record.folder.path
    rivals = [network for networks in record.baselines.values() for network in networks]
    members: list[NetworkRecord | None] = [record.base, *record.selected, *rivals]
    if not record.selected or any(network is None or network.test is None for network in members):
        raise RunFolderError(f"{path}: this run is not finished; go on with: emoref resume {path}")
    if any(network.name not in record.baselines for network in record.selected):
        raise RunFolderError(
            f"{path}: this run has no baselines to compare with; run it with --set baselines.enabled=true"
        )


def check_same_settings(path: Path, config: dict[str, Any], first: Path, wanted: dict[str, Any]) -> None:
    """Check that two runs differ in nothing but what names them and what changes no result.

    Parameters
    ----------
    path, first : Path
        Folders of the run and of the first one.
    config, wanted : dict
        Their configurations.

    Raises
    ------
    RunFolderError
        If they differ; names the first such setting.
    """
    ours, theirs = _settings(wanted), _settings(config)
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            raise RunFolderError(
                f"{path}: another experiment than {first}: {name} is {theirs.get(name)!r}, "
                f"not {ours.get(name)!r}"
            )


def _check_comparable(first: _Run, run: _Run) -> None:
    check_same_settings(run.folder.path, run.config, first.folder.path, first.config)
    if run.images != first.images:
        raise RunFolderError(
            f"{run.folder.path}: measured on {run.images:,} test images, {first.folder.path} on "
            f"{first.images:,}"
        )
    for here, there in ((run, first), (first, run)):
        lacking = next((key for key in there.wrong if key not in here.wrong), None)
        if lacking is not None:
            raise RunFolderError(
                f"{here.folder.path}: has no network chosen as {lacking[0]!r} with baseline {lacking[1]!r}, "
                f"which {there.folder.path} has"
            )


def _settings(table: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Return the settings that must agree, as ``{"data.validation": 5000}``."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        here = f"{place}{name}"
        if isinstance(value, dict):
            flat |= _settings(value, f"{here}.")
        elif here not in _FREE:
            flat[here] = value
    return flat


def _with_means(wrong: dict[Key, tuple[int, int]]) -> dict[Key, tuple[int, int]]:
    """Add, where a run has several networks, the sums over them; :func:`_row` divides by their number."""
    networks = dict.fromkeys(network for network, _, _ in wrong)
    if len(networks) < 2:
        return wrong
    sums: dict[Key, tuple[int, int]] = {}
    for (_, method, when), (ours, theirs) in wrong.items():
        total = sums.get((ALL_NETWORKS, method, when), (0, 0))
        sums[ALL_NETWORKS, method, when] = (total[0] + ours, total[1] + theirs)
    return wrong | sums


def _row(key: Key, runs: list[_Run]) -> tuple[Cell, ...]:
    # Counts are integers up to the last division, so that equal differences are exactly equal.
    network, method, when = key
    pairs = np.array([run.wrong[key] for run in runs], dtype=np.int64)
    alike = sum(k[1:] == key[1:] and k[0] != ALL_NETWORKS for k in runs[0].wrong)
    images = runs[0].images * (alike if network == ALL_NETWORKS else 1)
    differences = pairs[:, 0] - pairs[:, 1]
    spread, p_value = float(differences.std(ddof=1)), None
    if spread > 0:
        p_value = float(stats.ttest_rel(pairs[:, 0], pairs[:, 1]).pvalue)
    means = pairs.mean(axis=0) / images
    return (
        network,
        method,
        when,
        len(runs),
        float(means[0]),
        float(means[1]),
        float(differences.mean() / images),
        spread / math.sqrt(len(runs)) / images,
        p_value,
    )


#: Column titles of :func:`text_rows`.
TEXT_COLUMNS = ("method", "tuning", "searched", "method's", "difference", "std. error", "p")


def text_rows(table: Table) -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of :func:`compare_runs` for a terminal, by network; errors in per cent."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    for network, method, when, _, ours, theirs, difference, error, p_value in table.rows:
        cells = (
            str(method),
            str(when),
            f"{ours:.2%}",
            f"{theirs:.2%}",
            f"{difference:+.2%}",
            f"{error:.2%}",
            "-" if p_value is None else f"{p_value:.2g}",
        )
        rows.setdefault(str(network), []).append(cells)
    return rows
