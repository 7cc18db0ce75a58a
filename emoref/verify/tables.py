"""The published tables with emoref's figures beside them: summary, verdicts, Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from emoref.verify.published import ROWS, TOLERANCE, Figures, Row
from emoref.verify.trials import ENTRANTS, Trial

__all__ = ["FEWEST_SEEDS", "Line", "summarise", "to_markdown", "verdict"]

FEWEST_SEEDS = 11
"""With fewer seeds a median scatters too much to be judged for good."""


@dataclass(frozen=True)
class Line:
    """What an entrant reaches on a row, in one measure.

    Attributes
    ----------
    row : Row
        The row.
    entrant : str
        Key of `emoref.verify.trials.ENTRANTS`.
    measure : str
        ``"igd"``, ``"gamma"`` or ``"delta"``.
    values : tuple of float
        One for each seed that was run, ascending.
    limit : float or None
        Largest median (mean for ``"gamma"``) that passes; None if the line is reported and not judged.
    """

    row: Row
    entrant: str
    measure: str
    values: tuple[float, ...]
    limit: float | None

    @property
    def figures(self) -> Figures:
        """Best, median, worst, mean and variance over the seeds."""
        values = np.array(self.values)
        best, worst = self.values[0], self.values[-1]
        mean, variance = float(values.mean()), float(values.var())
        return Figures(best, float(np.median(values)), worst, mean, variance, label="measured")

    @property
    def value(self) -> float:
        """What is compared: the mean of ``gamma`` and ``delta``, the median otherwise."""
        found = self.figures.mean if self.row.table == "zdt" else self.figures.median
        assert found is not None
        return found

    @property
    def ratio(self) -> float | None:
        """The value divided by what it is compared with, or None if there is nothing."""
        factor = TOLERANCE if self.row.table != "zdt" else 1.0
        if self.limit is not None:
            return self.value * factor / self.limit
        paper = self.row.figures("paper", self.measure)
        other = paper.mean if self.row.table == "zdt" else paper.median
        return self.value / other if other else None

    @property
    def passed(self) -> bool | None:
        """Whether the value is within the limit; None if there is no limit."""
        return None if self.limit is None else bool(self.value <= self.limit)


def summarise(results: Mapping[Trial, Mapping[str, float]]) -> list[Line]:
    """Put the results of trials together.

    Parameters
    ----------
    results : mapping of Trial to mapping of str to float
        What was measured; see `emoref.verify.trials.TrialFile`.

    Returns
    -------
    list of Line
        By entrant, then in the order of the published tables; without rows that were not run, and without
        rows and entrants that this version does not know.
    """
    lines: dict[tuple[str, str, str], Line] = {}
    for entrant in ENTRANTS.values():
        for row in ROWS.values():
            found = [m for t, m in results.items() if (t.row, t.entrant) == (row.key, entrant.name)]
            for measure in row.measures if found else ():
                values = tuple(sorted(m[measure] for m in found))
                limit = _limit(
                    row, measure, lines.get((entrant.name, row.key.replace("scaled", "plain"), measure))
                )
                judged = row.table in entrant.judged
                lines[entrant.name, row.key, measure] = Line(
                    row, entrant.name, measure, values, limit if judged else None
                )
    return list(lines.values())


def _limit(row: Row, measure: str, plain: Line | None) -> float | None:
    if row.table != "scaled":
        return row.limit(measure)
    return None if plain is None else TOLERANCE * plain.value


def to_markdown(lines: Iterable[Line], planned: int, stored: int) -> str:
    """Write the tables as a Markdown page.

    Parameters
    ----------
    lines : iterable of Line
        What `summarise` returned.
    planned, stored : int
        Number of trials in the plan, and how many of them are done.

    Returns
    -------
    str
        The page.
    """
    parts = [_HEAD, f"{stored} of {planned} planned runs are in these tables.\n"]
    for (entrant, table), group in groupby(lines, key=lambda line: (line.entrant, line.row.table)):
        parts.append(f"\n## {ENTRANTS[entrant].title}: {_TITLES[table]}\n")
        write = _zdt_table if table == "zdt" else _dtlz_table
        parts += write(list(group))
    return "\n".join(parts) + "\n"


_TITLES = {"plain": "DTLZ1-4", "scaled": "scaled DTLZ1-2", "zdt": "ZDT"}

_HEAD = f"""# Published results, and emoref's

Written by `emoref verify --full`; the chapter on [conformance](conformance.md) says how to make it anew.

**NSGA-III.** Deb and Jain 2014: inverted generational distance of the last population to the targets (where
the reference lines meet the true front), the plain mean of Euclidean distances, best / median / worst of the
seeds. `[memory]` means that a figure was recalled and not read off the paper; `[measured]` are 11 seeds of
pymoo 0.6.2 on the same set-up. *ratio* is our median divided by the larger of both medians, or by the paper's
alone where pymoo was not measured; a row passes up to {TOLERANCE}. Rows with 15 objectives are reported. On
scaled problems (objectives divided by their scale before measuring) *ratio* is our median divided by our
median on the plain problem, where that was run.

**NSGA-II.** Deb et al. 2002: mean distance γ of the non-dominated set to 500 points of the true front, and
spread Δ, mean (variance) of the seeds. The paper's γ are larger than what the algorithm reaches today with as
many evaluations. They are therefore bounds: a row passes if our mean is not above the paper's. Δ is reported.

Verdicts in brackets rest on fewer than {FEWEST_SEEDS} seeds.
"""


def _dtlz_table(lines: Sequence[Line]) -> list[str]:
    rows = ["| problem | M | generations | paper | pymoo 0.6.2 | emoref | seeds | ratio | |"]
    rows.append("|---|---|---|---|---|---|---|---|---|")
    for line in lines:
        row = line.row
        paper, pymoo = (_triple(row.figures(source, line.measure)) for source in ("paper", "pymoo"))
        name = row.problem if row.table == "plain" else f"{row.problem}, factor {row.base:g}"
        ours = _triple(line.figures, label=False)
        rows.append(
            f"| {name} | {row.n_obj} | {row.generations} | {paper} | {pymoo} | {ours} "
            f"| {len(line.values)} | {_ratio(line)} | {verdict(line)} |"
        )
    return rows


def _zdt_table(lines: Sequence[Line]) -> list[str]:
    rows = ["| problem | | paper | emoref | seeds | ratio | |", "|---|---|---|---|---|---|---|"]
    for line in lines:
        paper = line.row.figures("paper", line.measure)
        ours = line.figures
        symbol = {"gamma": "γ", "delta": "Δ"}[line.measure]
        rows.append(
            f"| {line.row.problem} | {symbol} | {_pair(paper)} [{paper.label}] | {_pair(ours)} "
            f"| {len(line.values)} | {_ratio(line)} | {verdict(line)} |"
        )
    return rows


def verdict(line: Line) -> str:
    """Return the verdict on a `line`: pass, FAIL or nothing; in brackets with few seeds."""
    if line.passed is None:
        return ""
    word = "pass" if line.passed else "FAIL"
    return word if len(line.values) >= FEWEST_SEEDS else f"({word})"


def _triple(figures: Figures, label: bool = True) -> str:
    numbers = (figures.best, figures.median, figures.worst)
    if all(number is None for number in numbers):
        return "–"
    text = " / ".join("–" if number is None else f"{number:.3e}" for number in numbers)
    return f"{text} [{figures.label}]" if label else text


def _pair(figures: Figures) -> str:
    return f"{figures.mean:.6f} ({figures.variance:.6f})"


def _ratio(line: Line) -> str:
    return "–" if line.ratio is None else f"{line.ratio:.2f}"
