"""The sections of an EMOMC run's page: fronts, the paper's tables, networks, bits, energies, library."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from emoref.compress.energy import CODINGS, COMPONENTS, DATAFLOWS
from emoref.report import emomc_tables as tables
from emoref.report import figures
from emoref.report.figures import Figure
from emoref.report.pieces import counted, missing, percent, plot, read, scaled, table, text
from emoref.runs.compressed import CompressedRecord
from emoref.runs.record import RunRecord
from emoref.runs.store import SearchStore, front_rows

_COMPONENT_COLOURS = tuple(f"var(--series-{i})" for i in range(1, 6))


def summary(record: RunRecord) -> str:
    """Return what the run found, in a few plain sentences with the numbers."""
    network = record.network.name if record.network is not None else record.config["base"]["network"]
    where = f"{network} on {record.config.get('data', {}).get('name', 'unnamed data')}"
    if record.base is None:
        return f"{where}: the base network is not trained yet."
    tested = record.base.test is not None
    error = (record.base.test if record.base.test is not None else record.base.validation).error_after
    start = f"{where}: {'test' if tested else 'validation'} error {percent(error)} uncompressed."
    if not record.compressed:
        done = counted(len(record.library), "pruned model")
        return f"{start} {done}, {len(record.searches)} searches begun; no network is chosen yet."
    words, chosen = [], tables.within_limit(record)
    kept = {cost: n for cost, n in chosen.items() if tables.keeps_limit(record, n)}
    for what, names in (("energy", DATAFLOWS), ("size", CODINGS)):
        shown = ", ".join(f"{tables.factor(kept[cost], cost):.1f} ({cost})" for cost in names if cost in kept)
        if shown:
            words.append(f"{what} {shown}")
    limit = 100 * record.config.get("select", {}).get("max_error_increase", 0.003)
    missed = ", ".join(cost for cost in (*DATAFLOWS, *CODINGS) if cost in chosen and cost not in kept)
    left = f" No network kept to {limit:g} points for {missed}." if missed else ""
    if not words:
        return f"{start} {counted(len(record.compressed), 'network')} written.{left}"
    return f"{start} Times less at {limit:g} points more validation error at most: {'; '.join(words)}.{left}"


# -------------------------------------------------------------------------------------------------- fronts


def fronts_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the fronts of all searches side by side."""
    if not record.searches:
        return missing("No search yet: there are no fronts to show.")
    panels = []
    for name, store in tables.searches(record):
        drawn[f"front-{name}"] = front_figure(record, name, store)
        shown = plot(f"front-{name}", f"Front of {text(name)}")
        panels.append(f"<div><h3>{text(_title(store))}</h3>{shown}</div>")
    protocol = (
        " <b>Errors are those on the test set, as in the authors' code: what is chosen by them is chosen on "
        "test data.</b>"
        if record.config.get("search", {}).get("paper_protocol")
        else " Errors are measured on images held out of the training set."
    )
    return f'<div class="panels">{"".join(panels)}</div>' + read(
        "One figure a search: left is cheaper, low is better. Points are pruned and quantised networks, none "
        "of them trained after its weights were rounded: amber the initial population, joined by a line the "
        "front of the last generation. Diamonds are the networks that were written; a search chooses among "
        "all networks that any search has met, so they may lie below its own front. The dotted line is the "
        f"error of the uncompressed network.{protocol}"
    )


def _title(store: SearchStore) -> str:
    return " and ".join(cost.rpartition(" (")[0] for cost in tables.costs_of(store))


def front_figure(record: RunRecord, name: str, store: SearchStore) -> Figure:
    """Return error against the first cost of one search, in microjoules or KiB."""
    energy = tables.costs_of(store)[0].startswith("energy")
    scale, unit = (1e-6, "µJ") if energy else (1 / 8192, "KiB")
    last, first = store.generations[-1], store.generations[0]
    front = last.objectives[front_rows(last)]
    template = f"%{{x:.4~g}} {unit}<br>error %{{y:.2%}}<br>%{{text}}<extra></extra>"
    genomes = last.genomes[front_rows(last)]
    words = [
        f"{ratio:.0%} of the weights, bits {' '.join(f'{q:g}' for q in genome[1:])}"
        for genome, ratio in zip(genomes, tables.ratios_of(store, genomes), strict=True)
    ]
    data: list[dict[str, Any]] = [
        {
            "name": "initial population",
            "x": _rounded(first.objectives[:, 1] * scale),
            "y": _rounded(first.objectives[:, 0]),
            "mode": "markers",
            "marker": {"color": "var(--initial)", "size": 5, "opacity": 0.6},
            "hoverinfo": "skip",
        },
        {
            "name": f"front, generation {len(store.generations) - 1}",
            "x": _rounded(front[:, 1] * scale),
            "y": _rounded(front[:, 0]),
            "text": words,
            "mode": "lines+markers" if front.shape[1] == 2 else "markers",
            "line": {"color": "var(--front)", "width": 1.5},
            "marker": {"color": "var(--front)", "size": 6},
            "hovertemplate": template,
        },
    ]
    chosen = [n for n in tables.networks(record) if n.search == name]
    cost = tables.own_costs(record, chosen[0])[0] if chosen else ""
    for i, network in enumerate(chosen):
        value = network.energies_pj[cost] if energy else network.sizes_bits[cost]
        data.append(
            {
                "name": figures.label(network.name),
                "x": [float(f"{value * scale:.6g}")],
                "y": [round(network.searched.error, 6)],
                "text": [figures.label(network.choice)],
                "mode": "markers",
                "marker": {"color": figures.series_colour(i), "symbol": "diamond", "size": 11},
                "hovertemplate": template,
            }
        )
    base = int(store.layout["base_wrong"]) / int(store.layout["images"])
    layout = figures.base_layout(
        300,
        xaxis={"title": {"text": unit}, "type": "log"},
        yaxis={"title": {"text": "error"}, "tickformat": ".3~p", "rangemode": "tozero"},
        showlegend=False,
        hovermode="closest",
        shapes=[
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": base, "y1": base,
                "line": {"color": "var(--base)", "width": 1, "dash": "dot"},
            }
        ],
    )  # fmt: skip
    return {"data": data, "layout": layout}


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]


# ------------------------------------------------------------------------------------ beside the paper


def paper_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the cheapest networks within the allowed error beside the paper's tables II and III."""
    chosen = tables.within_limit(record)
    if not chosen:
        return missing("No network is chosen yet: there is nothing to put beside the paper's tables.")
    model = record.config.get("model", {})
    rules = text(str(model.get("rules", "emomc_compat")))
    return (
        "<h3>Energy</h3>"
        + _beside(record, DATAFLOWS, chosen, tables.PAPER_ENERGY_MJ, ("mJ", tables.MJ_PER_PJ))
        + "<h3>Size of the weights</h3>"
        + _beside(record, CODINGS, chosen, tables.PAPER_SIZE_MB, ("MB", tables.MB_PER_BIT))
        + read(
            "The paper's rows are its tables II and III, VGG-16 on CIFAR-10, with the loss of accuracy and "
            "the factors that it states; our row is this run's network. Factors are relative to the "
            "uncompressed network in 32-bit floating point. The loss is that on the test set, in points, of "
            "the networks from left to right; they were chosen on validation images. A star marks the most "
            "accurate network where none kept to the allowed validation error. Rules of the costs: "
            f"{rules}, energy model {text(str(model.get('energy', 'emomc')))}."
        )
    )


def _beside(
    record: RunRecord,
    names: tuple[str, ...],
    chosen: dict[str, CompressedRecord],
    published: Mapping[str, tuple[float, tuple[float, ...], tuple[float, ...]]],
    unit: tuple[str, float],
) -> str:
    cells: list[tuple[str, ...]] = []
    values, factors, losses = ["–"] * len(names), ["–"] * len(names), ["–"] * len(names)
    for i, name in enumerate(names):
        if name not in chosen:
            continue
        network = chosen[name]
        value = network.energies_pj[name] if name in DATAFLOWS else network.sizes_bits[name]
        values[i] = f"{value * unit[1]:.4g}"
        star = "" if tables.keeps_limit(record, network) else " *"
        factors[i] = f"{tables.factor(network, name):.2f}{star}"
        losses[i] = _loss(record, network)
    cells.append(("this run", " / ".join(losses), *values, *factors))
    for method, (loss, costs, ratios) in published.items():
        shown = (f"paper: {method}", f"{loss:g}", *(f"{c:g}" for c in costs), *(f"{r:g}" for r in ratios))
        cells.append(shown)
    head = (
        "method",
        "loss of accuracy (points)",
        *(f"{name} ({unit[0]})" for name in names),
        *(f"{name} (×)" for name in names),
    )
    return table(head, cells, text_columns=2)


def _loss(record: RunRecord, network: CompressedRecord) -> str:
    if record.base is None or network.test is None or record.base.test is None:
        return "–"
    return f"{100 * (network.test.error - record.base.test.error_after):.2f}"


# ------------------------------------------------------------------------------------------- networks


def networks_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the written networks as a table."""
    found = tables.networks(record)
    if not found:
        return missing("No network is chosen yet.")
    cells = []
    for network in found:
        costs = tables.own_costs(record, network)
        factors = ", ".join(f"{tables.factor(network, cost):.2f} ({text(cost)})" for cost in costs)
        nonzero = sum(network.nonzero.values()) / sum(network.weights.values())
        parts = (
            f"{network.header_bytes:,} header, {network.weight_bytes:,} weights, {network.other_bytes:,} "
            "biases and batch norm"
        )
        cells.append(
            (
                f'{text(network.name)}<br><span class="muted">{text(network.choice)}</span>',
                " ".join(str(bits) for bits in network.bits.values()),
                f"{network.remaining_ratio:.0%}",
                percent(nonzero, 1),
                factors,
                f'<span title="{parts}">{scaled(network.file_bytes, "B")}</span>',
                percent(network.searched.error),
                percent(network.validation.error),
                "–" if network.test is None else percent(network.test.error),
                _loss(record, network),
            )
        )
    head = (
        "network", "bits of the layers", "asked to remain", "not zero", "times less", "file",
        "error in the search", "validation error", "test error", "test points lost",
    )  # fmt: skip
    scores = tables.scores_table(record)
    ratios = [name.removeprefix("score_") for name in scores.columns[2:]]
    score_rows = [
        (text(str(row[0])), text(str(row[1])), *("–" if v is None else f"{v:.1f}" for v in row[2:]))
        for row in scores.rows
    ]
    return (
        f'<div class="networks">{table(head, cells, text_columns=2)}</div>'
        + read(
            "Each network is one .emz file with all of its bits; the file's parts add up to its length "
            "(point at it). What is measured on the test set is what the file holds. Few bits turn more "
            "weights to zero than pruning asked for."
        )
        + "<h3>Aggregation scores</h3>"
        + table(("network", "cost", *(f"r/τ = {ratio}" for ratio in ratios)), score_rows, text_columns=2)
        + read(
            "Reward for right answers less penalty for wrong ones, over the cost, relative to the "
            "uncompressed network. The paper's formula could not be read; this is a reconstruction that "
            "explains two of its published scores of VGG-16 (125.6 and 97.0 at r/τ = 5 and 1)."
        )
    )


def bits_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the bits of every layer of every network as a heat map."""
    found = tables.networks(record)
    if not found:
        return missing("No network is chosen yet: there are no bits to show.")
    layers = list(found[0].bits)
    z = [[network.bits[layer] for layer in layers] for network in found]
    drawn["bits"] = {
        "data": [
            {
                "type": "heatmap",
                "x": [figures.label(layer) for layer in layers],
                "y": [figures.label(network.name) for network in found],
                "z": z,
                "text": z,
                "texttemplate": "%{text}",
                "zmin": 0,
                "zmax": 16,
                "colorscale": [[0, "var(--card)"], [1, "var(--front)"]],
                "showscale": False,
                "xgap": 2,
                "ygap": 2,
                "hovertemplate": "%{y}<br>%{x}: %{z} bits<extra></extra>",
            }
        ],
        "layout": figures.base_layout(
            90 + 26 * len(found),
            xaxis={"type": "category", "showgrid": False},
            yaxis={"autorange": "reversed", "showgrid": False},
        ),
    }
    return plot("bits", "Bits of each layer of each network") + read(
        "One row a network, one column a layer, the number its bits. Layers that keep many bits in every row "
        "are those that the network's accuracy hangs on."
    )


# --------------------------------------------------------------------------------------- energy, library


def energy_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the energy of the uncompressed and of the chosen networks, component by component."""
    base = tables.base_energies(record)
    if not base or not record.compressed:
        return missing("No network is chosen yet: there are no energies to compare.")
    panels = []
    for dataflow in DATAFLOWS:
        chosen = [n for n in tables.networks(record) if dataflow in tables.own_costs(record, n)]
        if not chosen:
            continue
        key = f"energy-parts-{dataflow.replace(':', '-')}"
        bars = {"uncompressed": list(base[dataflow].components_pj.values())}
        for network in chosen:
            bars[network.name] = np.sum(list(network.breakdown_pj[dataflow].values()), axis=0).tolist()
        drawn[key] = _energy_figure(bars)
        panels.append(f"<div><h3>{text(dataflow)}</h3>{plot(key, f'Energy under {text(dataflow)}')}</div>")
    if not panels:
        return ""
    return f'<div class="panels">{"".join(panels)}</div>' + read(
        "Energy of one image before and after, in microjoules: multiply-accumulates, and the traffic of "
        "inputs, weights, outputs and partial sums. By layer: tables/energy.csv."
    )


def _energy_figure(bars: dict[str, list[float]]) -> Figure:
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": component,
            "y": [figures.label(name) for name in bars],
            "x": [float(f"{parts[i] * 1e-6:.5g}") for parts in bars.values()],
            "marker": {"color": _COMPONENT_COLOURS[i]},
            "hovertemplate": f"%{{y}}<br>{component} %{{x:.4~g}} µJ<extra></extra>",
        }
        for i, component in enumerate(COMPONENTS)
    ]
    layout = figures.base_layout(
        150 + 34 * len(bars),
        barmode="stack",
        xaxis={"title": {"text": "µJ"}},
        yaxis={"autorange": "reversed", "type": "category"},
    )
    return {"data": data, "layout": layout}


def library_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the error of the library's models against their remaining ratio."""
    if not record.library:
        return missing("No library yet: no model has been pruned.")
    rows = tables.library_table(record).rows
    trace = {
        "x": [row[0] for row in rows],
        "y": [row[3] for row in rows],
        "mode": "lines+markers",
        "line": {"color": "var(--front)", "width": 2},
        "hovertemplate": "%{x:.0%} of the weights: error %{y:.2%}<extra></extra>",
    }
    layout = figures.base_layout(
        260,
        xaxis={"title": {"text": "remaining ratio"}, "tickformat": ".0%"},
        yaxis={"title": {"text": "validation error"}, "tickformat": ".3~p", "rangemode": "tozero"},
        showlegend=False,
    )
    drawn["library"] = {"data": [trace], "layout": layout}
    return plot("library", "Error of the library's models") + read(
        f"{counted(len(rows), 'model')}, each pruned step by step from the same trained network, before any "
        "weight is rounded. A search takes one of them for a candidate."
    )


def progress_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the hypervolume of every search over the generations."""
    rows = [row for row in tables.generations_table(record).rows if row[6] is not None]
    if not rows:
        return missing("No search yet: there are no generations to show.")
    data = []
    for i, name in enumerate(dict.fromkeys(row[0] for row in rows)):
        mine = [row for row in rows if row[0] == name]
        data.append(
            {
                "name": figures.label(str(name)),
                "x": [row[1] for row in mine],
                "y": [row[6] for row in mine],
                "mode": "lines",
                "line": {"color": figures.series_colour(i), "width": 2},
                "hovertemplate": "generation %{x}: %{y:.4f}",
            }
        )
    layout = figures.base_layout(
        300, xaxis={"title": {"text": "generation"}}, yaxis={"title": {"text": "hypervolume"}}
    )
    drawn["hypervolumes"] = {"data": data, "layout": layout}
    return plot("hypervolumes", "Hypervolume by generation") + read(
        "Share of the box from nothing to (all predictions wrong, the uncompressed network's cost) that a "
        "search's front dominates. When it stays level, more generations gain little."
    )


SECTIONS = (
    ("The fronts", fronts_section),
    ("Beside the paper", paper_section),
    ("Networks", networks_section),
    ("Bits of the layers", bits_section),
    ("Energy before and after", energy_section),
    ("Progress of the searches", progress_section),
    ("The library", library_section),
)
