"""The section "Against the baselines": what the search gained over other methods at equal configurations."""

from collections.abc import Callable
from typing import Any

from emoref.report import figures, tables
from emoref.report.figures import Figure
from emoref.report.pieces import counted, key, missing, percent, plot, read, table, text
from emoref.runs.record import NetworkRecord, Outcome, RunRecord

Contenders = list[tuple[str, NetworkRecord]]
Wrong = Callable[[NetworkRecord, Outcome | None], int | None]

_CRITERION_COLOUR, _SCRATCH_COLOUR = "var(--muted)", "var(--initial)"
_ROW_HEIGHT_PX = 25


def section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show every selected network beside its baselines; nothing for a run without any."""
    if not record.baselines:
        wanted = record.config.get("baselines", {}).get("enabled", False)
        return missing("No baselines yet: they are trained after the selected networks.") if wanted else ""
    parts = [
        _comparison(record, index, network, drawn)
        for index, network in enumerate(record.selected)
        if network.name in record.baselines
    ]
    return "\n".join(parts) + read(
        "Each baseline keeps as many filters in every layer as the searched network, chosen from the same "
        "base network by another criterion, and is fine-tuned with the same recipe on the same batches. "
        "“scratch” is the same architecture trained from new weights for as many steps as the fine-tuning, "
        "“scratch-long” for as many as base training and fine-tuning together. In the figures, an open "
        "circle is the error before fine-tuning, a full one the error after it; further left is better. The "
        "search and the selection saw the validation images, so only the test errors compare fairly."
    )


def _comparison(record: RunRecord, index: int, network: NetworkRecord, drawn: dict[str, Figure]) -> str:
    members = tables.contenders(record, network)
    colour = figures.series_colour(index)
    panels = []
    for split in ("validation", "test"):
        if split == "validation" or all(member.test is not None for _, member in members):
            drawn[f"baselines-{index + 1}-{split}"] = comparison_figure(members, split, colour)
            title = f"{split} error of {text(network.name)} and its baselines"
            panels.append(
                f"<div><h4>{split.capitalize()} error</h4>"
                f"{plot(f'baselines-{index + 1}-{split}', title)}</div>"
            )
    return (
        f"<h3>{key(colour)}{text(network.name)}</h3>"
        f'<p class="verdict">{"<br>".join(text(line) for line in verdict(members))}</p>'
        f'<div class="panels">{"".join(panels)}</div>'
        f'<div class="methods">{_comparison_table(members)}</div>'
    )


def verdict(members: Contenders) -> list[str]:
    """Return in plain words, line by line, who wins before and after fine-tuning, and by how many images."""
    on_test = all(network.test is not None for _, network in members)
    lines = [
        _duel("Before fine-tuning", members, tables.wrong_before, on_test),
        _duel("After it", members, tables.wrong_after, on_test),
        "" if on_test else "The test set has not been used yet.",
    ]
    return [line for line in lines if line]


def _duel(when: str, members: Contenders, count: Wrong, on_test: bool) -> str:
    """Compare the searched network with the best criterion and with each training from scratch."""
    searched = _outcome(members[0][1], on_test)
    ours = count(members[0][1], searched)
    counts = [(count(network, _outcome(network, on_test)), name, network) for name, network in members[1:]]
    criteria = [(wrong, name) for wrong, name, net in counts if wrong is not None and not net.from_scratch]
    scratch = [(wrong, name) for wrong, name, net in counts if wrong is not None and net.from_scratch]
    if ours is None or not (criteria or scratch):
        return ""
    parts = [
        f"{when}, {ours:,} of {searched.images:,} {'test' if on_test else 'validation'} images are wrong"
    ]
    if criteria:
        best, name = min(criteria, key=lambda pair: pair[0])  # of equal ones the first listed
        beaten = sum(wrong > ours for wrong, _ in criteria)
        parts.append(
            f"with the best criterion, {name}, {best:,}: {_by(best - ours)} and beats "
            f"{beaten} of {len(criteria)} criteria"
        )
    parts += [f"with {name} {wrong:,}: {_by(wrong - ours)}" for wrong, name in scratch]
    return "; ".join(parts) + "."


def _by(lead: int) -> str:
    if lead == 0:
        return "the search draws"
    return f"the search {'wins' if lead > 0 else 'loses'} by {counted(abs(lead), 'image')}"


def _outcome(network: NetworkRecord, on_test: bool) -> Outcome:
    return network.test if on_test and network.test is not None else network.validation


def _comparison_table(members: Contenders) -> str:
    head = (
        "method",
        "filters shared",
        "validation error before",
        "validation error after",
        "test error before",
        "test error after",
        "wrong test images before",
        "wrong test images after",
    )
    searched = members[0][1]
    cells = []
    for method, network in members:
        shared = "" if network.from_scratch else f"{len(set(network.genome) & set(searched.genome)):,}"
        cells.append(
            (
                text(method),
                shared,
                *(
                    _percent(wrong(network, outcome), outcome)
                    for outcome in (network.validation, network.test)
                    for wrong in (tables.wrong_before, tables.wrong_after)
                ),
                *(
                    _wrong(wrong(network, network.test), wrong(searched, searched.test), network is searched)
                    for wrong in (tables.wrong_before, tables.wrong_after)
                ),
            )
        )
    return table(head, cells, text_columns=1)


def _percent(wrong: int | None, outcome: Outcome | None) -> str:
    return "–" if wrong is None or outcome is None else percent(wrong / outcome.images)


def _wrong(wrong: int | None, searched: int | None, is_searched: bool) -> str:
    """Return a count with its difference from the searched network's, e.g. ``512 (+200)``."""
    if wrong is None or searched is None:
        return "–"
    return f"{wrong:,}" if is_searched else f"{wrong:,} ({_signed(wrong - searched)})"


def _signed(difference: int) -> str:
    return "±0" if difference == 0 else f"{difference:+,}".replace("-", "−")


def comparison_figure(members: Contenders, split: str, colour: str) -> Figure:
    """Return the errors before and after fine-tuning, one row a method, the searched network on top.

    Parameters
    ----------
    members : list of (method, network)
        From :func:`emoref.report.tables.contenders`.
    split : {"validation", "test"}
        Whose errors.
    colour : str
        Of the searched network.
    """
    data = [
        _row(row, method, network, network.test if split == "test" else network.validation, colour)
        for row, (method, network) in enumerate(members)
    ]
    errors = [x for trace in data for x in trace["x"]]
    logarithmic = bool(errors) and min(errors) > 0 and max(errors) > 20 * min(errors)
    layout = figures.base_layout(
        58 + _ROW_HEIGHT_PX * len(members),
        xaxis={
            "type": "log" if logarithmic else "linear",
            "tickformat": "~p" if logarithmic else ".3~p",
            "dtick": "D2" if logarithmic else None,
            "nticks": 5,
            "tickangle": 0,
            "rangemode": "tozero",
        },
        yaxis={
            "tickmode": "array",
            "tickvals": list(range(len(members))),
            "ticktext": [figures.label(method) for method, _ in members],
            "range": [len(members) - 0.4, -0.6],
            "fixedrange": True,
            "zeroline": False,
        },
        showlegend=False,
    )
    layout["margin"] |= {"t": 4, "l": 8}
    return {"data": data, "layout": layout}


def _row(
    row: int, method: str, network: NetworkRecord, outcome: Outcome | None, colour: str
) -> dict[str, Any]:
    """Return one method's line from before (open circle) to after (full circle)."""
    points = [
        (wrong, words, symbol)
        for wrong, words, symbol in (
            (tables.wrong_before(network, outcome), "before fine-tuning", "circle-open"),
            (
                tables.wrong_after(network, outcome),
                "trained" if network.from_scratch else "fine-tuned",
                "circle",
            ),
        )
        if wrong is not None
    ]
    images = outcome.images if outcome is not None else 1
    own = colour if row == 0 else _SCRATCH_COLOUR if network.from_scratch else _CRITERION_COLOUR
    return {
        "name": figures.label(method),
        "x": [round(wrong / images, 6) for wrong, _, _ in points],
        "y": [row] * len(points),
        "mode": "lines+markers",
        "line": {"color": own, "width": 1.5},
        "marker": {
            "color": own,
            "size": 9,
            "symbol": [symbol for _, _, symbol in points],
            "line": {"color": own, "width": 2},
        },
        "hovertext": [
            f"<b>{figures.label(method)}</b>, {words}<br>error {wrong / images:.2%} "
            f"({wrong:,} of {images:,} wrong)"
            for wrong, words, _ in points
        ],
        "hoverinfo": "text",
    }
