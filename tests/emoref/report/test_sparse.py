"""The page, tables and comparison of joint sparse runs, made by hand."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from emoref.errors import RunFolderError
from emoref.report import (
    compare_sparse_runs,
    comparison_of,
    network_lines,
    sparse,
    sparse_tables,
    write_report,
    write_tables,
)
from emoref.report.sparse_compare import text_rows
from emoref.runs.config import apply_overrides, to_toml
from emoref.runs.folder import RunFolder
from emoref.runs.record import read_run
from emoref.runs.shared_record import TaskFigures
from emoref.runs.sparse_record import SparseRecord, record_file, write_sparse_record
from emoref.runs.store import Generation, SearchStore
from emoref.systems import parse_config

TABLE = {
    "system": "joint-sparse",
    "name": "two <tasks>",
    "data": {
        "name": "halves",
        "tasks": [{"name": "low", "data": "mnist"}, {"name": "high", "data": "fashion-mnist"}],
    },
    "select": {"kept_ratios": [0.05]},
    "baselines": {"separate": True, "initialisation": True},
}


def figures(task, wrong, tested):
    test = {"test_images": 200, "test_wrong_original": 6, "test_wrong_after": wrong} if tested else {}
    return TaskFigures(task, 900, 70, 1800, 140, 100, 4, 50, 9, **test)


def network(name, tasks, wrong, kept, tested=True):
    ratio = 0.05 if "-kept-" in name else None
    return SparseRecord(
        name=name,
        group=name.partition("-kept")[0].partition("-knee")[0],
        choice="by hand",
        kept_ratio=ratio,
        kept={"conv1": kept, "fc1": kept},
        weights={"conv1": 100, "fc1": 300},
        tasks=[figures(task, n, tested) for task, n in zip(tasks, wrong, strict=True)],
        stored_wrong=[9] * len(tasks),
        bits=8,
        coders={"conv1": "bitmap", "fc1": "relative-4"},
        file_bytes=700,
        dense_bytes=4000,
        curves={"train_loss": [2.0, 1.0], "validation_error": [0.3, 0.1]},
        test_stored_wrong=list(wrong) if tested else [],
    )


def search(folder, name, objectives, first_evaluations=8):
    F = np.array(objectives, dtype=float)
    layout = {
        "genes": "integers",
        "layers": [["conv1", 100], ["fc1", 300]],
        "objectives": [f"error {i}" for i in range(F.shape[1] - 1)] + ["kept connections"],
        "divisions": 3 if F.shape[1] > 2 else 0,
        "initialisation": "random" if name.endswith("random") else "ladder",
    }
    store = SearchStore(folder.search_file(name), layout)
    folder.make_folder(folder.searches)
    genomes = np.repeat(np.rint(200 * F[:, -1:]).astype(np.int64), 2, axis=1)
    for generation in range(2):
        G, ranks = np.empty((len(F), 0)), np.zeros(len(F), dtype=np.int64)
        worse = F if generation else np.minimum(1.0, F + 0.1)
        store.append(
            Generation(genomes, worse, G, ranks, first_evaluations * (generation + 1)), {"seed": np.int64(1)}
        )


def make_run(path, seed=1, joint=(10, 20), single=(12, 22), tested=True, overrides=()):
    config = parse_config({**apply_overrides(TABLE, list(overrides)), "seed": seed}, "test")
    folder = RunFolder.create(path, to_toml(config))
    for record in (
        network("joint-kept-5", ("low", "high"), joint, 20, tested),
        network("joint-knee", ("low", "high"), joint, 80, tested),
        network("single-low-kept-5", ("low",), single[:1], 10, tested),
        network("single-high-kept-5", ("high",), single[1:], 10, tested),
    ):
        folder.make_folder(record_file(folder, record.name).parent)
        write_sparse_record(folder, record)
    search(folder, "joint", [[0.1, 0.2, 0.4], [0.4, 0.5, 0.1]])
    search(folder, "joint--random", [[0.3, 0.4, 0.4], [0.5, 0.6, 0.1 * seed]])
    search(folder, "single-low", [[0.1, 0.4], [0.4, 0.1]])
    return folder, config.model_dump(mode="json", exclude_none=True)


@pytest.fixture
def record(tmp_path):
    return read_run(*make_run(tmp_path / "run"))


def test_joint_and_separate_networks_of_equal_size_are_paired(record):
    (duel,) = sparse_tables.duels(sparse_tables.networks(record))
    assert duel.kept_ratio == 0.05
    assert duel.joint.kept_total == duel.kept_separate == 40
    assert duel.errors() == ([0.05, 0.1], [0.06, 0.11])
    table = sparse_tables.duels_table(record)
    assert table.rows[1] == (0.05, "test", 40, 40, pytest.approx(0.075), pytest.approx(0.085))


def test_hypervolume_is_the_dominated_share_of_the_unit_cube(record):
    # [0.1, 1] x [0.4, 1] and [0.4, 1] x [0.1, 1]: 0.54 + 0.54 less what both cover, 0.36.
    volumes = sparse_tables.hypervolumes(record.searches["single-low"])
    assert volumes[-1] == pytest.approx(0.72)
    rows = sparse_tables.generations_table(record).rows
    assert [row[:3] for row in rows[:2]] == [("joint", 0, 8), ("joint", 1, 16)]
    assert [row[0] for row in rows[::2]] == ["joint", "joint--random", "single-low"]


def test_tables(record):
    files = {path.name: path.read_text().splitlines() for path in write_tables(record)}
    assert set(files) == {
        "sparse_networks.csv", "sparse_tasks.csv", "sparse_layers.csv", "joint_separate.csv",
        "generations.csv", "front.csv",
    }  # fmt: skip
    assert len(files["sparse_networks.csv"]) == 1 + 4
    assert len(files["sparse_tasks.csv"]) == 1 + 6
    first = dict(zip(files["sparse_networks.csv"][0].split(","), files["sparse_networks.csv"][1].split(","),
                     strict=True))  # fmt: skip
    assert first["name"] == "joint-knee"
    assert float(first["compression_rate"]) == 2.5
    assert "bitmap" in files["sparse_layers.csv"][1]


def test_page(record):
    pytest.importorskip("plotly")
    page = write_report(record).read_text("utf-8")
    assert "two &lt;tasks&gt;" in page
    for title, _ in sparse.SECTIONS:
        assert f"<h2>{title}</h2>" in page
    drawn = json.loads(re.search(r'<script[^>]*id="figures"[^>]*>(.*?)</script>', page, re.S)[1])
    assert {"fronts", "hypervolume-joint", "hypervolume-single", "objectives-1", "kept"} <= set(drawn)
    thick = [trace["name"] for trace in drawn["objectives-1"]["data"] if trace["line"]["width"] == 3.0]
    assert thick == ["knee"]  # the front's member that keeps 80 of each layer
    assert "7.50\u00a0% against 8.50\u00a0% at 0.05" in sparse.summary(record)
    assert "−1.00" in page


def test_lines_for_the_terminal(record):
    titles, rows = network_lines(record)
    assert len(titles) == len(rows[0]) == 8
    assert rows[1] == ("joint-kept-5", "40", "10.0%", "700", "50.00%", "9.00%", "7.50%", "7.50%")


def test_what_is_not_there_yet_is_said(tmp_path):
    config = parse_config(TABLE, "test")
    folder = RunFolder.create(tmp_path / "run", to_toml(config))
    record = read_run(folder, config.model_dump(mode="json", exclude_none=True))
    assert "no network has been pruned" in sparse.summary(record)
    for _, section in sparse.SECTIONS:
        assert 'class="missing"' in section(record, {})
    assert all(len(table.rows) == 0 for table in sparse_tables.all_tables(record))


# ---------------------------------------------------------------------------------------- over seeds


def test_comparison_over_seeds(tmp_path):
    from scipy import stats

    errors = [((10, 20), (12, 22)), ((8, 20), (11, 23)), ((9, 22), (9, 24))]
    folders = [
        make_run(tmp_path / f"{seed}", seed, joint, single)[0].path
        for seed, (joint, single) in enumerate(errors, start=1)
    ]
    table = compare_sparse_runs(folders)
    error, volume = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    joint, single = ([sum(pair[i]) / 400 for pair in errors] for i in (0, 1))
    assert error["comparison"] == "joint - separate"
    assert error["seeds"] == error["first_better"] == 3
    assert error["first"] == pytest.approx(np.mean(joint))
    assert error["difference"] == pytest.approx(np.mean(np.subtract(joint, single)))
    assert error["p_value"] == pytest.approx(stats.ttest_rel(joint, single).pvalue)
    assert volume["quantity"] == "hypervolume"
    assert volume["first_better"] == 3
    assert volume["difference"] > 0
    rows = text_rows(table)
    assert rows["joint - separate"][0][0] == "test error at 0.05"
    assert rows["joint - separate"][0][-1] == "3 of 3"
    assert comparison_of(folders).compare is compare_sparse_runs


def test_searches_are_compared_at_equal_evaluations(tmp_path):
    runs = [make_run(tmp_path / f"{seed}", seed)[0] for seed in (1, 2)]
    for folder in runs:  # the random search took 10 evaluations a generation: of the ladder's, one counts
        search(folder, "joint--random", [[0.1, 0.2, 0.4], [0.4, 0.5, 0.1]], first_evaluations=10)
    rows = [row for row in compare_sparse_runs([f.path for f in runs]).rows if row[1] == "hypervolume"]
    assert rows[0][4] < rows[0][3]  # its second generation came too late


def test_comparison_refuses(tmp_path):
    first = make_run(tmp_path / "1", 1)[0].path
    with pytest.raises(RunFolderError, match="needs at least two run folders"):
        compare_sparse_runs([first])
    with pytest.raises(RunFolderError, match="has seed 1, like"):
        compare_sparse_runs([first, make_run(tmp_path / "twin", 1)[0].path])
    with pytest.raises(RunFolderError, match=r"another experiment .*: search\.generations is 7, not 100"):
        compare_sparse_runs(
            [first, make_run(tmp_path / "other", 2, overrides=["search.generations=7"])[0].path]
        )
    with pytest.raises(RunFolderError, match="this run is not finished"):
        compare_sparse_runs([first, make_run(tmp_path / "untested", 2, tested=False)[0].path])
    alone = ["baselines.separate=false", "baselines.initialisation=false"]
    with pytest.raises(RunFolderError, match="nothing to compare"):
        compare_sparse_runs([make_run(tmp_path / "alone", 1, overrides=alone)[0].path, first])
    lacking = make_run(tmp_path / "lacking", 2)[0]
    lacking.search_file("joint--random").unlink()
    with pytest.raises(RunFolderError, match="searches from both kinds of parents are not there"):
        compare_sparse_runs([first, lacking.path])
    half = make_run(tmp_path / "half", 2)[0]
    record_file(half, "single-low-kept-5").unlink()
    with pytest.raises(RunFolderError, match="this run is not finished"):
        compare_sparse_runs([first, half.path])


@pytest.mark.parametrize(("system", "table"), [("emomc", "networks"), ("filter-sharing", "shared_networks")])
def test_systems_without_a_comparison_are_told(tmp_path, system, table):
    folders = [RunFolder.create(tmp_path / n, f'system = "{system}"\n').path for n in ("1", "2")]
    with pytest.raises(
        RunFolderError, match=rf"no comparison over seeds for runs of '{system}'; .*/{table}\.csv"
    ):
        comparison_of(folders)


def test_a_record_knows_its_errors():
    one = network("joint-kept-5", ("low", "high"), (10, 20), 20)
    assert one.mean_error("after", "test") == pytest.approx(0.075)
    assert one.mean_error("stored") == pytest.approx(0.09)
    assert one.mean_error("before", "test") is None
    assert replace(one, test_stored_wrong=[]).mean_error("stored", "test") is None
    assert one.compression_rate == 10.0


def test_the_command_line_compares(tmp_path, cli):
    folders = [
        make_run(tmp_path / f"{seed}", seed, joint)[0].path for seed, joint in ((1, (10, 20)), (2, (8, 20)))
    ]
    outcome = cli("compare", *folders, "--out", tmp_path / "table.csv")
    assert outcome.code == 0, outcome.err
    assert "joint - separate (2 seeds)" in outcome.out
    assert "test error at 0.05" in outcome.out
    assert "ladder - random (2 seeds)" in outcome.out
    assert (tmp_path / "table.csv").read_text().startswith("comparison,quantity,seeds")
