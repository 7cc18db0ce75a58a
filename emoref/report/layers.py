"""Which filters the selected networks keep: bars of numbers and maps of indices, layer by layer."""

from typing import Any

from emoref.report import figures
from emoref.report.figures import Figure
from emoref.runs.record import NetworkRecord, RunRecord


def layers_figure(record: RunRecord) -> Figure:
    """Return kept and removed filters of every layer as stacked bars, one row of bars a selected network."""
    sizes = original_filters(record)
    rows = len(record.selected)
    layout = figures.base_layout(
        90 + 130 * rows, barmode="stack", showlegend=False, bargap=0.65 if len(sizes) <= 4 else 0.35
    )
    layout["margin"]["t"] = 0
    layout["xaxis"] |= {"anchor": _axis(rows - 1), "showgrid": False, "type": "category"}
    layout["annotations"] = []
    data: list[dict[str, Any]] = []
    for i, network in enumerate(record.selected):
        bottom, top = (rows - 1 - i) / rows, (rows - i - 0.3) / rows
        layout[_axis(i).replace("y", "yaxis")] = {
            **figures.base_layout(0)["yaxis"],
            "domain": [bottom, top],
            "range": [0, 1.22 * max(size for _, size in sizes)],
            "nticks": 4,
            "tickformat": "d",
        }
        layout["annotations"].append(_row_title(network, top))
        data += _bars(network, sizes, i)
    return {"data": data, "layout": layout}


def _axis(row: int) -> str:
    return "y" if row == 0 else f"y{row + 1}"


def _row_title(network: NetworkRecord, top: float) -> dict[str, Any]:
    return {
        "text": f"<b>{figures.label(network.name)}</b>",
        "x": 0,
        "y": top,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
    }


def _bars(network: NetworkRecord, sizes: list[tuple[str, int]], row: int) -> list[dict[str, Any]]:
    """Return the kept filters of a network and, stacked on them, the removed ones with the numbers above."""
    kept = [network.kept.get(name, 0) for name, _ in sizes]
    totals = [size for _, size in sizes]
    common: dict[str, Any] = {
        "type": "bar",
        "x": [figures.label(name) for name, _ in sizes],
        "yaxis": _axis(row),
    }
    hover = figures.label(network.name) + "<br>%{x}: %{y} "
    return [
        common
        | {
            "name": "kept",
            "y": kept,
            "marker": {"color": figures.series_colour(row)},
            "hovertemplate": f"{hover}kept<extra></extra>",
        },
        common
        | {
            "name": "removed",
            "y": [total - k for total, k in zip(totals, kept, strict=True)],
            "marker": {"color": "var(--removed)"},
            "text": [f"{k} of {n}" if len(sizes) <= 8 else f"{k}" for k, n in zip(kept, totals, strict=True)],
            "textposition": "outside",
            "cliponaxis": False,
            "hovertemplate": f"{hover}removed<extra></extra>",
        },
    ]


def original_filters(record: RunRecord) -> list[tuple[str, int]]:
    """Return the prunable layers and their filters in the base network, in genome order."""
    return record.layers or (list(record.base.kept.items()) if record.base is not None else [])


def kept_map_svg(filters: int, kept: list[list[int]], colours: list[str]) -> str:
    """Return a map of one layer as inline SVG: a row for each network, a cell for each filter.

    Parameters
    ----------
    filters : int
        Filters of the layer in the base network.
    kept : list of list of int
        For each network the indices of the filters it keeps, ascending, from 0.
    colours : list of str
        Fill of the kept filters of each network, e.g. ``"var(--series-1)"``.
    """
    rows = len(kept)
    cells = [
        f'<rect x="0" y="{y * 10}" width="{filters * 10}" height="8" class="removed"/>' for y in range(rows)
    ]
    for y, (indices, colour) in enumerate(zip(kept, colours, strict=True)):
        for first, last in runs(indices):
            name = f"filter {first}" if first == last else f"filters {first} to {last}"
            cells.append(
                f'<rect x="{first * 10 + 1}" y="{y * 10}" width="{(last - first + 1) * 10 - 2}" height="8" '
                f'style="fill:{colour}"><title>{name} kept</title></rect>'
            )
    width_px = min(filters * 14, 900)
    return (
        f'<svg class="map" viewBox="0 0 {filters * 10} {rows * 10}" preserveAspectRatio="none" role="img" '
        f'aria-label="filters kept, one row a network" style="max-width:{width_px}px;height:{rows * 12}px">'
        f"{''.join(cells)}</svg>"
    )


def runs(indices: list[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive integers as (first, last), e.g. [0, 1, 4] as [(0, 1), (4, 4)]."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found


def kept_indices(record: RunRecord, network: NetworkRecord) -> list[list[int]]:
    """Return for each prunable layer the indices, within the layer, of the filters that a network keeps."""
    result, start = [], 0
    for _, size in original_filters(record):
        result.append(sorted(int(i) - start for i in network.genome if start <= i < start + size))
        start += size
    return result
