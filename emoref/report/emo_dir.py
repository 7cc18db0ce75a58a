"""The sections of an EMO-DIR run: fronts of the stages, impairment ranking, joint schemes, cost ledger."""

from typing import Any

import numpy as np

from emoref.report import emo_dir_tables as rows
from emoref.report import figures
from emoref.report.figures import Figure
from emoref.report.pieces import counted, missing, percent, plot, read, scaled, table, text
from emoref.runs.joint_record import Ranking, read_ranking
from emoref.runs.record import NetworkRecord, RunRecord
from emoref.runs.store import SearchStore, front_rows

_RIVALS = {
    "random": "var(--series-3)",
    "equal-rate": "var(--series-4)",
    "whole": "var(--series-2)",
    "whole-features": "var(--series-5)",
}


def summary(record: RunRecord) -> str:
    """Return what the run found, in one or two plain sentences with the numbers."""
    base = str(record.config.get("base", {}).get("network", "network"))
    name = record.network.name if record.network is not None else base
    where = f"{name} on {record.config.get('data', {}).get('name', 'unnamed data')}"
    if record.base is None or not record.selected:
        return f"{where}: no joint network has been fine-tuned yet."
    best = min(record.selected, key=lambda one: one.macs)
    split = "test" if best.test is not None and record.base.test is not None else "validation"
    errors = [_error(one, split) for one in (best, record.base)]
    return (
        f"{where}: {counted(record.base.macs, 'multiply-accumulate')} an image. {best.name} saves "
        f"{percent(1 - best.macs / record.base.macs, 1)} of them, {split} error {percent(errors[0])} against "
        f"{percent(errors[1])}" + ("." if split == "test" else " (not measured on the test set yet).")
    )


def lines(record: RunRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return what the command line prints about the networks."""
    titles = ("network", "MACs", "saved", "parameters", "val. error", "tuned", "test error")
    base = record.base
    shown: list[tuple[str, ...]] = []
    for one in ([base] if base else []) + rows.members(record):
        saved = 1 - one.macs / base.macs if base else 0.0
        errors = (f"{one.validation.error_before:.2%}", f"{one.validation.error_after:.2%}")
        test = f"{one.test.error_after:.2%}" if one.test else "-"
        shown.append((one.name, f"{one.macs:,}", f"{saved:.1%}", f"{one.params:,}", *errors, test))
    return titles, shown


def _error(one: NetworkRecord, split: str) -> float:
    outcome = one.test if split == "test" and one.test is not None else one.validation
    return outcome.error_after


# -------------------------------------------------------------------------------------------------- fronts


def fronts_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show the fronts of the stages side by side."""
    searches = rows.stage_searches(record)
    if not searches:
        return missing("No search yet: there is no front to show.")
    by_error = all(map(rows.judges_error, searches.values()))
    judged = (
        "its features are better understood by the stage's detector"
        if by_error
        else "its features are nearer to the unpruned stage's (squared distance, relative)"
    )
    parts = []
    for number, (name, store) in enumerate(searches.items(), start=1):
        drawn[f"stage-{number}"] = stage_figure(store)
        last = store.generations[-1]
        words = f"{len(store.generations) - 1} generations, {last.evaluations:,} candidates"
        where = plot(f"stage-{number}", f"Front of {text(name)}")
        parts.append(f'<div><h3>{text(name)} <span class="muted">{words}</span></h3>{where}</div>')
    return f'<div class="panels">{"".join(parts)}</div>' + read(
        f"Each point is one pruned stage: further left it multiplies less, lower {judged}. The line is the "
        "last front; faint points are the first population. The stages were searched without knowing of each "
        "other."
    )


def stage_figure(store: SearchStore) -> Figure:
    """Return a stage's first population and last front."""
    first, last = store.generations[0], store.generations[-1]
    front = last.objectives[front_rows(last)]
    by_error = rows.judges_error(store)
    second = "error" if by_error else "feature distance"
    data = [
        _points("first population", first.objectives, "var(--initial)", "markers", 5, second),
        {
            **_points("last front", front, "var(--front)", "lines+markers", 8, second),
            "line": {"color": "var(--front)", "width": 1.5, "shape": "hv"},
        },
    ]
    return {
        "data": data,
        "layout": _layout(
            340, "stage's MACs / unpruned", f"{second} through detector" if by_error else second
        ),
    }


def _points(name: str, F: Any, colour: str, mode: str, size: int, second: str = "error") -> dict[str, Any]:
    return {
        "name": name,
        "x": [round(float(x), 6) for x in F[:, 0]],
        "y": [round(float(y), 6) for y in F[:, 1]],
        "mode": mode,
        "marker": {"color": colour, "size": size},
        "hovertemplate": f"{name}<br>MACs %{{x:.1%}}<br>{second} %{{y:.2%}}<extra></extra>",
    }


def _layout(height_px: int, x: str, y: str) -> dict[str, Any]:
    return figures.base_layout(
        height_px,
        xaxis={"title": {"text": x}, "tickformat": ".0%"},
        yaxis={"title": {"text": y}, "tickformat": ".3~p"},
        hovermode="closest",
    )


# ------------------------------------------------------------------------------------------------- ranking


def ranking_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show how much each member of each front impairs the whole network."""
    ranking = read_ranking(record.folder)
    if ranking is None:
        return missing("No ranking yet: the searches are not at their end.")
    drawn["ranking"] = ranking_figure(ranking)
    return plot("ranking", "Global performance impairment ranking") + read(
        "One bar a member of a stage's front, all stages together, by rising impairment: how much the error "
        "of the whole network grows when this member alone is put in. The dots say what it saves of the "
        f"network's MACs. The intact network is wrong on {ranking.intact_wrong:,} of {ranking.images:,} "
        "images. A joint scheme cuts the picture at a height, and takes from each stage the member below it "
        "that saves most."
    )


def ranking_figure(ranking: Ranking) -> Figure:
    """Return the impairments of all members in order, coloured by stage, and their savings."""
    members = rows.ordered(ranking)
    data: list[dict[str, Any]] = []
    for stage in range(len(ranking.stage_macs)):
        own = [(rank, m) for rank, m in enumerate(members, start=1) if m.stage == stage]
        colour, name = figures.series_colour(stage), f"stage {stage + 1}"
        x = [rank for rank, _ in own]
        saved = [round(m.saved_macs / ranking.macs, 6) for _, m in own]
        data.append(
            {
                "type": "bar",
                "name": name,
                "x": x,
                "y": [round((m.wrong - ranking.intact_wrong) / ranking.images, 6) for _, m in own],
                "customdata": saved,
                "marker": {"color": colour},
                "hovertemplate": f"{name}, rank %{{x}}<br>impairment %{{y:.2%}}<br>"
                "saves %{customdata:.1%} of the network<extra></extra>",
            }
        )
        data.append(
            {
                "name": f"{name}, saved",
                "x": x,
                "y": saved,
                "yaxis": "y2",
                "mode": "markers",
                "marker": {"color": colour, "size": 6, "symbol": "circle-open"},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    layout = figures.base_layout(
        400,
        barmode="overlay",
        xaxis={"title": {"text": "rank"}},
        yaxis={"title": {"text": "impairment (growth of the error)"}, "tickformat": ".3~p"},
        hovermode="closest",
    )
    layout["yaxis2"] = {
        **layout["yaxis"],
        "title": {"text": "saved share of the network's MACs", "standoff": 8},
        "tickformat": ".0%",
        "overlaying": "y",
        "side": "right",
        "showgrid": False,
        "rangemode": "tozero",
    }
    return {"data": data, "layout": layout}


# ------------------------------------------------------------------------------------------------- schemes


def schemes_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show joint schemes against what other ways make of the same saving."""
    ranking = read_ranking(record.folder)
    if ranking is None or not rows.scheme_sets(record):
        return missing("No joint scheme has been measured yet.")
    drawn["schemes"] = schemes_figure(record, ranking)
    body = plot("schemes", "Joint schemes and baselines") + read(
        "Each point is a slim network before fine-tuning, measured on the images of the searches; its "
        "multiply-accumulates are counted, and equal the sum that its stages promise. The line joins "
        "the schemes of equal impairment that no other of them beats. Other ways had as many schemes, or, "
        "searching the whole network, as many executed multiply-accumulates."
    )
    networks = rows.members(record)
    if not networks:
        return body + missing("No joint network has been fine-tuned yet.")
    head = ("network", "MACs", "saved", "validation error before", "after", "test error before", "after")
    base_macs = record.base.macs if record.base else ranking.macs
    everything = ([record.base] if record.base else []) + networks
    cells = [_network_cells(one, base_macs) for one in everything]
    return (
        body
        + f'<div class="networks">{table(head, cells, text_columns=1)}</div>'
        + read("All are fine-tuned with the same recipe on the same batches, or not at all (–).")
    )


def _network_cells(one: NetworkRecord, base_macs: int) -> tuple[str, ...]:
    base, tuned = one.role == "base", one.tuned
    name = f'{text(one.name)}<br><span class="muted">{text(one.choice)}</span>'
    saved = "" if base else percent(1 - one.macs / base_macs, 1)
    errors = []
    for outcome in (one.validation, one.test):
        errors.append("" if base else "–" if outcome is None else percent(outcome.error_before))
        errors.append("–" if outcome is None or not tuned else percent(outcome.error_after))
    return (name, scaled(one.macs, "MAC"), saved, *errors)


def schemes_figure(record: RunRecord, ranking: Ranking) -> Figure:
    """Return error against remaining multiply-accumulates of the whole network, one trace a rule."""
    data = []
    for rule, found in rows.scheme_sets(record).items():
        F = np.array([[1 - s.saved_macs / ranking.macs, s.wrong / ranking.images] for s in found.schemes])
        if rule == "schemes":
            data.append(_points(rows.RULES[rule], F, "var(--front)", mode="markers", size=6))
            front = _front(F)
            data.append(
                {
                    **_points("their front", front, "var(--front)", mode="lines", size=1),
                    "line": {"color": "var(--front)", "width": 1.5, "shape": "hv"},
                }
            )
        else:
            data.append(_points(rows.RULES[rule], F, _RIVALS[rule], mode="markers", size=6))
    if "whole" in record.searches:
        last = rows.whole_at_equal_cost(record)
        F = last.objectives[front_rows(last)]
        data.append(_points("whole-network search", F, _RIVALS["whole"], mode="lines+markers", size=6))
    intact = np.array([[1.0, ranking.intact_wrong / ranking.images]])
    data.append(_points("intact network", intact, "var(--base)", mode="markers", size=10))
    return {"data": data, "layout": _layout(440, "MACs / MACs of the network", "error before fine-tuning")}


def _front(F: Any) -> Any:
    from emoref.emo import nondominated_ranks

    front = F[nondominated_ranks(F) == 0]
    return front[np.argsort(front[:, 0], kind="stable")]


# -------------------------------------------------------------------------------------------------- ledger


def ledger_section(record: RunRecord, drawn: dict[str, Figure]) -> str:
    """Show what every phase has executed, and the hypervolume that it bought."""
    entries = rows.ledger(record)
    if not entries:
        return missing("Nothing has been evaluated yet.")
    head = ("phase", "networks evaluated", "MACs executed", "for each")
    cells = [
        (
            text(row.phase),
            "" if row.evaluations is None else f"{row.evaluations:,}",
            f'<span title="{row.macs:,} multiply-accumulates">{scaled(row.macs, "MAC")}</span>',
            "" if row.macs_each is None else scaled(round(row.macs_each), "MAC"),
        )
        for row in entries
    ]
    body = table(head, cells, text_columns=1)
    volumes = _volumes(record, drawn)
    return (
        body
        + _comparison(record)
        + volumes
        + read(
            "Counted where they are executed: every forward pass of the searches, what candidates share "
            "counted once; those for batch-norm statistics and for the activations that enter a stage are "
            "in it. "
            "Trainings are counted by their sizes: forward once, backward twice."
        )
    )


def _comparison(record: RunRecord) -> str:
    by_phase = {row.phase: row for row in rows.ledger(record)}
    whole = by_phase.get("search of the whole network")
    stages = [row for phase, row in by_phase.items() if phase.startswith("search of stage")]
    if whole is None or whole.macs_each is None or not stages:
        return ""
    each = sum(row.macs for row in stages) / max(1, sum(row.evaluations or 0 for row in stages))
    return read(
        f"An evaluation in a stage's search takes {scaled(round(each), 'MAC')} on average, one of the whole "
        f"network {scaled(round(whole.macs_each), 'MAC')}: {whole.macs_each / each:.2f} times as much."
    )


def _volumes(record: RunRecord, drawn: dict[str, Figure]) -> str:
    ranking, sets = read_ranking(record.folder), rows.scheme_sets(record)
    if ranking is None or "schemes" not in sets or "whole" not in record.searches:
        return ""
    volume = rows.joint_volume(ranking, sets["schemes"])
    macs, volumes = rows.whole_progress(record.searches["whole"])
    spent = next(row.macs for row in rows.ledger(record) if row.phase == "search in all")
    drawn["volume"] = {
        "data": [
            {
                "name": "whole-network search",
                "x": [int(value) for value in macs],
                "y": [round(float(value), 6) for value in volumes],
                "mode": "lines",
                "line": {"color": _RIVALS["whole"], "width": 2},
            },
            {
                "name": "joint schemes",
                "x": [spent],
                "y": [round(volume, 6)],
                "mode": "markers",
                "marker": {"color": "var(--front)", "size": 11},
            },
        ],
        "layout": figures.base_layout(
            320,
            xaxis={"title": {"text": "executed multiply-accumulates"}, "rangemode": "tozero"},
            yaxis={"title": {"text": "hypervolume up to (1, 1)"}},
            hovermode="closest",
        ),
    }
    reached = np.flatnonzero(volumes >= volume)
    until = int(macs[reached[0]] if len(reached) else macs[-1])
    words = (
        f"The whole-network search has the joint schemes' hypervolume of {volume:.4f} after "
        f"{scaled(until, 'MAC')}; they took {scaled(spent, 'MAC')}: {until / spent:.2f} times as much."
        if len(reached)
        else f"The whole-network search ends at a hypervolume of {volumes[-1]:.4f} after "
        f"{scaled(until, 'MAC')}; the joint schemes have {volume:.4f} after {scaled(spent, 'MAC')}. "
        f"To reach it, the search over the whole network needs more than {until / spent:.2f} times as much."
    )
    return plot("volume", "Hypervolume by executed multiply-accumulates") + read(words)


SECTIONS = (
    ("Fronts of the stages", fronts_section),
    ("Global performance impairment ranking", ranking_section),
    ("Joint schemes and other ways", schemes_section),
    ("Cost ledger", ledger_section),
)
