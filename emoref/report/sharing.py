"""The sections of a run with several tasks: stored parameters against error, index matrices, searches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoref.compress import IndexMatrix, load_shared
from emoref.report import figures, sharing_tables
from emoref.report.figures import Figure
from emoref.report.layers import runs
from emoref.report.pieces import counted, key, missing, percent, plot, read, scaled, table, text
from emoref.runs.record import RunRecord
from emoref.runs.shared_record import SharedRecord, shared_file
from emoref.runs.sparse_record import SparseRecord
from emoref.runs.store import SearchStore
from emoref.search import SlotSearch
from emoref.systems.layer_slots import chosen_row

_SHARED_COLOUR, _PRIVATE_COLOUR = "var(--front)", "var(--initial)"
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "pentagon", "star", "hexagon", "cross")

#: Fronts that the page shows at most; the others are in ``searches/``.
MAX_FRONTS = 12


def summary(record: RunRecord) -> str:
    """Return what the run found, in one or two plain sentences with the numbers."""
    base = record.config.get("base", {}).get("network", "network")
    data = record.config.get("data", {})
    tasks = len(data.get("tasks", []))
    where = f"{base} on {data.get('name', 'unnamed data')}, {counted(tasks, 'task')}"
    selected = sharing_tables.selected(record)
    if not selected:
        return f"{where}: no network has been pruned and trained yet."
    split = _split(selected)
    best = min(selected, key=lambda one: (one.mean_error("after", split) or 0.0, one.stored_total))
    return (
        f"{where}: {counted(best.stored_original, 'parameter')} in separate networks. {best.name} stores "
        f"{percent(best.stored_ratio, 1)} of them, mean {split} error "
        f"{percent(best.mean_error('after', split) or 0.0)} against "
        f"{percent(best.mean_error('original', split) or 0.0)} unpruned"
        + ("." if split == "test" else " (not measured on the test set yet).")
    )


def lines(record: RunRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return what the command line prints about the networks."""
    titles = ("network", "stored", "of original", "slots shared", "val. error", "trained", "test error")
    rows = []
    for one in sharing_tables.members(record):
        errors = [one.mean_error("before"), one.mean_error("after"), one.mean_error("after", "test")]
        shown = ["-" if error is None else f"{error:.2%}" for error in errors]
        ratios = (f"{one.stored_ratio:.1%}", f"{one.sharing_ratio:.1%}")
        rows.append((one.name, f"{one.stored_total:,}", *ratios, *shown))
    return titles, rows


def _split(networks: list[SharedRecord]) -> str:
    return "test" if all(task.test_images for one in networks for task in one.tasks) else "validation"


# ---------------------------------------------------------------------------------------- stored and error


def storage_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show mean error against stored parameters, one line a variant."""
    networks = sharing_tables.members(record)
    if not networks:
        return missing("No network yet: the tasks' networks are trained first.")
    drawn["storage"] = storage_figure(networks)
    return plot("storage", "Mean error against stored parameters") + read(
        "Further left is smaller, lower is better; errors are means over the tasks on the "
        f"{_split(networks)} images, after the joint training. A line joins the networks of one variant, or "
        "the baselines of one method. Stored parameters count a shared filter once; 100 % are the separate, "
        "unpruned networks, whose error is the dotted line."
    )


def storage_figure(networks: list[SharedRecord]) -> Figure:
    """Return mean error against stored parameters, in shares of the unpruned networks."""
    split = _split(networks)
    titles = dict.fromkeys(_title(one) for one in networks)
    data: list[dict[str, Any]] = []
    for number, title in enumerate(titles):
        some = sorted((one for one in networks if _title(one) == title), key=lambda one: one.stored_total)
        baseline = some[0].role == "baseline"
        colour = "var(--muted)" if baseline else figures.series_colour(number)
        data.append(
            {
                "name": figures.label(title),
                "x": [round(one.stored_ratio, 6) for one in some],
                "y": [round(one.mean_error("after", split) or 0.0, 6) for one in some],
                "mode": "lines+markers",
                "line": {"color": colour, "width": 1.5, "dash": "dot" if baseline else "solid"},
                "marker": {"color": colour, "size": 9, "symbol": _SYMBOLS[number % len(_SYMBOLS)]},
                "hovertext": [_hover(one, split) for one in some],
                "hoverinfo": "text",
            }
        )
    original = networks[0].mean_error("original", split) or 0.0
    layout = figures.base_layout(
        430,
        xaxis={
            "title": {"text": "stored parameters / parameters of the separate networks"},
            "rangemode": "tozero",
            "tickformat": ".0%",
        },
        yaxis={"title": {"text": f"mean {split} error"}, "tickformat": ".3~p"},
        hovermode="closest",
        shapes=[
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": original,
                "y1": original,
                "line": {"color": "var(--base)", "width": 1, "dash": "dot"},
            }
        ],
    )
    return {"data": data, "layout": layout}


def _title(one: SharedRecord) -> str:
    return one.variant if one.role == "selected" else f"baseline {one.variant}"


def _hover(one: SharedRecord, split: str) -> str:
    each = [
        f"{figures.label(task.task)} {task.error('after', split) or 0.0:.2%}"
        f" (unpruned {task.error('original', split) or 0.0:.2%})"
        for task in one.tasks
    ]
    return (
        f"<b>{figures.label(one.name)}</b><br>{one.stored_total:,} stored parameters "
        f"({one.stored_ratio:.1%})<br>" + "<br>".join(each)
    )


# -------------------------------------------------------------------------------------------- index matrix


def index_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the index matrix of every selected network, layer by layer."""
    selected = sharing_tables.selected(record)
    if not selected:
        return missing("No index matrix yet: no layer has been searched to the end.")
    colours = (("shared", _SHARED_COLOUR), ("private", _PRIVATE_COLOUR), ("removed", "var(--removed)"))
    keys = "".join(f"<span>{key(colour)}{name}</span>" for name, colour in colours)
    parts = [f'<div class="keys">{keys}</div>']
    for one in selected:
        shared, _ = load_shared(shared_file(record.folder, one.name))
        rows = "".join(
            f'<span>{text(layer)} <span class="muted">{slots.size:,}</span></span>'
            f"{index_svg(shared.index, layer)}"
            for layer, slots in shared.index.layers.items()
        )
        parts.append(f'<h3>{text(one.name)}</h3><div class="maps">{rows}</div>')
    return "".join(parts) + read(
        "One block a layer, one line in it a task, one cell a slot. Where a slot is shared, the tasks that "
        "keep it use one stored filter; a private slot is a filter of that task alone; where it is removed, "
        "the task goes without. Slots that no task keeps are gone for good. Point at cells for the slots."
    )


def index_svg(index: IndexMatrix, layer: str) -> str:
    """Return one layer of an index matrix as inline SVG: a row for each task, a cell for each slot.

    Parameters
    ----------
    index : IndexMatrix
        The index matrix.
    layer : str
        Which layer.
    """
    slots = index.layers[layer]
    size, rows = slots.size, len(index.tasks)
    cells = []
    for y, (task, kinds) in enumerate(zip(index.tasks, slots.kinds(), strict=True)):
        cells.append(f'<rect x="0" y="{y * 10}" width="{size * 10}" height="8" class="removed"/>')
        for kind, name, colour in ((2, "shared", _SHARED_COLOUR), (1, "private", _PRIVATE_COLOUR)):
            for first, last in runs([int(i) for i in np.flatnonzero(kinds == kind)]):
                where = f"slot {first}" if first == last else f"slots {first} to {last}"
                cells.append(
                    f'<rect x="{first * 10 + 1}" y="{y * 10}" width="{(last - first + 1) * 10 - 2}" '
                    f'height="8" style="fill:{colour}"><title>{text(task)}: {where} {name}</title></rect>'
                )
    return (
        f'<svg class="map" viewBox="0 0 {size * 10} {rows * 10}" preserveAspectRatio="none" role="img" '
        f'aria-label="slots of {text(layer)}, one row a task" '
        f'style="max-width:{min(size * 14, 900)}px;height:{rows * 12}px">{"".join(cells)}</svg>'
    )


# ------------------------------------------------------------------------------------------------ networks


def networks_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show stored parameters by kind and the errors of every task."""
    networks = sharing_tables.members(record)
    if not networks:
        return missing("No network yet.")
    drawn["kinds"] = kinds_figure(networks)
    head = (
        "network",
        "task",
        "stored",
        "shared slots",
        "task's MACs",
        "validation error unpruned",
        "pruned",
        "trained",
        "test error unpruned",
        "trained",
        "change",
    )
    cells = [_task_cells(one, t) for one in networks for t in range(len(one.tasks))]
    return (
        plot("kinds", "Stored parameters by kind")
        + f'<div class="networks">{table(head, cells, text_columns=2)}</div>'
        + read(
            "“Pruned” is the error before the joint training, “trained” after it. The baselines of a network "
            "store no more parameters than the network itself and are trained with the same recipe on the "
            "same batches. The exported network of a task computes what its view of the shared one computes."
        )
    )


def kinds_figure(networks: list[SharedRecord]) -> Figure:
    """Return stacked bars of the stored parameters by kind, one bar a network."""
    kinds = (
        ("shared", "shared filters", _SHARED_COLOUR),
        ("private", "private filters", _PRIVATE_COLOUR),
        ("heads", "heads", "var(--series-3)"),
        ("norms", "batch norms and other", "var(--series-2)"),
    )
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": words,
            "y": [figures.label(one.name) for one in networks],
            "x": [one.stored[kind] for one in networks],
            "marker": {"color": colour},
            "hovertemplate": f"%{{y}}<br>{words}: %{{x:,}} parameters<extra></extra>",
        }
        for kind, words, colour in kinds
        if any(one.stored[kind] for one in networks)
    ]
    layout = figures.base_layout(
        110 + 24 * len(networks),
        barmode="stack",
        xaxis={"title": {"text": "stored parameters"}},
        yaxis={"autorange": "reversed", "showgrid": False},
    )
    return {"data": data, "layout": layout}


def _task_cells(one: SharedRecord, t: int) -> tuple[str, ...]:
    task = one.tasks[t]
    first = t == 0
    name = f'{text(one.name)}<br><span class="muted">{text(one.choice)}</span>' if first else ""
    before, after = task.error("original", "test"), task.error("after", "test")
    change = "–" if before is None or after is None else f"{100 * (after - before):+.2f}".replace("-", "−")
    return (
        name,
        text(task.task),
        f"{one.stored_total:,} ({percent(one.stored_ratio, 1)})" if first else "",
        percent(one.sharing_ratio, 1) if first else "",
        scaled(task.macs, "MAC"),
        *(_percent(task.error(which)) for which in ("original", "before", "after")),
        _percent(before),
        _percent(after),
        change,
    )


def _percent(error: float | None) -> str:
    return "–" if error is None else percent(error)


# ------------------------------------------------------------------------------------------------ searches


def searches_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the last front of each layer's search in parallel coordinates."""
    if not record.searches:
        return missing("No search yet: there is no front to show.")
    parts = []
    for number, (name, store) in enumerate(list(record.searches.items())[:MAX_FRONTS], start=1):
        drawn[f"objectives-{number}"] = objectives_figure(store)
        where = plot(f"objectives-{number}", f"Front of {text(name)}")
        parts.append(f"<div><h3>{text(name)}</h3>{where}</div>")
    left = len(record.searches) - MAX_FRONTS
    more = missing(f"{counted(left, 'further front')} in searches/ not shown.") if left > 0 else ""
    return f'<div class="panels">{"".join(parts)}</div>{more}' + read(
        "Each line is one solution of a layer's last front, each axis one objective, scaled from the "
        "best (0) to the worst (1) of that front; lines that cross are trade-offs. Grey are the "
        "reference points of NSGA-III, thick is the solution that was chosen, nearest to the ideal point."
    )


def objectives_figure(store: SearchStore) -> Figure:
    """Return a layer's last front in parallel coordinates, with reference points and the chosen solution."""
    last = store.generations[-1]
    names = [str(name) for name in store.layout["objectives"]]
    front = last.objectives[np.flatnonzero(last.ranks == 0)]
    points = SlotSearch(divisions=int(store.layout["divisions"])).reference_points(len(names))
    return parallel_figure(names, front, points, {"chosen": last.objectives[chosen_row(last)]})


def parallel_figure(names: Sequence[str], front: Any, points: Any, chosen: Mapping[str, Any]) -> Figure:
    """Return a front in parallel coordinates, each objective scaled to [0, 1] over the front.

    Parameters
    ----------
    names : sequence of str
        The objectives.
    front : float array, shape (N, M)
        Their values.
    points : float array, shape (H, M)
        Reference points; may be none.
    chosen : mapping of str to float array, shape (M,)
        Members of the front by name, drawn thick.
    """
    low = front.min(axis=0)
    width = np.where(front.max(axis=0) > low, front.max(axis=0) - low, 1.0)
    axis = [figures.label(name).replace(" (", "<br>(") for name in names]
    data = [
        _lines("reference points", points, axis, "var(--faint)", 0.35, 1.0),
        _lines("front", (front - low) / width, axis, "var(--front)", 0.35, 1.0),
    ]
    data += [
        _lines(
            figures.label(name), ((values - low) / width)[None], axis, figures.series_colour(number), 1.0, 3.0
        )
        for number, (name, values) in enumerate(chosen.items())
    ]
    layout = figures.base_layout(
        300,
        xaxis={"type": "category", "tickangle": 0},
        yaxis={"range": [-0.03, 1.03], "nticks": 3},
        hovermode=False,
    )
    return {"data": data, "layout": layout}


def _lines(
    name: str, rows: Any, axis: list[str], colour: str, opacity: float, width_px: float
) -> dict[str, Any]:
    """Return many lines as one trace, with gaps between them."""
    x: list[str | None] = []
    y: list[float | None] = []
    for row in np.asarray(rows):
        x += [*axis, None]
        y += [*(round(float(value), 4) for value in row), None]
    return {
        "name": name,
        "x": x,
        "y": y,
        "mode": "lines",
        "opacity": opacity,
        "line": {"color": colour, "width": width_px},
        "hoverinfo": "skip",
    }


# ------------------------------------------------------------------------------------------------ training


def curves_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the curves of the joint trainings of the selected networks."""
    selected = sharing_tables.selected(record)
    if not selected:
        return missing("No joint training yet.")
    return curve_panels(selected, drawn, "sum of the losses") + read(
        "After each epoch of the joint training: the sum of the tasks' mean losses, and the mean of their "
        "validation errors."
    )


def curve_panels(
    networks: Sequence[SharedRecord | SparseRecord], drawn: dict[str, Figure], loss_title: str
) -> str:
    """Draw loss and mean validation error of the joint trainings, side by side."""
    panels = []
    for curve, title in (("train_loss", loss_title), ("validation_error", "mean validation error")):
        drawn[f"joint-{curve}"] = _curve_figure(networks, curve)
        panels.append(f"<div><h3>{title}</h3>{plot(f'joint-{curve}', title)}</div>")
    return f'<div class="panels">{"".join(panels)}</div>'


def _curve_figure(networks: Sequence[SharedRecord | SparseRecord], curve: str) -> Figure:
    data = [
        {
            "name": figures.label(one.name),
            "x": list(range(1, len(one.curves[curve]) + 1)),
            "y": [float(f"{value:.6g}") for value in one.curves[curve]],
            "mode": "lines+markers",
            "line": {"color": figures.series_colour(number), "width": 2},
            "marker": {"size": 5},
        }
        for number, one in enumerate(networks)
    ]
    epochs = max(len(one.curves[curve]) for one in networks)
    layout = figures.base_layout(
        260,
        xaxis={"title": {"text": "epoch"}, **figures.whole_ticks(epochs)},
        yaxis={"tickformat": ".3~p" if "error" in curve else ".3~g", "rangemode": "tozero"},
    )
    return {"data": data, "layout": layout}


SECTIONS = (
    ("Stored parameters against error", storage_section),
    ("The index matrix", index_section),
    ("Networks and tasks", networks_section),
    ("The searches of the layers", searches_section),
    ("Joint training", curves_section),
)
