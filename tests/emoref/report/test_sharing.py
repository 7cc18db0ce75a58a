"""The page and tables of a run with two tasks, made by hand."""

import re

import numpy as np
import pytest

from emoref.compress import IndexMatrix, LayerSlots, save_shared, share_filters
from emoref.nn import NetworkBuilder
from emoref.report import network_lines, sharing, sharing_tables, write_report, write_tables
from emoref.runs.folder import RunFolder
from emoref.runs.record import read_run
from emoref.runs.shared_record import SharedRecord, TaskFigures, read_shared_record, shared_file
from emoref.runs.store import Generation, SearchStore

CONFIG = {
    "system": "filter-sharing",
    "name": "two <tasks>",
    "seed": 1,
    "data": {"name": "halves", "tasks": [{"name": "low"}, {"name": "high"}]},
    "base": {"network": "tiny"},
}


def tiny(classes):
    b = NetworkBuilder("tiny", (1, 6, 6))
    b.conv("conv1", 4, 3)
    b.relu("relu1")
    b.flatten("flat")
    b.linear("fc", classes)
    return b.build()


def bits(*rows):
    return np.array([[one == "1" for one in row] for row in rows])


def figures(task, before, after, test):
    tested = {} if test is None else {"test_images": 200, "test_wrong_original": 6, "test_wrong_after": test}
    return TaskFigures(task, 900, 70, 1800, 140, 100, 4, before, after, **tested)


def network(name, role, stored, errors, rate=0.5):
    variant = name.partition("--")[2] or name.rpartition("-")[0]
    return SharedRecord(
        name=name,
        role=role,
        variant=variant,
        choice="by hand",
        rate=rate,
        stored=stored,
        stored_original=400,
        slots={"conv1": 4},
        kept={"conv1": [2, 2]},
        shared={"conv1": 1},
        sharing_ratio=0.5,
        tasks=[figures(task, *some) for task, some in zip(("low", "high"), errors, strict=True)],
        curves={"train_loss": [2.0, 1.0], "validation_error": [0.3, 0.1]},
    )


def save(folder, record):
    nets = [tiny(2), tiny(3)]
    index = IndexMatrix(("low", "high"), {"conv1": LayerSlots(bits("1100", "1010"), bits("1000")[0])})
    shared, store = share_filters(nets, [net.init(t) for t, net in enumerate(nets)], index)
    path = shared_file(folder, record.name)
    folder.make_folder(path.parent)
    save_shared(path, shared, store, {"record": record.to_dict()})


def search(folder, name):
    layout = {
        "layers": [["conv1", 4]],
        "divisions": 2,
        "objectives": ["importance lost (l1)", "stored filters", "sharing distortion"],
    }
    objectives = np.array([[0.0, 1.0, 0.0], [0.2, 0.3, 0.2], [1.0, 0.25, 1.0]])
    generation = Generation(
        np.ones((3, 12), bool), objectives, np.zeros((3, 1)), np.zeros(3, np.int64), evaluations=3
    )
    folder.make_folder(folder.searches)
    store = SearchStore(folder.search_file(name), layout)
    store.generations = [generation]
    store.append(generation, {"seed": np.int64(1)})


@pytest.fixture
def empty(tmp_path):
    return RunFolder.create(tmp_path / "run", 'name = "by hand"\n')


@pytest.fixture
def record(empty):
    kinds = {"shared": 20, "private": 60, "heads": 30, "norms": 0}
    for one in (
        network("index-50", "selected", kinds, [(40, 6, 10), (50, 8, 14)]),
        network("index-50--l1", "baseline", {**kinds, "shared": 0}, [(60, 9, 20), (60, 9, 22)]),
        network("aligned-filters-adaptive", "selected", kinds, [(30, 5, 8), (40, 7, 12)], rate=None),
    ):
        save(empty, one)
    search(empty, "index-50.conv1")
    return read_run(empty, CONFIG)


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_each_network_is_followed_by_its_baselines(record):
    names = [one.name for one in sharing_tables.members(record)]
    assert names == ["aligned-filters-adaptive", "index-50", "index-50--l1"]


def test_tables(record):
    first, second, rival = rows(sharing_tables.networks_table(record))
    assert (first["stored"], first["stored_ratio"], first["rate"]) == (110, 110 / 400, None)
    assert second["mean_validation_error_after"] == 0.07
    assert second["mean_test_error_after"] == pytest.approx(0.06)
    assert rival["stored"] == 90
    tasks = rows(sharing_tables.tasks_table(record))
    assert (tasks[2]["name"], tasks[2]["task"], tasks[2]["test_error_after"]) == ("index-50", "low", 0.05)
    layers = rows(sharing_tables.layers_table(record))
    assert layers[0] == {
        "name": "aligned-filters-adaptive",
        "layer": "conv1",
        "task": "low",
        "slots": 4,
        "kept": 2,
        "shared": 1,
    }
    assert {path.name for path in write_tables(record)} == {
        "shared_networks.csv",
        "shared_tasks.csv",
        "shared_layers.csv",
    }


def test_the_page(record):
    page = write_report(record).read_text("utf-8")
    body = page[: page.index("plotly.js")] if "plotly.js" in page else page
    assert "two &lt;tasks&gt;" in body
    assert "aligned-filters-adaptive stores 27.5" in body
    for title, _ in sharing.SECTIONS:
        assert f"<h2>{title}</h2>" in page


def test_the_picture_of_an_index_matrix():
    index = IndexMatrix(("a", "b"), {"conv1": LayerSlots(bits("1101", "1010"), bits("1000")[0])})
    svg = sharing.index_svg(index, "conv1")
    assert re.findall(r"<title>(.*?)</title>", svg) == [
        "a: slot 0 shared",
        "a: slot 1 private",
        "a: slot 3 private",
        "b: slot 0 shared",
        "b: slot 2 private",
    ]


def test_parallel_coordinates_show_reference_points_front_and_choice(record):
    figure = sharing.objectives_figure(record.searches["index-50.conv1"])
    points, front, chosen = figure["data"]
    assert len(points["y"]) == 6 * 4, "six reference points of two divisions, with gaps"
    assert front["y"][:4] == [0.0, 1.0, 0.0, None]
    # (0.2, 0.05 / 0.75, 0.2) is nearer to the ideal point than the ends.
    assert chosen["y"] == [0.2, 0.0667, 0.2, None]


def test_lines_for_the_terminal(record):
    titles, shown = network_lines(record)
    assert titles[0] == "network"
    assert shown[1] == ("index-50", "110", "27.5%", "50.0%", "45.00%", "7.00%", "6.00%")


def test_a_run_that_has_only_begun(empty):
    record = read_run(empty, CONFIG)
    assert "no network has been pruned" in sharing.summary(record)
    assert network_lines(record)[1] == []
    write_tables(record)
    page = write_report(record).read_text("utf-8")
    assert page.count('class="missing"') >= 4


def test_validation_errors_stand_in_until_the_test_sets_are_used(empty):
    kinds = {"shared": 20, "private": 60, "heads": 30, "norms": 5}
    save(empty, network("index-50", "selected", kinds, [(40, 6, None), (50, 8, None)]))
    record = read_run(empty, CONFIG)
    assert "mean validation error 7.00" in sharing.summary(record)
    assert "not measured on the test set yet" in sharing.summary(record)
    assert read_shared_record(empty, "index-50").mean_error("after", "test") is None
    assert network_lines(record)[1][0][-1] == "-"
    write_report(record)
