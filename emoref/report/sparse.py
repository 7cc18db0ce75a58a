"""The sections of a joint sparse run's page: joint against separate, fronts, initialisations, networks."""

from typing import Any

import numpy as np

from emoref import emo
from emoref.report import figures, sparse_tables
from emoref.report.figures import Figure
from emoref.report.pieces import counted, missing, percent, plot, read, scaled, table, text
from emoref.report.sharing import curve_panels, parallel_figure
from emoref.runs.record import RunRecord
from emoref.runs.sparse_record import SparseRecord
from emoref.runs.store import SearchStore, front_rows


def summary(record: RunRecord) -> str:
    """Return what the run found, in one or two plain sentences with the numbers."""
    base = record.config.get("base", {}).get("network", "network")
    data = record.config.get("data", {})
    where = f"{base} on {data.get('name', 'unnamed data')}, {counted(len(data.get('tasks', [])), 'task')}"
    found = sparse_tables.networks(record)
    if not found:
        return f"{where}: no network has been pruned and fine-tuned yet."
    pairs, split = sparse_tables.duels(found), _split(found)
    if not pairs:
        best = min(found, key=lambda one: (one.mean_error("after", split) or 0.0, one.kept_total))
        return (
            f"{where}. {best.name} keeps {percent(best.remaining_ratio, 1)} of {best.weights_total:,} "
            f"connections, mean {split} error {percent(best.mean_error('after', split) or 0.0)} against "
            f"{percent(best.mean_error('original', split) or 0.0)} unpruned."
        )
    words = []
    for pair in pairs:
        joint, separate = (float(np.mean(errors)) for errors in pair.errors(split))
        words.append(f"{percent(joint)} against {percent(separate)} at {pair.kept_ratio:.3g}")
    return (
        f"{where}. Mean {split} error of the joint network against separate networks, at equal total kept "
        f"connections: {'; '.join(words)} of the separate networks' hidden weights."
    )


def lines(record: RunRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return what the command line prints about the networks."""
    titles = ("network", "kept", "of weights", "bytes", "val. error", "tuned", "test error", "stored")
    rows = []
    for one in sparse_tables.networks(record):
        errors = [
            one.mean_error(which, split)
            for which, split in (
                ("before", "validation"),
                ("after", "validation"),
                ("after", "test"),
                ("stored", "test"),
            )
        ]
        shown = ["-" if error is None else f"{error:.2%}" for error in errors]
        ratio = f"{one.remaining_ratio:.1%}"
        rows.append((one.name, f"{one.kept_total:,}", ratio, f"{one.file_bytes:,}", *shown))
    return titles, rows


def _split(found: list[SparseRecord]) -> str:
    return "test" if all(one.tested for one in found) else "validation"


# ------------------------------------------------------------------------------------- joint and separate


def duels_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show joint against separate networks at equal total kept connections."""
    pairs = sparse_tables.duels(sparse_tables.networks(record))
    if not pairs:
        return missing(
            "Nothing to compare: separate networks (baselines.separate) and kept ratios "
            "(select.kept_ratios) were not asked for, or are not there yet."
        )
    split = _split([one for pair in pairs for one in (pair.joint, *pair.separate)])
    cells = []
    for pair in pairs:
        joint, separate = pair.errors(split)
        each = ", ".join(
            f"{text(task.task)} {percent(a)} / {percent(b)}"
            for task, a, b in zip(pair.joint.tasks, joint, separate, strict=True)
        )
        means = (float(np.mean(joint)), float(np.mean(separate)))
        change = f"{100 * (means[0] - means[1]):+.2f}".replace("-", "−")
        files = sum(one.file_bytes for one in pair.separate)
        cells.append(
            (
                f"{100 * pair.kept_ratio:g} %",
                each,
                f"{pair.joint.kept_total:,}",
                f"{pair.kept_separate:,}",
                scaled(pair.joint.file_bytes, "B"),
                scaled(files, "B"),
                *(percent(mean) for mean in means),
                change,
            )
        )
    head = (
        "kept ratio",
        "each task, joint / separate",
        "joint connections",
        "separate",
        "joint file",
        "separate files",
        f"joint mean {split} error",
        "separate",
        "points",
    )
    return table(head, cells, text_columns=2) + read(
        "The kept ratio is a share of the hidden weights of separate networks for all tasks, so that the "
        "joint network and the separate ones together keep as many connections. All were searched and "
        "fine-tuned with the same code and settings. One run is one draw: <code>emoref compare</code> tests "
        "several seeds."
    )


# ------------------------------------------------------------------------------------------------- fronts


def fronts_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show mean error against kept connections, a line for each search, with the chosen networks."""
    found = sparse_tables.searches(record)
    if not found:
        return missing("No search yet: there is no front to show.")
    drawn["fronts"] = fronts_figure(record)
    return plot("fronts", "Mean error against kept connections") + read(
        "One line a search: of the last generation the masks that nothing else beats in both kept "
        "connections and mean error, before fine-tuning, on the images of the search. Diamonds are chosen "
        "networks after fine-tuning, on all validation images. Further left is sparser, lower is better."
    )


def fronts_figure(record: RunRecord) -> Figure:
    """Return the figure of :func:`fronts_section`."""
    data: list[dict[str, Any]] = []
    colours = {}
    for number, (name, store) in enumerate(sparse_tables.searches(record)):
        colours[name.partition("--")[0]] = figures.series_colour(number)
        last = store.generations[-1]
        F = last.objectives[front_rows(last)]
        plane = np.column_stack((F[:, -1], F[:, :-1].mean(axis=1)))
        plane = plane[emo.nondominated_ranks(plane) == 0]
        plane = plane[np.argsort(plane[:, 0], kind="stable")]
        data.append(
            {
                "name": figures.label(_title(name, store)),
                "x": _rounded(plane[:, 0]),
                "y": _rounded(plane[:, 1]),
                "mode": "lines+markers",
                "line": {"color": figures.series_colour(number), "width": 1.5},
                "marker": {"size": 5},
                "hovertemplate": "kept %{x:.2%}<br>mean error %{y:.2%}<extra></extra>",
            }
        )
    for one in sparse_tables.networks(record):
        data.append(
            {
                "name": figures.label(one.name),
                "x": [round(one.remaining_ratio, 6)],
                "y": [round(one.mean_error("after") or 0.0, 6)],
                "mode": "markers",
                "showlegend": False,
                "marker": {
                    "color": colours.get(one.group, "var(--base)"),
                    "symbol": "diamond",
                    "size": 10,
                },
                "hovertemplate": f"{figures.label(one.name)}<br>kept %{{x:.2%}}<br>mean error %{{y:.2%}}"
                "<extra></extra>",
            }
        )
    layout = figures.base_layout(
        430,
        xaxis={"title": {"text": "kept connections / connections of the trunk"}, "tickformat": ".0%"},
        yaxis={"title": {"text": "mean error"}, "tickformat": ".3~p", "rangemode": "tozero"},
        hovermode="closest",
    )
    return {"data": data, "layout": layout}


def _title(name: str, store: SearchStore) -> str:
    return f"{name.partition('--')[0]}, {store.layout['initialisation']} parents"


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


# ---------------------------------------------------------------------------------------- initialisations


def hypervolume_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the hypervolume over the evaluations, a line for each search."""
    found = sparse_tables.searches(record)
    if not found:
        return missing("No search yet.")
    panels = []
    for several, title in ((True, "All tasks together"), (False, "One task alone")):
        some = [(n, s) for n, s in found if (len(s.layout["objectives"]) > 2) == several]
        if some:
            drawn[f"hypervolume-{'joint' if several else 'single'}"] = _hypervolume_figure(some)
            where = plot(f"hypervolume-{'joint' if several else 'single'}", f"Hypervolume, {title}")
            panels.append(f"<div><h3>{title}</h3>{where}</div>")
    return f'<div class="panels">{"".join(panels)}</div>' + read(
        "The share of the unit cube of errors and kept connections that the front dominates, against the "
        "masks evaluated; more is better. Parents of the ladder keep the largest weights, random ones keep "
        "weights by chance, in the same ratios. Volumes of different numbers of tasks cannot be compared."
    )


def _hypervolume_figure(found: list[tuple[str, SearchStore]]) -> Figure:
    data = [
        {
            "name": figures.label(_title(name, store)),
            "x": [generation.evaluations for generation in store.generations],
            "y": _rounded(sparse_tables.hypervolumes(store)),
            "mode": "lines",
            "line": {"color": figures.series_colour(number), "width": 2},
            "hovertemplate": "%{x:,} evaluations: %{y:.4f}<extra></extra>",
        }
        for number, (name, store) in enumerate(found)
    ]
    layout = figures.base_layout(
        300, xaxis={"title": {"text": "evaluations"}}, yaxis={"title": {"text": "hypervolume"}}
    )
    return {"data": data, "layout": layout}


# ------------------------------------------------------------------------------------ parallel coordinates


def objectives_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the last front of each joint search in parallel coordinates, with reference points and choices."""
    found = [(n, s) for n, s in sparse_tables.searches(record) if len(s.layout["objectives"]) > 2]
    if not found:
        return missing("No search with several tasks: there is no many-objective front to show.")
    parts = []
    for number, (name, store) in enumerate(found, start=1):
        drawn[f"objectives-{number}"] = objectives_figure(record, name, store)
        where = plot(f"objectives-{number}", f"Front of {text(name)}")
        parts.append(f"<div><h3>{text(_title(name, store))}</h3>{where}</div>")
    return f'<div class="panels">{"".join(parts)}</div>' + read(
        "Each line is one mask of the last front, each axis one objective, scaled from the best (0) to the "
        "worst (1) of that front; lines that cross are trade-offs. Grey are the reference points of "
        "NSGA-III; thick are masks that were chosen as they are (those at a given kept ratio were trimmed or "
        "filled up)."
    )


def objectives_figure(record: RunRecord, name: str, store: SearchStore) -> Figure:
    """Return the front of one search in parallel coordinates."""
    last = store.generations[-1]
    rows = front_rows(last)
    names = [str(objective) for objective in store.layout["objectives"]]
    divisions = int(store.layout["divisions"])
    points = emo.das_dennis(len(names), divisions) if divisions else np.empty((0, len(names)))
    chosen = {}
    for one in sparse_tables.networks(record):
        kept = np.array(list(one.kept.values()))
        same = [row for row in rows if np.array_equal(last.genomes[row], kept)]
        if one.group == name and one.kept_ratio is None and same:
            chosen[one.name.removeprefix(f"{name}-")] = last.objectives[same[0]]
    return parallel_figure(names, last.objectives[rows], points, chosen)


# ------------------------------------------------------------------------------------------------ networks


def networks_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show connections by layer, bytes, and the errors of every task."""
    found = sparse_tables.networks(record)
    if not found:
        return missing("No network yet.")
    drawn["kept"] = kept_figure(found)
    head = (
        "network",
        "task",
        "kept connections",
        "kept in each layer",
        "compression rate",
        "file",
        "task's MACs",
        "validation error unpruned",
        "pruned",
        "fine-tuned",
        "test error unpruned",
        "fine-tuned",
        "stored",
    )
    cells = [_task_cells(one, t) for one in found for t in range(len(one.tasks))]
    return (
        plot("kept", "Share of connections kept in each layer")
        + f'<div class="networks">{table(head, cells, text_columns=2)}</div>'
        + read(
            "“Pruned” is the error under the mask before fine-tuning. The compression rate is all / kept "
            "connections of the hidden layers. MACs are those with weights that are not zero. The file holds "
            "the trunk once and every head, quantised and coded; “stored” is the error of what it holds. A "
            "network with private batch norms has a file for each task, all of them counted."
        )
    )


def kept_figure(found: list[SparseRecord]) -> Figure:
    """Return the share of connections that each network keeps in each layer."""
    layers = list(found[0].kept)
    data = [
        {
            "type": "bar",
            "name": figures.label(layer),
            "x": [figures.label(one.name) for one in found],
            "y": [round(one.kept[layer] / one.weights[layer], 6) for one in found],
            "marker": {"color": figures.series_colour(number)},
            "hovertemplate": f"%{{x}}<br>{figures.label(layer)}: %{{y:.2%}}<extra></extra>",
        }
        for number, layer in enumerate(layers)
    ]
    layout = figures.base_layout(
        320,
        barmode="group",
        yaxis={"title": {"text": "kept"}, "tickformat": ".0%"},
        xaxis={"type": "category"},
    )
    return {"data": data, "layout": layout}


def _task_cells(one: SparseRecord, t: int) -> tuple[str, ...]:
    task, first = one.tasks[t], t == 0
    name = f'{text(one.name)}<br><span class="muted">{text(one.choice)}</span>' if first else ""
    stored = one.test_stored_wrong[t] / task.test_images if one.tested else None
    return (
        name,
        text(task.task),
        f"{one.kept_total:,} ({percent(one.remaining_ratio, 1)})" if first else "",
        " + ".join(f"{kept:,}" for kept in one.kept.values()) if first else "",
        f"{one.compression_rate:.1f}" if first else "",
        scaled(one.file_bytes, "B") if first else "",
        scaled(task.macs, "MAC"),
        *(_percent(task.error(which)) for which in ("original", "before", "after")),
        _percent(task.error("original", "test")),
        _percent(task.error("after", "test")),
        _percent(stored),
    )


def _percent(error: float | None) -> str:
    return "–" if error is None else percent(error)


def curves_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the curves of the fine-tunings."""
    found = sparse_tables.networks(record)
    if not found:
        return missing("No fine-tuning yet.")
    return curve_panels(found, drawn, "joint loss") + read(
        "After each epoch of the fine-tuning under the mask: the mean of the tasks' losses, and the mean of "
        "their validation errors."
    )


SECTIONS = (
    ("Joint against separate", duels_section),
    ("The fronts", fronts_section),
    ("Progress of the searches", hypervolume_section),
    ("The many-objective front", objectives_section),
    ("Networks and tasks", networks_section),
    ("Fine-tuning", curves_section),
)
