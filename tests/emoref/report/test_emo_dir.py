"""The page, tables and ledger of an EMO-DIR run, made by hand."""

import numpy as np
import pytest

from emoref import compress, nn
from emoref.report import emo_dir, emo_dir_tables, network_lines, write_report, write_tables
from emoref.runs.folder import RunFolder
from emoref.runs.joint_record import (
    MeasuredScheme,
    RankedMember,
    Ranking,
    SchemeSet,
    write_ranking,
    write_schemes,
)
from emoref.runs.record import NetworkRecord, Outcome, read_run
from emoref.runs.store import Generation, SearchStore

CONFIG = {
    "system": "emo-dir",
    "name": "by <hand>",
    "seed": 1,
    "data": {"name": "tiny"},
    "base": {"network": "tiny"},
}
MEMBERS = (RankedMember(0, 0, 60, 14), RankedMember(0, 1, 20, 9), RankedMember(1, 0, 30, 12))
STAGES = {"stage1": ([0.4, 0.8], [0.3, 0.2]), "stage2": ([0.5], [0.25])}


def tiny():
    b = nn.NetworkBuilder("tiny", (1, 6, 6))
    b.conv("conv1", 4, 3)
    b.flatten("flat")
    b.linear("fc", 3)
    return b.build()


def store_search(folder, name, ratios, errors, macs, bits=4, judged="error"):
    layout = {"layers": [["conv1", bits]], "objectives": ["remaining MACs ratio", judged], "images": 100}
    store = SearchStore(folder.search_file(name), layout)
    for executed in range(1, len(macs) + 1):
        F = np.column_stack((ratios, errors)) * (1 if executed == len(macs) else [1, 1.5])
        rows = len(F)
        store.append(
            Generation(
                np.ones((rows, bits), bool), F, np.zeros((rows, 1)), np.zeros(rows, int), 10 * executed
            ),
            {"seed": 1, "macs_executed": np.array(macs[:executed])},
        )


def store_network(folder, name, role, macs, wrong, test):
    net = tiny()
    outcome = None if test is None else Outcome(200, 2 * wrong, test)
    record = NetworkRecord(
        name=name, role=role, choice="by hand", kept={"conv1": 4}, filters=4, filters_original=4, macs=macs,
        params=compress.count(net).params, validation=Outcome(100, wrong + 3, wrong), test=outcome,
        curves={"train_loss": [2.0, 1.0]}, genome=[0, 1, 2, 3],
    )  # fmt: skip
    path = folder.network_file(name)
    folder.make_folder(path.parent)
    nn.save(path, net, net.init(0), extra={"record": record.to_dict()})


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.make_folder(folder.path)
    return folder


@pytest.fixture
def complete(folder):
    for place in (folder.searches, folder.stages):
        folder.make_folder(place)
    store_network(folder, "base", "base", 200, 8, 20)
    for number, (name, (ratios, errors)) in enumerate(STAGES.items(), start=1):
        store_search(folder, name, ratios, errors, [1000, 2000 * number])
        nn.save(folder.stages / f"{name}.h5", tiny(), tiny().init(0), extra={"training_macs": 7000 * number})
    write_ranking(folder, Ranking(100, 200, (100, 80), 8, MEMBERS, 5, 900))
    schemes = (MeasuredScheme((1, -1), 1, 20, 9), MeasuredScheme((0, 0), 6, 90, 20))
    write_schemes(folder, SchemeSet("schemes", schemes, 2, 300))
    write_schemes(folder, SchemeSet("random", (MeasuredScheme((0, 0), None, 90, 20),), 1, 150))
    store_search(folder, "whole", [0.5, 0.9], [0.3, 0.1], [4000, 7300])
    store_network(folder, "joint-50", "selected", 110, 15, 33)
    store_network(folder, "joint-50/random", "baseline", 100, 21, 40)
    store_network(folder, "joint-50/whole", "baseline", 100, 17, 36)
    return folder


def test_ledger_by_hand(complete):
    rows = emo_dir_tables.ledger(read_run(complete, CONFIG))
    assert [(row.phase, row.evaluations, row.macs) for row in rows] == [
        ("training of stage1", None, 7000),
        ("training of stage2", None, 14000),
        ("search of stage1", 20, 2000),
        ("search of stage2", 20, 4000),
        ("impairment ranking", 5, 900),
        ("joint schemes", 2, 300),
        ("search in all", 47, 7200),
        ("random combination", 1, 150),
        ("search of the whole network", 20, 7300),
    ]
    assert rows[2].macs_each == 100
    assert rows[0].macs_each is None


def test_hypervolumes_by_hand(complete):
    record = read_run(complete, CONFIG)
    ranking, sets = emo_dir_tables.read_ranking(complete), emo_dir_tables.scheme_sets(record)
    # Points (1, 0.08), (0.9, 0.09), (0.55, 0.2): 0.1 * 0.91 + 0.35 * 0.8, with steps
    volume = emo_dir_tables.joint_volume(ranking, sets["schemes"])
    assert volume == pytest.approx(0.1 * 0.91 + 0.35 * 0.8)
    macs, volumes = emo_dir_tables.whole_progress(record.searches["whole"])
    assert macs.tolist() == [4000, 7300]
    assert volumes == pytest.approx([0.1 * 0.85 + 0.4 * 0.55, 0.1 * 0.9 + 0.4 * 0.7])


def test_a_longer_search_over_the_whole_network_is_shown_as_it_was_at_equal_cost(complete):
    pytest.importorskip("plotly")
    complete.search_file("whole").unlink()
    store_search(complete, "whole", [0.5, 0.9], [0.3, 0.1], [4000, 7200, 21_600])
    record = read_run(complete, CONFIG)
    shown = emo_dir_tables.whole_at_equal_cost(record)
    assert shown is record.searches["whole"].generations[1]
    drawn = {}
    assert "needs more than 3.00 times as much" in emo_dir._volumes(record, drawn)
    ranking = emo_dir_tables.read_ranking(complete)
    (trace,) = [t for t in emo_dir.schemes_figure(record, ranking)["data"] if t["name"].startswith("whole")]
    assert trace["y"] == [0.45, 0.15]
    complete.search_file("whole").unlink()
    store_search(complete, "whole", [0.4], [0.38], [4000, 7200, 21_600])  # 0.6 * 0.62 > 0.371 at last
    words = emo_dir._volumes(read_run(complete, CONFIG), drawn).replace("\N{NO-BREAK SPACE}", " ")
    assert "after 21.6 kMAC; they took 7.20 kMAC: 3.00 times as much" in words


def test_probes_are_trained_too(complete):
    nn.save(complete.stages / "detector1.h5", tiny(), tiny().init(0), extra={"training_macs": 500})
    rows = emo_dir_tables.ledger(read_run(complete, CONFIG))
    assert [(row.phase, row.macs) for row in rows[:2]] == [
        ("training of detector1", 500),
        ("training of stage1", 7000),
    ]


def test_page_and_tables(complete):
    pytest.importorskip("plotly")
    record = read_run(complete, CONFIG)
    page = write_report(record).read_text("utf-8")
    for title, _ in emo_dir.SECTIONS:
        assert f"<h2>{title}</h2>" in page
    assert "by &lt;hand&gt;" in page
    # 7300 / 20 for one evaluation of the whole network, 6000 / 40 for one of a stage
    assert "2.43 times as much" in page
    names = {path.stem for path in write_tables(record)}
    assert names == {"stage_fronts", "impairments", "joint_schemes", "networks", "ledger"}
    impairments = (complete.tables / "impairments.csv").read_text().splitlines()
    assert impairments[1].startswith("0,1,1,20,0.1,9,0.01")
    titles, rows = network_lines(record)
    assert [row[0] for row in rows] == ["base", "joint-50", "joint-50/random", "joint-50/whole"]
    assert rows[1][2] == "45.0%"
    assert len(titles) == len(rows[0])
    assert "joint-50 saves 45.0" in emo_dir.summary(record)


def test_stages_judged_by_their_features(complete):
    pytest.importorskip("plotly")
    before = write_report(read_run(complete, CONFIG)).read_text("utf-8")
    assert "error through detector" in before
    for name, (ratios, distances) in STAGES.items():
        complete.search_file(name).unlink()
        store_search(complete, name, ratios, distances, [1000], judged="feature distance")
    record = read_run(complete, CONFIG)
    page = write_report(record).read_text("utf-8")
    assert "error through detector" not in page
    assert "feature distance %{y:.2%}" in page
    assert "features are nearer to the unpruned stage" in page
    table = emo_dir_tables.fronts_table(record)
    by_search = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert by_search["stage2"]["feature_distance"] == 0.25
    assert by_search["stage2"]["wrong"] is by_search["stage2"]["error"] is None
    assert by_search["whole"]["error"] == 0.1
    assert by_search["whole"]["feature_distance"] is None


def test_the_ranking_picture_shows_impairments_in_order(complete):
    figure = emo_dir.ranking_figure(emo_dir_tables.read_ranking(complete))
    bars = {trace["name"]: trace for trace in figure["data"] if trace.get("type") == "bar"}
    assert bars["stage 1"]["x"] == [1, 3]
    assert bars["stage 1"]["y"] == [0.01, 0.06]
    assert bars["stage 2"]["x"] == [2]
    assert bars["stage 2"]["customdata"] == [0.15]


def test_a_run_that_has_only_begun_says_what_is_missing(folder):
    record = read_run(folder, CONFIG)
    for _, section in emo_dir.SECTIONS:
        assert 'class="missing"' in section(record, {})
    assert "no joint network" in emo_dir.summary(record)
    assert emo_dir_tables.ledger(record) == []
    assert network_lines(record)[1] == []
    assert all(not table.rows for table in emo_dir_tables.all_tables(record))
