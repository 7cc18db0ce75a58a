"""The figures of a run, as plain plotly.js descriptions: ``{"data": [...], "layout": {...}}``.

Nothing here imports plotly; the page that shows the figures brings plotly.js along. Colours are names of CSS
variables (``"var(--base)"``), which the page resolves, so that one description serves light and dark screens.
Every string that comes from a configuration or a network is escaped, because plotly.js reads labels as a kind
of HTML.
"""

import html
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.report import tables
from emoref.report.tables import Cell, Individuals
from emoref.runs.record import NetworkRecord, RunRecord

Figure = dict[str, Any]

#: Points of past populations that the front's figure shows at most; more only slow the page down.
MAX_FAINT_POINTS = 1500
#: Colours of the selected networks, in the order in which they are listed; used again after the last.
SERIES_COLOURS = tuple(f"var(--series-{i})" for i in range(1, 7))
_MARKERS = ("diamond", "square", "triangle-up", "pentagon", "star", "hexagon")
_DIGITS = 6


def label(text: str) -> str:
    """Return text that plotly.js shows as it is: no markup, no ``%{...}`` templates."""
    return html.escape(text).replace("%", "&#37;").replace("\n", " ")


def series_colour(index: int) -> str:
    """Return the colour of the selected network at a position in the list."""
    return SERIES_COLOURS[index % len(SERIES_COLOURS)]


def base_layout(height_px: int, **entries: Any) -> dict[str, Any]:
    """Return the layout that all figures share: transparent, page fonts, quiet grid."""
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zerolinecolor": "var(--line)",
        "automargin": True,
        "title": {"standoff": 8},
    }
    layout: dict[str, Any] = {
        "height": height_px,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--text)", "size": 13, "family": "system-ui, sans-serif"},
        "margin": {"l": 48, "r": 12, "t": 12, "b": 40},
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--muted)",
            "font": {"color": "var(--text)", "size": 13},
            "align": "left",
        },
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "modebar": {
            "orientation": "v",
            "bgcolor": "rgba(0,0,0,0)",
            "color": "var(--faint)",
            "activecolor": "var(--text)",
        },
        "uirevision": "kept",
    }
    for key, value in entries.items():
        inherited = axis if key[1:5] == "axis" else layout.get(key)
        layout[key] = {**inherited, **value} if isinstance(inherited, dict) else value
    return layout


# ---------------------------------------------------------------------------------------------- the front


@dataclass(frozen=True)
class _Hover:
    """Hover data of individuals: the template and, for each point, its numbers."""

    template: str
    numbers: list[list[float | int | None]]


def front_figure(record: RunRecord) -> Figure:
    """Return error against remaining filter ratio: past populations, last front, base and selected networks.

    The error axis is logarithmic where all errors are positive and span more than a factor of 20.
    """
    data = []
    last = len(record.generations) - 1
    front = tables.individuals(record, -1, record.front())
    initial = tables.individuals(record, 0)
    if last > 0:
        past, generation = past_individuals(record)
        if len(generation):
            data.append(_faint(record, past, generation, "later generations", "var(--faint)"))
    data.append(
        _faint(record, initial, np.zeros(len(initial.filters), int), "initial population", "var(--initial)")
    )
    hover = _hover(record, front, "front of generation " + str(last))
    data.append(
        {
            "name": f"front, generation {last}",
            "x": _rounded(front.remaining_ratio),
            "y": _rounded(front.error),
            "mode": "lines+markers",
            "line": {"color": "var(--front)", "width": 1.5, "shape": "hv"},
            "marker": {"color": "var(--front)", "size": 8},
            "customdata": hover.numbers,
            "hovertemplate": hover.template,
        }
    )
    data += _network_traces(record)
    errors = [y for trace in data for y in trace["y"] if y is not None]
    logarithmic = bool(errors) and min(errors) > 0 and max(errors) > 20 * min(errors)
    layout = base_layout(
        470,
        xaxis={"title": {"text": "remaining filter ratio (filters kept / filters)"}, "rangemode": "tozero"},
        yaxis={
            "title": {"text": "validation error"},
            "type": "log" if logarithmic else "linear",
            "tickformat": "~p" if logarithmic else ".3~p",
            "rangemode": "tozero",
            "dtick": "D2" if logarithmic else None,
        },
        hovermode="closest",
    )
    return {"data": data, "layout": layout}


def past_individuals(record: RunRecord) -> tuple[Individuals, NDArray[np.int64]]:
    """Return what the generations after the first held beside the last front, and when it appeared first.

    Points that coincide in ratio and error are listed once; of more than :data:`MAX_FAINT_POINTS` an evenly
    spaced subset is returned.
    """
    last = len(record.generations) - 1
    parts = []
    for g in range(1, last + 1):
        count = len(record.generations[g].genomes)
        rows = np.setdiff1d(np.arange(count), record.front(g)) if g == last else np.arange(count)
        parts.append(tables.individuals(record, g, rows))
    generation = np.concatenate([np.full(len(p.filters), g + 1) for g, p in enumerate(parts)])
    joined = Individuals(
        kept=np.concatenate([p.kept for p in parts]),
        filters=np.concatenate([p.filters for p in parts]),
        remaining_ratio=np.concatenate([p.remaining_ratio for p in parts]),
        error=np.concatenate([p.error for p in parts]),
        wrong=None
        if parts[0].wrong is None
        else np.concatenate([p.wrong for p in parts if p.wrong is not None]),
    )
    points = np.stack([joined.remaining_ratio, joined.error], axis=1)
    front = tables.individuals(record, last, record.front(last))
    on_front = set(zip(front.remaining_ratio.tolist(), front.error.tolist(), strict=True))
    _, first = np.unique(points, axis=0, return_index=True)
    rows = np.array([i for i in np.sort(first) if tuple(points[i].tolist()) not in on_front], dtype=np.int64)
    if len(rows) > MAX_FAINT_POINTS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_FAINT_POINTS).astype(np.int64)]
    return _take(joined, rows), generation[rows]


def _take(points: Individuals, rows: NDArray[np.int64]) -> Individuals:
    return replace(
        points,
        kept=points.kept[rows],
        filters=points.filters[rows],
        remaining_ratio=points.remaining_ratio[rows],
        error=points.error[rows],
        wrong=None if points.wrong is None else points.wrong[rows],
    )


def _faint(
    record: RunRecord, points: Individuals, generation: NDArray[np.int64], name: str, colour: str
) -> dict[str, Any]:
    hover = _hover(record, points, "generation %{customdata[0]}", generation)
    return {
        "name": name,
        "x": _rounded(points.remaining_ratio),
        "y": _rounded(points.error),
        "mode": "markers",
        "marker": {"color": colour, "size": 5, "opacity": 0.6},
        "customdata": hover.numbers,
        "hovertemplate": hover.template,
    }


def _hover(
    record: RunRecord, points: Individuals, title: str, generation: NDArray[np.int64] | None = None
) -> _Hover:
    """Say what a point is; numbers go into customdata, so that the text of the template is stored once."""
    count = len(points.filters)
    when = np.zeros(count, dtype=np.int64) if generation is None else generation
    wrong = np.zeros(count, dtype=np.int64) if points.wrong is None else points.wrong
    numbers = [
        [int(w), int(f), int(e), *k.tolist()]
        for w, f, e, k in zip(when, points.filters, wrong, points.kept, strict=True)
    ]
    layers = [
        f"{label(name)} %{{customdata[{i + 3}]}}/{size}" for i, (name, size) in enumerate(record.layers)
    ]
    lines = [", ".join(layers[i : i + 4]) for i in range(0, len(layers), 4)]
    total = sum(size for _, size in record.layers)
    images = tables.fitness_images(record)
    counted = f" (%{{customdata[2]:,}} of {images:,} wrong)" if images else ""
    template = (
        f"<b>{title}</b><br>%{{customdata[1]:,}} of {total:,} filters kept (%{{x:.1%}})"
        f"<br>error %{{y:.2%}}{counted}<br>kept: " + "<br>".join(lines) + "<extra></extra>"
    )
    return _Hover(template, numbers)


def _network_traces(record: RunRecord) -> list[Figure]:
    """Return the base and the selected networks; a dotted line leads from before to after fine-tuning."""
    traces = []
    if record.base is not None:
        traces += _network_trace(record.base, "base network", "var(--base)", "circle-open", 18)
    for i, network in enumerate(record.selected):
        colour, symbol = series_colour(i), _MARKERS[i % len(_MARKERS)]
        traces += _network_trace(network, f"{label(network.name)}, fine-tuned", colour, symbol, 13)
    return traces


def _network_trace(network: NetworkRecord, name: str, colour: str, symbol: str, size: int) -> list[Figure]:
    ratio, outcome = round(network.remaining_ratio, _DIGITS), network.validation
    kept = [f"{label(layer)} {count}" for layer, count in network.kept.items()]
    text = (
        f"<b>{name}</b><br>{network.filters:,} of {network.filters_original:,} filters kept"
        f" ({network.remaining_ratio:.1%})<br>error {outcome.error_after:.2%}"
        f" ({outcome.wrong_after:,} of {outcome.images:,} wrong)"
    )
    if network.role != "base":
        text += f"<br>before fine-tuning {outcome.error_before:.2%} ({outcome.wrong_before:,} wrong)"
    text += "<br>kept: " + "<br>".join(", ".join(kept[i : i + 4]) for i in range(0, len(kept), 4))
    marker = {
        "name": name,
        "x": [ratio],
        "y": [round(outcome.error_after, _DIGITS)],
        "mode": "markers",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": size,
            "line": {"color": colour, "width": 2},
        },
        "hovertext": [text],
        "hoverinfo": "text",
        "legendgroup": network.name,
    }
    if outcome.wrong_before == outcome.wrong_after:
        return [marker]
    line = {
        "x": [ratio, ratio],
        "y": [round(outcome.error_before, _DIGITS), round(outcome.error_after, _DIGITS)],
        "mode": "lines",
        "line": {"color": colour, "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": network.name,
    }
    return [line, marker]


# ----------------------------------------------------------------------------------- progress and training


def progress_figures(record: RunRecord) -> dict[str, Figure]:
    """Return three small curves over the generations: hypervolume, lowest error, fewest filters."""
    rows = tables.generations_table(record).rows
    generation = [row[0] for row in rows]
    fewest = [row[3] for row in rows]
    most = max((f for f in fewest if isinstance(f, int)), default=0)
    panels: dict[str, tuple[str, list[Cell], dict[str, Any]]] = {
        "hypervolume": ("hypervolume", [row[5] for row in rows], {"tickformat": ".4~g"}),
        "lowest-error": (
            "lowest error",
            [row[4] for row in rows],
            {"tickformat": ".3~p", "rangemode": "tozero"},
        ),
        "fewest-filters": ("fewest filters", fewest, {"rangemode": "tozero", **whole_ticks(most)}),
    }
    figures = {}
    for key, (title, values, y_axis) in panels.items():
        trace = {
            "x": generation,
            "y": values,
            "mode": "lines+markers" if len(rows) <= 30 else "lines",
            "line": {"color": "var(--front)", "width": 2},
            "marker": {"size": 5},
            "name": title,
            "hovertemplate": f"generation %{{x}}<br>{title} {_value(key)}<extra></extra>",
        }
        layout = base_layout(
            220,
            xaxis={"title": {"text": "generation"}, **whole_ticks(len(rows))},
            yaxis=y_axis,
            showlegend=False,
        )
        figures[key] = {"data": [trace], "layout": layout}
    return figures


def whole_ticks(most: int) -> dict[str, Any]:
    """Return axis settings with ticks at whole numbers only, for values up to ``most``."""
    return {"tickformat": ",d", "nticks": 6, "dtick": 1 if most <= 6 else 2 if most <= 12 else None}


def curve_figures(record: RunRecord) -> dict[str, Figure]:
    """Return one small figure for each recorded training curve, with a line for each network.

    Returns
    -------
    dict
        Name of the curve (as recorded, e.g. ``"train_loss"``) -> figure.
    """
    members = tables.networks(record)
    names = list(
        dict.fromkeys(curve for network in members for curve, values in network.curves.items() if values)
    )
    names.sort(key=lambda curve: curve == "lr")  # the learning rate last, the others as recorded
    figures = {}
    for curve in names:
        data = []
        for network in members:
            values = network.curves.get(curve) or []
            if not values:
                continue
            position = record.selected.index(network) if network.role != "base" else 0
            name = "base network" if network.role == "base" else label(network.name)
            data.append(
                {
                    "name": name,
                    "x": list(range(1, len(values) + 1)),
                    "y": [_rounded_value(v) for v in values],
                    "mode": "lines+markers" if len(values) <= 30 else "lines",
                    "line": {
                        "color": "var(--base)" if network.role == "base" else series_colour(position),
                        "width": 2,
                    },
                    "marker": {"size": 5},
                    "hovertemplate": f"{name}<br>epoch %{{x}}: {_value(curve)}<extra></extra>",
                }
            )
        layout = base_layout(
            240,
            xaxis={"title": {"text": "epoch"}, **whole_ticks(max(len(trace["x"]) for trace in data))},
            yaxis={"tickformat": ".3~p" if "error" in curve else ".3~g", "nticks": 5, "rangemode": "tozero"},
            showlegend=False,
        )
        figures[curve] = {"data": data, "layout": layout}
    return figures


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(v) for v in np.round(values, _DIGITS)]


def _rounded_value(value: float) -> float | None:
    """Six significant digits; None (a gap) for a value that JSON cannot hold."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _value(quantity: str) -> str:
    """Return the template of a hover value: per cent for errors, four significant digits for the rest."""
    return "%{y:.2%}" if "error" in quantity else "%{y:.4~g}"
