"""All rows of the published tables: run what is missing, write the page."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from emoref.errors import ConfigError
from emoref.runs.folder import write_text_atomic
from emoref.runs.progress import Progress, Silent
from emoref.verify.published import choose_rows
from emoref.verify.tables import Line, summarise, to_markdown
from emoref.verify.trials import Trial, TrialFile, plan, run_trial, run_trials

__all__ = ["RESULTS", "TABLE", "verify_full"]

RESULTS = "emoref-trials.jsonl"
"""Default name of the file of results."""

TABLE = "docs/nsga3-table.md"
"""Default path of the page."""


def verify_full(
    rows: Iterable[str] = (),
    objectives: Iterable[int] = (),
    entrants: Iterable[str] = (),
    seeds: int = 20,
    workers: int = 1,
    results: str | os.PathLike[str] = RESULTS,
    table: str | os.PathLike[str] = TABLE,
    progress: Progress | None = None,
    generations: int | None = None,
) -> list[Line]:
    """Run published experiments and write the page that holds them against the papers.

    What `results` holds already is not run again, so an interrupted call goes on when it is repeated. The
    page is written at the end, and also when the call is stopped, with what is there.

    Parameters
    ----------
    rows : iterable of str
        Names of problems or tables, e.g. ``"DTLZ1"`` or ``"scaled"``; empty for all.
    objectives : iterable of int
        Numbers of objectives; empty for all.
    entrants : iterable of str
        Keys of `emoref.verify.trials.ENTRANTS`; empty for all.
    seeds : int
        Seeds of each row and entrant, from 0.
    workers : int
        Number of processes, one thread each. The results do not depend on it.
    results : path
        The file of results, see `emoref.verify.trials.TrialFile`.
    table : path
        The Markdown page. Shows all that `results` holds, of earlier calls too.
    progress : emoref.runs.progress.Progress, optional
        Told of every finished run.
    generations : int, optional
        Stop runs after so many generations, to try out a choice of options. Such figures are no results:
        keep them in a file of their own.

    Returns
    -------
    list of emoref.verify.tables.Line
        What the page shows.

    Raises
    ------
    ConfigError
        If an option makes no sense, a folder for the files is missing, or `results` comes from other code.
    EmorefError
        If a worker was killed, or a file cannot be read or written.
    """
    trials = plan(choose_rows(rows, objectives), list(entrants), seeds)
    for option, path in (("results", Path(results)), ("table", Path(table))):
        if not path.parent.is_dir():
            raise ConfigError(
                f"{option}: there is no folder {path.parent} to write {path.name} into; name another place"
            )
    file = TrialFile(results)
    run: Callable[[Trial], Any] = (
        run_trial if generations is None else partial(run_trial, generations=generations)
    )
    told = progress or Silent()
    wanted = {trial for trial in trials if trial not in file.results}
    told.stage("published tables", len(wanted))
    planned = len(set(trials) | set(file.results))
    try:
        for done, trial in enumerate(run_trials(trials, file, workers, run), 1):
            told.step(done, f"{trial.row}, {trial.entrant}, seed {trial.seed}: {_text(file.results[trial])}")
    finally:
        lines = summarise(file.results)
        write_text_atomic(Path(table), to_markdown(lines, planned, len(file.results)))
    return lines


def _text(measured: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3e}" for name, value in measured.items())
