"""What the command line shows of checks: tables for a terminal, and the lines below them."""

from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from emoref.verify.records import CheckResult, Finding
from emoref.verify.tables import Line, verdict

__all__ = ["full_table", "remarks", "result_tables"]


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, side in columns:
        table.add_column(title, justify="right" if side == "right" else "left")
    return table


def result_tables(results: Sequence[CheckResult | Finding]) -> Iterator[Table]:
    """Yield tables of checks.

    Parameters
    ----------
    results : sequence of CheckResult or Finding
        What `emoref.verify.verify` yielded.

    Yields
    ------
    rich.table.Table
        One of comparisons with golden values, with the worst error, and one of properties, with the smallest
        counter-example; each only if there are such results.
    """
    compared = [result for result in results if isinstance(result, CheckResult)]
    findings = [result for result in results if isinstance(result, Finding)]
    if compared:
        right = "right"
        numbers = (("cases", right), ("worst error", right), ("tolerance", right))
        table = _table(("checked", ""), ("operation", ""), *numbers, ("", ""))
        for result in compared:
            error, tolerance = f"{result.worst_error:.1e}", f"{result.tolerance:.0e}"
            outcome = "pass" if result.passed else "FAIL"
            table.add_row(result.subject, result.check, str(result.cases), error, tolerance, outcome)
        yield table
    if findings:
        table = _table((findings[0].subject, ""), ("cases", "right"), ("", ""), ("counter-example", ""))
        for finding in findings:
            outcome = "holds" if finding.passed else "FAILS"
            table.add_row(finding.check, str(finding.cases), outcome, Text(finding.counter_example))
        yield table


def remarks(results: Sequence[CheckResult | Finding]) -> Iterable[str]:
    """Yield the lines below the table.

    Parameters
    ----------
    results : sequence of CheckResult or Finding
        What the table shows.

    Yields
    ------
    str
        Where each failed comparison is worst, and how many checks passed; of other libraries, that their
        failures are findings about them.
    """
    compared = [result for result in results if isinstance(result, CheckResult)]
    findings = [result for result in results if isinstance(result, Finding)]
    for result in compared:
        if not result.passed:
            yield f"{result.subject}, {result.check}: worst in {result.worst_case}"
    if compared or not findings:
        yield f"{sum(result.passed for result in compared)} of {len(compared)} checks passed"
    if findings:
        held = sum(finding.passed for finding in findings)
        yield f"{held} of {len(findings)} properties hold for {findings[0].subject}"
        if held < len(findings) and not findings[0].ours:
            yield "What fails is a finding about that library, not about this installation."


def full_table(lines: Iterable[Line]) -> Table:
    """Return a table of published rows and emoref's figures.

    Parameters
    ----------
    lines : iterable of emoref.verify.tables.Line
        What `emoref.verify.full.verify_full` returned.

    Returns
    -------
    rich.table.Table
        One line for each row, entrant and measure. The value is the median, or in tables of means the mean.
    """
    right = "right"
    numbers = (("value", right), ("ratio", right), ("seeds", right))
    table = _table(("row", ""), ("algorithm", ""), ("", ""), *numbers, ("", ""))
    for column in table.columns:
        column.no_wrap = True
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        value, seeds = f"{line.value:.3e}", str(len(line.values))
        table.add_row(line.row.key, line.entrant, line.measure, value, ratio, seeds, verdict(line))
    return table
