"""What joined networks were measured to be: one JSON file for each kind of measurement, in ``joint/``."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from emoref.errors import FileFormatError
from emoref.runs.folder import RunFolder, write_text_atomic

__all__ = [
    "MeasuredScheme",
    "RankedMember",
    "Ranking",
    "SchemeSet",
    "read_ranking",
    "read_schemes",
    "write_ranking",
    "write_schemes",
]

_MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class RankedMember:
    """A member of a stage's front, put alone into the intact network.

    Attributes
    ----------
    stage, index : int
        Which, both counted from 0; `index` is the place in the front, least multiply-accumulates first.
    saved_macs : int
        Multiply-accumulates that it saves.
    wrong : int
        Wrong predictions of the network with it.
    """

    stage: int
    index: int
    saved_macs: int
    wrong: int


@dataclass(frozen=True)
class Ranking:
    """All members of all fronts, measured.

    Attributes
    ----------
    images : int
        How many images predictions were counted on.
    macs : int
        Multiply-accumulates of the intact network for one image.
    stage_macs : tuple of int
        Those of each stage.
    intact_wrong : int
        Wrong predictions of the intact network.
    members : tuple of RankedMember
        By stage and place.
    evaluations : int
        Networks that were evaluated.
    macs_executed : int
        What that took.
    """

    images: int
    macs: int
    stage_macs: tuple[int, ...]
    intact_wrong: int
    members: tuple[RankedMember, ...]
    evaluations: int
    macs_executed: int


@dataclass(frozen=True)
class MeasuredScheme:
    """A joint scheme: which member of each stage's front (-1: the stage as it was), and what it gives.

    Attributes
    ----------
    choice : tuple of int
        A place in each front.
    level : float or None
        The impairment (in wrong predictions) or the rate that it follows from.
    saved_macs, wrong : int
        Saved multiply-accumulates, and wrong predictions before fine-tuning.
    """

    choice: tuple[int, ...]
    level: float | None
    saved_macs: int
    wrong: int


@dataclass(frozen=True)
class SchemeSet:
    """The joint schemes that one rule made.

    Attributes
    ----------
    rule : str
        "schemes" (equal impairment), "random" or "equal-rate"; or "whole-features": no joint schemes but the
        front of a search over the whole network, each with its place there.
    schemes : tuple of MeasuredScheme
        In the order in which the rule gives them.
    evaluations, macs_executed : int
        As for :class:`Ranking`.
    """

    rule: str
    schemes: tuple[MeasuredScheme, ...]
    evaluations: int
    macs_executed: int


def write_ranking(folder: RunFolder, ranking: Ranking) -> None:
    """Store `ranking` as ``joint/ranking.json``, atomically."""
    _write(folder, "ranking", asdict(ranking))


def read_ranking(folder: RunFolder) -> Ranking | None:
    """Return the stored ranking, or None if there is none yet.

    Raises
    ------
    FileFormatError
        If the file is damaged.
    """
    table = _read(folder, "ranking")
    if table is None:
        return None
    try:
        members = tuple(RankedMember(**member) for member in table.pop("members"))
        return Ranking(stage_macs=tuple(table.pop("stage_macs")), members=members, **table)
    except (KeyError, TypeError) as error:
        raise _damaged(folder, "ranking", error) from None


def write_schemes(folder: RunFolder, schemes: SchemeSet) -> None:
    """Store `schemes` as ``joint/<rule>.json``, atomically."""
    _write(folder, schemes.rule, asdict(schemes))


def read_schemes(folder: RunFolder, rule: str) -> SchemeSet | None:
    """Return the stored schemes of `rule`, or None if there are none yet.

    Raises
    ------
    FileFormatError
        If the file is damaged.
    """
    table = _read(folder, rule)
    if table is None:
        return None
    try:
        schemes = tuple(
            MeasuredScheme(**{**one, "choice": tuple(int(i) for i in one["choice"])})
            for one in table.pop("schemes")
        )
        return SchemeSet(schemes=schemes, **table)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, rule, error) from None


def _write(folder: RunFolder, name: str, table: dict[str, Any]) -> None:
    folder.make_folder(folder.joint)
    write_text_atomic(folder.joint / f"{name}.json", json.dumps(table, indent=1) + "\n")


def _read(folder: RunFolder, name: str) -> dict[str, Any] | None:
    path = folder.joint / f"{name}.json"
    try:
        if not path.exists():
            return None
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        table = json.loads(path.read_text("utf-8"))
        if not isinstance(table, dict):
            raise ValueError("not a table")
        return table
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error})") from None


def _damaged(folder: RunFolder, name: str, error: Exception) -> FileFormatError:
    return FileFormatError(f"{folder.joint / name}.json: damaged ({type(error).__name__} {error})")
