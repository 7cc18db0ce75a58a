"""The table of ``bench/gpu.py``: its rows, as Markdown and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["BOUND", "Row", "to_markdown", "write_table"]

BOUND = 1e-4
"""Largest relative error of results that are right."""


@dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    part, case : str
        What was run.
    error : float
        Relative error against the reference in float64; for predictions, the share that differs.
    emoref_ms, torch_ms : float or None
        Milliseconds a call; None where not measured.
    detail : str
        More about the row, in words: where the time goes, what else was compared.
    """

    part: str
    case: str
    error: float
    emoref_ms: float | None = None
    torch_ms: float | None = None
    detail: str = ""

    @property
    def right(self) -> bool:
        """Whether the error keeps the bound; NaN does not."""
        return self.error <= BOUND

    @property
    def ratio(self) -> float | None:
        """PyTorch's time over emoref's: above 1, emoref is faster."""
        return self.torch_ms / self.emoref_ms if self.emoref_ms and self.torch_ms else None


def to_markdown(rows: Sequence[Row], about: Mapping[str, str], failures: Sequence[str]) -> str:
    """Return the table."""
    lines = [*(f"- {name}: {value}" for name, value in about.items()), ""]
    lines += [
        "| part | case | error | right | emoref (ms) | PyTorch (ms) | times as fast |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        own, peer, ratio = (
            f"{v:.3f}" if v is not None else "" for v in (row.emoref_ms, row.torch_ms, row.ratio)
        )
        verdict = "yes" if row.right else "NO"
        lines.append(f"| {row.part} | {row.case} | {row.error:.1e} | {verdict} | {own} | {peer} | {ratio} |")
    details = [f"- {row.part}, {row.case}: {row.detail}" for row in rows if row.detail]
    lines += ["", "In detail:", "", *details] if details else []
    return "\n".join([*lines, *(f"\nFAILED {failure}" for failure in failures), ""])


def write_table(
    out: Path,
    rows: Sequence[Row],
    about: Mapping[str, str],
    failures: Sequence[str],
    launches: Mapping[str, int],
) -> None:
    """Write ``out.md`` and ``out.json``; `launches` counts those of each kernel."""
    table = [{**asdict(row), "right": row.right, "ratio": row.ratio} for row in rows]
    content = {"about": about, "rows": table, "failures": failures, "launches": launches}
    out.with_suffix(".json").write_text(json.dumps(content, indent=1))
    out.with_suffix(".md").write_text(to_markdown(rows, about, failures))
