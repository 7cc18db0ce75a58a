from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from emoref.report import figures, layers
from emoref.runs.record import RunRecord
from emoref.runs.store import Generation


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(t for t in figure["data"] if t.get("name", "").startswith(name))


def test_the_front_is_drawn_with_base_and_selected_networks(record: RunRecord) -> None:
    figure = figures.front_figure(record)

    front = trace(figure, "front, generation 2")
    assert (front["x"], front["y"]) == ([0.2, 0.4, 0.5], [0.8, 0.45, 0.2])
    assert front["customdata"][1] == [0, 4, 45, 2, 2]
    assert "conv1 %{customdata[3]}/4, conv2 %{customdata[4]}/6" in front["hovertemplate"]
    assert "of 100 wrong" in front["hovertemplate"]
    base, small = trace(figure, "base network"), trace(figure, "small")
    assert (base["x"], base["y"]) == ([1.0], [0.02])
    assert (small["x"], small["y"]) == ([0.2], [0.12])
    assert "before fine-tuning 80.00% (80 wrong)" in small["hovertext"][0]
    dotted = [t for t in figure["data"] if t.get("line", {}).get("dash") == "dot"]
    assert [t["y"] for t in dotted] == [[0.2, 0.03], [0.8, 0.12]]


def test_past_individuals_are_drawn_once_and_not_on_the_front(record: RunRecord) -> None:
    past, generation = figures.past_individuals(record)
    points = set(zip(past.filters.tolist(), past.error.tolist(), strict=True))
    assert points == {
        (10, 0.02),
        (5, 0.4),
    }  # generation 1; its third and all of generation 2 are on the front
    assert set(generation.tolist()) == {1}


def test_many_past_individuals_are_thinned_evenly(record: RunRecord) -> None:
    rng = np.random.default_rng(3)
    count = 5 * figures.MAX_FAINT_POINTS
    crowd = Generation(
        genomes=rng.random((count, 10)) < 0.5,
        objectives=np.column_stack((rng.random(count), rng.random(count))),
        constraints=np.zeros((count, 1)),
        ranks=np.ones(count, dtype=np.int64),
        evaluations=count,
    )
    crowded = replace(record, generations=[record.generations[0], crowd, record.generations[2]])
    past, generation = figures.past_individuals(crowded)
    assert len(past.filters) == len(generation) == figures.MAX_FAINT_POINTS


def test_the_error_axis_is_logarithmic_for_wide_positive_ranges_only(record: RunRecord) -> None:
    assert figures.front_figure(record)["layout"]["yaxis"]["type"] == "log"  # 2 % to 90 %
    without_error = [replace(g, objectives=g.objectives * [1, 0]) for g in record.generations]
    assert (
        figures.front_figure(replace(record, generations=without_error))["layout"]["yaxis"]["type"]
        == "linear"
    )


def test_progress_shows_the_table(record: RunRecord) -> None:
    progress = figures.progress_figures(record)
    assert list(progress) == ["hypervolume", "lowest-error", "fewest-filters"]
    assert progress["fewest-filters"]["data"][0]["y"] == [5, 2, 2]
    assert progress["lowest-error"]["data"][0]["y"] == [0.02, 0.02, 0.2]


def test_every_recorded_curve_is_drawn_from_epoch_1(record: RunRecord) -> None:
    curves = figures.curve_figures(record)
    assert list(curves) == ["train_loss", "validation_error"]
    base, half = curves["train_loss"]["data"]
    assert (base["x"], base["y"]) == ([1, 2], [2.0, 0.5])
    assert (half["x"], half["y"]) == ([1, 2, 3], [0.9, 0.4, 0.1])


def test_labels_are_neither_markup_nor_templates() -> None:
    assert figures.label("<b>%{x}</b>\n&") == "&lt;b&gt;&#37;{x}&lt;/b&gt; &amp;"


def test_plotly_accepts_every_figure(record: RunRecord) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    drawn = [figures.front_figure(record), layers.layers_figure(record)]
    drawn += [*figures.progress_figures(record).values(), *figures.curve_figures(record).values()]
    for figure in drawn:
        graph_objects.Figure(figure)  # raises ValueError for an unknown or impossible property


def test_an_unfinished_search_has_a_front_without_networks(unfinished: dict[str, RunRecord]) -> None:
    names = [t.get("name") for t in figures.front_figure(unfinished["searched"])["data"]]
    assert names == ["later generations", "initial population", "front, generation 2", "base network"]
    first_only = replace(unfinished["searched"], generations=unfinished["searched"].generations[:1])
    names = [t.get("name") for t in figures.front_figure(first_only)["data"]]
    assert names == ["initial population", "front, generation 0", "base network"]
    assert trace(figures.front_figure(unfinished["nothing feasible"]), "front")["x"] == []
