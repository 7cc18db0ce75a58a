"""The page: ``report.html``, one file that works without a network connection.

Each section is a function from the record to a piece of HTML, or to nothing; figures are collected as plain
descriptions and drawn by the script at the end of ``template.html``. Every string from outside goes through
:func:`emoref.report.pieces.text`.
"""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from string import Template

from emoref.errors import MissingDependencyError
from emoref.report import baselines, figures, layers, provenance, tables
from emoref.report.figures import Figure
from emoref.report.pieces import (
    counted,
    duration,
    json_in_script,
    key,
    missing,
    percent,
    plot,
    read,
    scaled,
    table,
    text,
)
from emoref.runs.folder import write_text_atomic
from emoref.runs.record import NetworkRecord, RunRecord

Section = Callable[[RunRecord, dict[str, Figure]], str]

_OPEN_ROWS = 30


def write_report(
    record: RunRecord,
    sections: "tuple[tuple[str, Section], ...] | None" = None,
    first_words: Callable[[RunRecord], str] | None = None,
) -> Path:
    """Write ``report.html`` of the run in `record`, finished or not, and return its path.

    Parameters
    ----------
    record : RunRecord
        The run.
    sections : tuple of (str, callable), optional
        Titles and sections of the page; those of a filter pruning if left out.
    first_words : callable, optional
        What gives the sentences under the title; :func:`summary` if left out.

    Raises
    ------
    MissingDependencyError
        If plotly is not installed.
    FileFormatError
        If the stored search contradicts itself.
    """
    page = render(record, plotly_js(), sections, first_words)
    write_text_atomic(record.folder.report, page)
    return record.folder.report


def plotly_js() -> str:
    """Return the source of plotly.js that the installed plotly carries.

    Raises
    ------
    MissingDependencyError
        If plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingDependencyError(
            'the report\'s figures need plotly: pip install "emoref[report]" (the CSV tables do not)'
        ) from None
    return str(get_plotlyjs())


def render(
    record: RunRecord,
    script: str,
    sections: "tuple[tuple[str, Section], ...] | None" = None,
    first_words: Callable[[RunRecord], str] | None = None,
) -> str:
    """Return the page as text, with the source of plotly.js inlined; see :func:`write_report`."""
    drawn: dict[str, Figure] = {}
    body = "\n".join(
        f"<section>\n<h2>{title}</h2>\n{content}\n</section>"
        for title, section in sections or SECTIONS
        if (content := section(record, drawn))
    )
    description = str(record.config.get("description") or "")
    template = Template(resources.files("emoref.report").joinpath("template.html").read_text("utf-8"))
    return template.substitute(
        title=text(str(record.config.get("name") or "experiment")),
        summary=text((first_words or summary)(record)),
        description=f'<p class="muted">{text(description)}</p>' if description else "",
        sections=body,
        figures=json_in_script(drawn),
        plotly=script,
    )


def summary(record: RunRecord) -> str:
    """Return what the run found, in one or two plain sentences with the numbers."""
    where = f"{network_name(record)} on {record.config.get('data', {}).get('name', 'unnamed data')}"
    if record.base is None:
        return f"{where}: the base network is not trained yet."
    start = f"{where}: {record.base.filters:,} filters"
    if not record.generations:
        return f"{start}, {_error_words(record.base)}. The search has not begun yet."
    if not record.selected:
        front = record.front()
        done = f"{start}, {_error_words(record.base)}. After generation {len(record.generations) - 1}"
        if not len(front):
            return f"{done} the search has found no feasible network yet; none is selected."
        fewest = int(tables.individuals(record, -1, front).filters.min())
        return (
            f"{done} the front has {counted(len(front), 'network')}, the smallest with "
            f"{counted(fewest, 'filter')}; none is selected and fine-tuned yet."
        )
    smallest = min(record.selected, key=lambda network: network.filters)
    both = smallest.test is not None and record.base.test is not None
    kind = "test" if both else "validation"
    return (
        f"{start}; the smallest selected network keeps {smallest.filters:,} "
        f"({percent(smallest.pruned_ratio, 1)} removed), {kind} error {percent(_error(smallest, both))} "
        f"against {percent(_error(record.base, both))}"
        + ("." if both else " (not measured on the test set yet).")
    )


def network_name(record: RunRecord) -> str:
    """Return the name of the base network: its own, or the configured one before it exists."""
    if record.network is not None:
        return record.network.name
    return str(record.config.get("base", {}).get("network", "network"))


def _error(network: NetworkRecord, on_test: bool) -> float:
    outcome = network.test if on_test and network.test is not None else network.validation
    return outcome.error_after


def _error_words(network: NetworkRecord) -> str:
    on_test = network.test is not None
    return f"{'test' if on_test else 'validation'} error {percent(_error(network, on_test))}"


# ------------------------------------------------------------------------------------------------ sections


def front_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the search's result: error against remaining filter ratio."""
    if not record.generations:
        return missing("No search yet: there is no population to show.")
    drawn["front"] = figures.front_figure(record)
    feasible = "" if len(record.front()) else missing("The last generation holds no feasible network.")
    images = tables.fitness_images(record)
    measured = f" on {images:,} held-out images" if images else ""
    return (
        f"{feasible}{plot('front', 'Error against remaining filter ratio')}"
        '<label class="switch"><input type="checkbox" id="logarithmic"> logarithmic error axis</label>'
        + read(
            "Each point is one pruned network; further left is smaller, lower is better. The line is the "
            "final front: nothing in the last population is both smaller and more accurate than a point on "
            f"it. Its errors are measured{measured} straight after pruning. Dotted lines lead to the "
            f"selected networks after fine-tuning.{_other_images(record)} Faint points are what the search "
            "passed through (coinciding points once). Point at one to see its filters in each layer; drag "
            "to zoom, double-click to return."
        )
    )


def _other_images(record: RunRecord) -> str:
    images = record.base.validation.images if record.base is not None else 0
    if images == tables.fitness_images(record) or not images:
        return ""
    return f" Base and selected networks are measured on all {images:,} validation images."


def progress_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show hypervolume, lowest error and fewest filters over the generations."""
    if not record.generations:
        return missing("No search yet: there are no generations to show.")
    panels = []
    for name, figure in figures.progress_figures(record).items():
        drawn[name] = figure
        title = {"hypervolume": "Hypervolume", "lowest-error": "Lowest error"}.get(name, "Fewest filters")
        panels.append(f"<div><h3>{title}</h3>{plot(name, f'{title} by generation')}</div>")
    last, scored = record.generations[-1], provenance.scored_words(record)
    return f'<div class="panels">{"".join(panels)}</div>' + read(
        f"{len(record.generations) - 1:,} generations, {last.evaluations:,} candidates scored"
        f"{f' ({text(scored)})' if scored else ''}. The "
        "hypervolume is the share of the square from (0, 0) to (all filters kept, all predictions wrong) "
        "that the front dominates: it can only be compared between searches of one problem, and more is "
        "better. When it stays level, more generations gain little. Lowest error and fewest filters are "
        "the two ends of each generation's front, before fine-tuning."
    )


def layers_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show kept and removed filters of every layer, by number and by index."""
    if not record.selected:
        return missing("No network is selected yet: there are no kept and removed filters to compare.")
    drawn["layers"] = layers.layers_figure(record)
    bars = plot("layers", "Filters kept and removed in each layer") + read(
        "One row of bars a selected network. A bar's full height is the layer's filters in the base "
        "network; the coloured part is kept, the grey part removed. The filters were chosen by the search, "
        "not by a rule for each layer, so uneven bars show where the network can spare most."
    )
    return bars + _kept_maps(record)


def _kept_maps(record: RunRecord) -> str:
    known = [network for network in record.selected if network.genome]
    if not known:
        return missing("The kept filters' indices are not stored in this run.")
    indices = [layers.kept_indices(record, network) for network in known]
    colours = [figures.series_colour(record.selected.index(network)) for network in known]
    keys = "".join(f"<span>{key(c)}{text(n.name)}</span>" for c, n in zip(colours, known, strict=True))
    rows = []
    for layer, (name, filters) in enumerate(layers.original_filters(record)):
        svg = layers.kept_map_svg(filters, [of_network[layer] for of_network in indices], colours)
        rows.append(f'<span>{text(name)} <span class="muted">{filters:,}</span></span>{svg}')
    return (
        f'<h3>Which filters are kept</h3><div class="keys">{keys}</div>'
        f'<div class="maps">{"".join(rows)}</div>'
        + read(
            "One block a layer, one line in it a selected network, one cell a filter in the base network's "
            "order. Filters that every network keeps stand out as full columns. Point at a run of cells for "
            "the indices."
        )
    )


def networks_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the base and the selected networks as a table."""
    if record.base is None and not record.selected:
        return missing("No network yet: the base network is not trained.")
    head = ("network", "kept in each layer", "filters", "removed", "CR", "MACs", "parameters", "file size")
    errors = ("validation error before", "validation error after", "test error before", "test error after")
    cells = []
    for network in tables.networks(record):
        base = network.role == "base"
        colour = "var(--base)" if base else figures.series_colour(record.selected.index(network))
        ratio = tables.compression_ratio(network)
        kept = " + ".join(f"{count:,}" for count in network.kept.values())
        cells.append(
            (
                f'{key(colour)}{text(network.name)}<br><span class="muted">{text(network.choice)}</span>',
                f'<span title="{text(_kept_words(network))}">{kept}</span>',
                f"{network.filters:,}",
                percent(network.pruned_ratio, 1),
                "–" if ratio is None else f"{ratio:.2f}",
                f'<span title="{network.macs:,} multiply-accumulates">{scaled(network.macs, "MAC")}</span>',
                f"{network.params:,}",
                f'<span title="{network.size_bytes:,} bytes">{scaled(network.size_bytes, "B")}</span>',
                "" if base else percent(network.validation.error_before),
                percent(network.validation.error_after),
                "–" if network.test is None else "" if base else percent(network.test.error_before),
                "–" if network.test is None else percent(network.test.error_after),
            )
        )
    notes = (
        missing("No network is selected yet; the base network alone is listed.")
        if not record.selected
        else ""
    )
    if any(network.test is None for network in tables.networks(record)):
        notes += missing("The test set has not been used yet: its columns are empty (–).")
    return (
        f'<div class="networks">{table((*head, *errors), cells, text_columns=2)}</div>'
        + notes
        + read(
            "CR is the compression ratio, filters of the base / filters kept. MACs are multiply-accumulates "
            "for one image (1 MAC = 2 FLOPs). File size is that of the stored network with all its "
            "parameters. Errors are before and after fine-tuning; the base network needs none. Selection "
            "looked at validation errors only; the test errors were measured once, at the end."
        )
    )


def _kept_words(network: NetworkRecord) -> str:
    return ", ".join(f"{layer} {count}" for layer, count in network.kept.items())


def curves_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show training curves of the base network and of every fine-tuning."""
    panels = []
    for number, (curve, figure) in enumerate(figures.curve_figures(record).items(), start=1):
        drawn[f"curve-{number}"] = figure
        title = "learning rate" if curve == "lr" else text(curve.replace("_", " "))
        panels.append(f"<div><h3>{title}</h3>{plot(f'curve-{number}', f'{title} by epoch')}</div>")
    if not panels:
        return missing("No training curves: no network has been trained in this run yet.")
    shown = [n for n in tables.networks(record) if any(n.curves.values())]
    keys = "".join(
        f"<span>{key('var(--base)')}base network</span>"
        if network.role == "base"
        else f"<span>{key(figures.series_colour(record.selected.index(network)))}{text(network.name)}</span>"
        for network in shown
    )
    return f'<div class="keys">{keys}</div><div class="panels">{"".join(panels)}</div>' + read(
        "Values after each epoch: of the base network's training, and of the fine-tuning of each selected "
        "network, which starts from the weights that pruning left. A validation error that rises while the "
        "training loss falls is overfitting; curves still falling at the end ask for more epochs."
    )


def architecture_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the layers of the base network."""
    if record.network is None:
        return missing("No base network yet: its layers are not known.")
    rows = record.network.layer_table()
    cells = [
        (
            text(r.name),
            text(r.op),
            " × ".join(f"{n:,}" for n in r.output_shape),
            f"{r.parameters:,}",
            f"{r.macs:,}",
        )
        for r in rows
    ]
    total = ("total", "", "", f"{sum(r.parameters for r in rows):,}", f"{sum(r.macs for r in rows):,}")
    head = ("layer", "operation", "output", "parameters", "MACs")
    shown = table(head, [*cells, total], text_columns=2, total=True)
    state = " open" if len(rows) <= _OPEN_ROWS else ""
    shape = " × ".join(f"{n:,}" for n in record.network.input_shape)
    return (
        f"<details{state}><summary>{text(record.network.name)}, input {shape}, {len(rows)} "
        f"layers</summary>{shown}</details>"
        + read(
            "Output shapes are channels × height × width of one image; parameters are the trained values; "
            "MACs are multiply-accumulates for one image. Removing a filter of a layer also removes the "
            "matching input channels of the layers that read it."
        )
    )


def provenance_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show seed, versions, machine, run times and the complete configuration."""
    facts = [
        ("seed", text(str(record.config.get("seed", "not given")))),
        ("system", text(str(record.config.get("system", "")))),
    ]
    if macs := provenance.executed_macs(record):
        words = f'<span title="{macs:,} multiply-accumulates">{scaled(macs, "MAC")}</span>'
        facts.append(("executed by the searches", words))
    if scored := provenance.scored_words(record):
        facts.append(("candidates of the searches", text(scored)))
    facts += [("warning", text(message)) for message in provenance.warnings(record)]
    origin, of_run = provenance.origin(record)
    facts += [(text(name), text(value)) for name, value in origin.items()]
    note = "" if of_run else read("Versions and machine are those that this report was written with.")
    times = provenance.stage_times(record)
    clock = missing("No run times: the log has no events yet.")
    if times:
        rows = [(text(stage), duration(seconds)) for stage, seconds in times]
        rows.append(("total", duration(sum(seconds for _, seconds in times))))
        clock = table(("stage", "time"), rows, text_columns=1, total=True) + read(
            "From the log, without pauses between an interruption and its continuation. Times are the only "
            "thing here that another run with the same seed does not repeat."
        )
    return (
        '<div class="panels"><div><h3>Software and machine</h3>'
        f"{table(('', ''), facts, text_columns=2)}{note}</div>"
        f"<div><h3>Run times</h3>{clock}</div></div>"
        "<details><summary>Complete configuration (config.toml)</summary>"
        f"<pre>{text(provenance.config_text(record))}</pre></details>"
    )


SECTIONS: tuple[tuple[str, Section], ...] = (
    ("The front", front_section),
    ("Progress of the search", progress_section),
    ("Filters kept and removed", layers_section),
    ("Networks", networks_section),
    ("Against the baselines", baselines.section),
    ("Training", curves_section),
    ("Layers of the base network", architecture_section),
    ("Where this comes from", provenance_section),
)
