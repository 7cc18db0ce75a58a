"""Small pieces of HTML and of wording that the sections of the page share."""

import html
import json
from collections.abc import Sequence


def text(value: str) -> str:
    """Return a string from outside as HTML text, safe also inside a quoted attribute."""
    return html.escape(value, quote=True)


def json_in_script(value: object) -> str:
    """Return JSON that may stand inside a script element: no ``<``, so that nothing can close it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def missing(message: str) -> str:
    """Return the remark that stands where something is not there yet."""
    return f'<p class="missing">{message}</p>'


def read(message: str) -> str:
    """Return the line under a figure that says how to read it."""
    return f'<p class="read">{message}</p>'


def plot(name: str, title: str) -> str:
    """Return the place of a figure; the height is reserved by the script."""
    return f'<div class="plot" id="{name}" role="img" aria-label="{title}"></div>'


def key(colour: str) -> str:
    """Return a small square in a colour."""
    return f'<span class="key" style="background:{colour}"></span>'


def table(
    columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], text_columns: int, total: bool = False
) -> str:
    """Return a table of HTML cells; the first ``text_columns`` are set left, the last row may be a total."""

    def row(cells: tuple[str, ...], tag: str) -> str:
        kinds = [' class="text"' if i < text_columns else "" for i in range(len(cells))]
        return "".join(f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    head = f"<thead><tr>{row(columns, 'th')}</tr></thead>" if any(columns) else ""
    last = len(rows) - 1
    body = "".join(
        f"<tr{' class=' + chr(34) + 'total' + chr(34) if total and i == last else ''}>{row(cells, 'td')}</tr>"
        for i, cells in enumerate(rows)
    )
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def percent(ratio: float, digits: int = 2) -> str:
    """Return a ratio as per cent, e.g. 0.914 as ``91.4 %``."""
    return f"{100 * ratio:.{digits}f}\u00a0%"


def scaled(value: int, unit: str) -> str:
    """Return a count with a decimal prefix and three significant digits, e.g. 2293000 as ``2.29 MMAC``."""
    if value < 1000:
        return f"{value}\u00a0{unit}"
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor * 0.9995 or prefix == "k":
            number = value / factor
            digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
            return f"{number:.{digits}f}\u00a0{prefix}{unit}"
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Return a time span, e.g. ``41.2 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min\u00a0{rest:02d}\u00a0s"
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02d}\u00a0min"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. ``1 filter`` or ``2 filters``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
