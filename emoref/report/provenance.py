"""Where a run comes from: configuration, versions, machine, and how long its stages ran."""

from typing import Any

import tomli_w

from emoref.runs import provenance
from emoref.runs.record import RunRecord

_STARTS = ("start", "resume")
_SCORED = ("evaluated", "from_cache", "from_file", "raced", "images_saved")
_STAGES = {
    "base": "measuring the base network",
    "generation": "search",
    "fine-tuned": "measuring fine-tuned networks",
    "measured": "measuring baselines without fine-tuning",
    "tested": "test set",
    "end": "closing",
}


def config_text(record: RunRecord) -> str:
    """Return the complete configuration as TOML text: the run's own ``config.toml`` where it can be read."""
    try:
        return record.folder.config.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return tomli_w.dumps(_without_none(record.config))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


def origin(record: RunRecord) -> tuple[dict[str, str], bool]:
    """Return versions and machine as one table, and whether they are those of the run.

    Taken from the last logged event that carries the fields ``versions`` and ``machine``. A log without one
    gives what this report is written with, and False.
    """
    for event in reversed(record.events):
        logged = (event.get("versions"), event.get("machine"))
        if all(isinstance(table, dict) for table in logged):
            return {str(k): str(v) for table in logged for k, v in table.items()}, True
    here: dict[str, Any] = {**provenance.versions(), **provenance.machine()}
    return {k: str(v) for k, v in here.items()}, False


def executed_macs(record: RunRecord) -> int:
    """Return the multiply-accumulates that the searches have executed, as their log says; 0 if it does not.

    Generations that an interruption lost are not in it, and what resuming did again is there twice.
    """
    found = (event.get("macs") for event in record.events if event.get("event") == "generation")
    return sum(macs for macs in found if isinstance(macs, int) and not isinstance(macs, bool))


def scored_candidates(record: RunRecord) -> dict[str, int]:
    """Return where the searches' candidates got their counts from, as their log says; empty if it does not.

    ``evaluated``, ``from_cache`` and ``from_file`` as in :class:`emoref.search.Spent`; where racing was on,
    ``raced``, those of the first that were stopped, and ``images_saved``, which they were not run on. As for
    :func:`executed_macs`, what an interruption lost is not in it.
    """
    totals: dict[str, int] = {}
    for event in record.events:
        if event.get("event") == "generation":
            for name in _SCORED:
                value = event.get(name)
                if isinstance(value, int) and not isinstance(value, bool):
                    totals[name] = totals.get(name, 0) + value
    return totals


def scored_words(record: RunRecord) -> str:
    """Return :func:`scored_candidates` in words; empty where the log says nothing."""
    found = scored_candidates(record)
    if "evaluated" not in found:
        return ""
    known, of_file = found.get("from_cache", 0), found.get("from_file", 0)
    file = f" ({of_file:,} of them by an earlier process)" if of_file else ""
    raced = ""
    if "raced" in found:
        raced = f"; racing stopped {found['raced']:,} early and saved {found.get('images_saved', 0):,} images"
    return f"{found['evaluated']:,} evaluated, {known:,} from the cache{file}{raced}"


def warnings(record: RunRecord) -> list[str]:
    """Return the warnings in the log, equal ones once, the first first."""
    found = (event.get("message") for event in record.events if event.get("event") == "warning")
    return list(dict.fromkeys(message for message in found if isinstance(message, str)))


def stage_times(record: RunRecord) -> list[tuple[str, float]]:
    """Return how long each stage ran, in seconds, in the order of the log.

    The time between two events counts for the stage of the later one, except where that is a start or a
    continuation of the run: pauses are left out, and so is work that an interruption lost.
    """
    times: dict[str, float] = {}
    previous: float | None = None
    for event in record.events:
        time_s = event.get("time_s")
        if isinstance(time_s, bool) or not isinstance(time_s, int | float):
            continue
        if previous is not None and not _is_start(event):
            stage = _stage(event)
            times[stage] = times.get(stage, 0.0) + max(0.0, time_s - previous)
        previous = float(time_s)
    return list(times.items())


def _is_start(event: dict[str, Any]) -> bool:
    return event.get("event") in _STARTS or "machine" in event


def _stage(event: dict[str, Any]) -> str:
    name = str(event.get("event", "other"))
    if name == "epoch":
        training = str(event.get("training", "network"))
        before, slash, _ = training.partition("/")  # "fine-tune kept-9/l1", "train kept-9/scratch"
        return f"training: baselines of {before.split(' ')[-1]}" if slash else f"training: {training}"
    return _STAGES.get(name, name)
