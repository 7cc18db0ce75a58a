"""Runs of the published tables: one trial is one algorithm on one row with one seed.

Results are kept in one text file, a JSON record a line, sorted, which is replaced after every trial: whoever
is interrupted loses the trials that were running and nothing else, and the file does not depend on how many
workers there were or who finished first.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emoref import emo
from emoref.errors import ConfigError, EmorefError, FileFormatError
from emoref.runs.folder import write_text_atomic
from emoref.verify.published import ROWS, Row

__all__ = ["ENTRANTS", "Entrant", "Trial", "TrialFile", "plan", "run_trial", "run_trials"]

FORMAT = "emoref trials 1"
_PROBE = "probe"
_PROBE_GENERATIONS = 30
_PROBE_ROWS = {"zdt": "zdt ZDT1 M=2", "plain": "plain DTLZ2 M=3", "scaled": "scaled DTLZ2 M=3"}


@dataclass(frozen=True)
class Entrant:
    """An algorithm with its settings that takes part in the tables.

    Attributes
    ----------
    name : str
        What the command line and the result file call it.
    title : str
        What the table calls it.
    tables : tuple of str
        Tables that it takes part in; see `emoref.verify.published.Row`.
    make : callable
        Called with the problem, the row and the seed; returns an `emoref.emo.Algorithm`.
    judged : tuple of str
        Those tables whose limits apply to it; its figures of the others are reported.
    """

    name: str
    title: str
    tables: tuple[str, ...]
    make: Callable[[Any, Row, int], emo.Algorithm]
    judged: tuple[str, ...]


def _nsga3(**settings: Any) -> Callable[[Any, Row, int], emo.Algorithm]:
    def make(problem: Any, row: Row, seed: int) -> emo.Algorithm:
        return emo.NSGA3(
            problem,
            reference_points=row.reference_points(),
            population_size=row.population,
            seed=seed,
            **settings,
        )

    return make


def _nsga2(**settings: Any) -> Callable[[Any, Row, int], emo.Algorithm]:
    def make(problem: Any, row: Row, seed: int) -> emo.Algorithm:
        return emo.NSGA2(problem, population_size=row.population, seed=seed, **settings)

    return make


_PLAIN, _DTLZ, _ZDT = ("plain",), ("plain", "scaled"), ("zdt",)
_NO_SWAP_3 = emo.SBX(1.0, 30.0, swap=False)
_NO_SWAP_2 = emo.SBX(0.9, 20.0, swap=False)

ENTRANTS: dict[str, Entrant] = {
    entrant.name: entrant
    for entrant in (
        Entrant("nsga3", "NSGA-III", _DTLZ, _nsga3(), _DTLZ),
        Entrant("nsga3-no-swap", "NSGA-III, SBX without swap", _DTLZ, _nsga3(crossover=_NO_SWAP_3), _DTLZ),
        Entrant("nsga3-deb2014", "NSGA-III, deb2014", _DTLZ, _nsga3(normalisation="deb2014"), _PLAIN),
        Entrant(
            "nsga3-deb2014-no-swap",
            "NSGA-III, deb2014, SBX without swap",
            _DTLZ,
            _nsga3(normalisation="deb2014", crossover=_NO_SWAP_3),
            _PLAIN,
        ),
        Entrant("nsga2", "NSGA-II", _ZDT, _nsga2(), _ZDT),
        Entrant("nsga2-no-swap", "NSGA-II, SBX without swap", _ZDT, _nsga2(crossover=_NO_SWAP_2), _ZDT),
    )
}
"""Every algorithm that can be run on the tables, by name; another one is another entry."""


@dataclass(frozen=True, order=True)
class Trial:
    """One run: a row, an entrant and a seed.

    Attributes
    ----------
    row : str
        Key of `emoref.verify.published.ROWS`.
    entrant : str
        Key of `ENTRANTS`.
    seed : int
        Seed of the run.
    """

    row: str
    entrant: str
    seed: int


def plan(rows: Sequence[Row], entrants: Sequence[str] = (), seeds: int = 20) -> tuple[Trial, ...]:
    """List the trials of a choice of rows, all rows of a seed before the next seed.

    Parameters
    ----------
    rows : sequence of Row
        The rows.
    entrants : sequence of str
        Keys of `ENTRANTS`; empty for all.
    seeds : int
        Number of seeds, from 0.

    Returns
    -------
    tuple of Trial
        What `run_trials` takes.

    Raises
    ------
    ConfigError
        If an entrant is unknown, there is no seed, or no entrant takes part in any of the rows.
    """
    for name in entrants:
        if name not in ENTRANTS:
            raise ConfigError(f"no algorithm of the tables is called {name!r}; use {', '.join(ENTRANTS)}")
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; it must be at least 1")
    chosen = [ENTRANTS[name] for name in entrants or ENTRANTS]
    trials = tuple(
        Trial(row.key, entrant.name, seed)
        for seed in range(seeds)
        for row in rows
        for entrant in chosen
        if row.table in entrant.tables
    )
    if not trials:
        raise ConfigError(f"{', '.join(entrants)} take no part in the chosen rows")
    return trials


def run_trial(trial: Trial, generations: int | None = None) -> dict[str, float]:
    """Run one trial.

    Parameters
    ----------
    trial : Trial
        Which one.
    generations : int, optional
        Stop after so many; by default after the published number.

    Returns
    -------
    dict of str to float
        What was measured at the end, by name.
    """
    row = ROWS[trial.row]
    problem = row.make_problem()
    algorithm = ENTRANTS[trial.entrant].make(problem, row, trial.seed)
    result = algorithm.run(row.generations if generations is None else generations)
    return row.measure(problem, result)


def probe(entrant: str) -> str:
    """Return a fingerprint of what an entrant computes: a digest of thirty generations of seed 0.

    Parameters
    ----------
    entrant : str
        Key of `ENTRANTS`.

    Returns
    -------
    str
        Hexadecimal digits; the same as long as the algorithm, its operators and the machine's arithmetic
        give the same bits.
    """
    maker = ENTRANTS[entrant]
    row = ROWS[_PROBE_ROWS[maker.tables[0]]]
    algorithm = maker.make(row.make_problem(), row, 0)
    population = algorithm.run(_PROBE_GENERATIONS).population
    return hashlib.sha256(population.X.tobytes() + population.F.tobytes()).hexdigest()[:16]


class TrialFile:
    """The results of trials, in memory and in a file.

    The first line names the format; every other line is a JSON object with ``row``, ``entrant``, ``seed`` and
    what was measured, or with ``probe`` (see `probe`).

    Parameters
    ----------
    path : path
        The file; read if it exists.

    Attributes
    ----------
    results : dict of Trial to dict of str to float
        What was measured, by trial.
    probes : dict of str to str
        Fingerprints, by entrant.

    Raises
    ------
    FileFormatError
        If the file is there and is no file of trials.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.results: dict[Trial, dict[str, float]] = {}
        self.probes: dict[str, str] = {}
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            first, *lines = self.path.read_text("utf-8").splitlines() or [""]
        except (OSError, UnicodeDecodeError) as error:
            raise FileFormatError(f"{self.path}: cannot be read ({error})") from None
        if first != FORMAT:
            raise FileFormatError(f"{self.path}: line 1 must be {FORMAT!r}; this is no file of trials")
        for number, line in enumerate(lines, 2):
            try:
                record = json.loads(line)
                if _PROBE in record:
                    self.probes[str(record["entrant"])] = str(record[_PROBE])
                    continue
                trial = Trial(str(record["row"]), str(record["entrant"]), int(record["seed"]))
                self.results[trial] = {str(k): float(v) for k, v in record["measured"].items()}
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise FileFormatError(
                    f"{self.path}: line {number} is no record of a trial ({error!r})"
                ) from None

    def check_probe(self, entrant: str) -> None:
        """Make sure that the results of an entrant, if there are any, come from the same code.

        Parameters
        ----------
        entrant : str
            Key of `ENTRANTS`.

        Raises
        ------
        ConfigError
            If they do not.
        """
        found = probe(entrant)
        if self.probes.setdefault(entrant, found) != found:
            raise ConfigError(
                f"{self.path}: the results of {entrant} come from a program or a processor that computes "
                "other bits than this one; start another file"
            )

    def add(self, trial: Trial, measured: Mapping[str, float]) -> None:
        """Keep what a `trial` measured, and write the file.

        Parameters
        ----------
        trial : Trial
            Which one.
        measured : mapping of str to float
            What `run_trial` returned.

        Raises
        ------
        RunFolderError
            If the file cannot be written; the one of before is kept.
        """
        self.results[trial] = dict(measured)
        self.write()

    def write(self) -> None:
        """Replace the file."""
        records: list[dict[str, Any]] = [
            {"entrant": name, _PROBE: digits} for name, digits in sorted(self.probes.items())
        ]
        records += [{**asdict(trial), "measured": self.results[trial]} for trial in sorted(self.results)]
        lines = [FORMAT, *(json.dumps(record, sort_keys=True) for record in records)]
        write_text_atomic(self.path, "\n".join(lines) + "\n")


def run_trials(
    trials: Sequence[Trial],
    file: TrialFile,
    workers: int = 1,
    run: Callable[[Trial], dict[str, float]] = run_trial,
) -> Iterator[Trial]:
    """Run what is missing of a plan, over worker processes with one thread each.

    Stop it with Ctrl-C, or by any kind of kill, and call it again with the same file to go on.

    Parameters
    ----------
    trials : sequence of Trial
        The plan.
    file : TrialFile
        Where results are kept; trials that it holds are not run again.
    workers : int
        Number of processes, at least 1.
    run : callable
        What a worker does with a trial; a function of a module.

    Yields
    ------
    Trial
        Each trial when its result is stored.

    Raises
    ------
    ConfigError
        If `workers` is below 1, or the file holds results of other code.
    EmorefError
        If a worker was killed; everything finished by then is stored.
    """
    if workers < 1:
        raise ConfigError(f"workers is {workers}; it must be at least 1")
    for entrant in dict.fromkeys(trial.entrant for trial in trials):
        file.check_probe(entrant)
    missing = [trial for trial in trials if trial not in file.results]
    if not missing:
        return
    with _one_thread_each(), _pool(min(workers, len(missing))) as pool:
        running = {pool.submit(run, trial): trial for trial in missing}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield _store(file, running.pop(future), future)


def _store(file: TrialFile, trial: Trial, future: "Future[dict[str, float]]") -> Trial:
    try:
        file.add(trial, future.result())
    except BrokenProcessPool:
        raise EmorefError(
            f"a worker process was killed, perhaps for want of memory; {file.path} holds what was finished"
        ) from None
    return trial


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started in the block use one thread each; they inherit the environment."""
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes; when the block is left early, end them at once instead of waiting for their trials."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
