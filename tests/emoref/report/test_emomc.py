"""Tables and page of an EMOMC run: what they say, and that an unfinished run is no obstacle."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from emoref.compress.energy import DATAFLOWS
from emoref.report import emomc, emomc_tables, html, network_lines, pages, write_tables
from emoref.runs.compressed import CompressedRecord, Count, read_compressed, write_compressed
from emoref.runs.folder import RunFolder
from emoref.runs.record import NetworkRecord, Outcome, RunRecord
from emoref.runs.store import Generation, SearchStore

LAYERS = [["conv1", 36], ["conv2", 216], ["fc", 288]]
CONFIG = {
    "system": "emomc",
    "name": "by hand",
    "seed": 7,
    "data": {"name": "tiny-images"},
    "base": {"network": "tiny"},
    "select": {"max_error_increase": 0.003, "reward_over_penalty": [5.0, 1.0]},
}


def store_of(folder: RunFolder, name: str, objective: str, coding: str, costs: list[float]) -> SearchStore:
    layout = {
        "genes": "integers",
        "layers": LAYERS,
        "ratios": [0.2, 0.5],
        "objectives": ["error", objective],
        "dataflow": "X:Y",
        "coding": coding,
        "images": 100,
        "base_wrong": 2,
    }
    store = SearchStore(folder.search_file(name), layout)
    genomes = np.array([[0, 4, 3, 2], [1, 8, 6, 12], [1, 8, 6, 11]])
    objectives = np.column_stack(([0.3, 0.02, 0.4], costs))
    for evaluations in (3, 5):
        store.append(
            Generation(genomes, objectives, np.zeros((3, 1)), np.array([0, 0, 1]), evaluations),
            {"seed": np.int64(7)},
        )
    return store


def network_of(
    name: str, search: str, energy_pj: float, size_bits: float, wrong: int = 4
) -> CompressedRecord:
    bits = {"conv1": 8, "conv2": 6, "fc": 12}
    return CompressedRecord(
        name=name,
        search=search,
        choice="cheapest <within>",
        remaining_ratio=0.5,
        bits=bits,
        nonzero={"conv1": 18, "conv2": 100, "fc": 144},
        weights={"conv1": 36, "conv2": 216, "fc": 288},
        energies_pj=dict.fromkeys(DATAFLOWS, energy_pj),
        sizes_bits={"normal": 4 * size_bits, "csr": size_bits, "coo": 2 * size_bits},
        base_energies_pj=dict.fromkeys(DATAFLOWS, 1e6),
        base_size_bits=540 * 32.0,
        coders=dict.fromkeys(bits, "relative-3"),
        promised_bytes=0,
        weight_bytes=300,
        other_bytes=40,
        header_bytes=1000,
        searched=Count(100, 2),
        validation=Count(200, wrong),
        breakdown_pj={
            d: {"conv1": [1.0, 2, 3, 4, 5], "conv2": [0.0] * 5, "fc": [1.0] * 5} for d in DATAFLOWS
        },
        test=Count(1000, 30),
    )


@pytest.fixture
def run(record: RunRecord, tmp_path) -> RunRecord:
    """A finished run made by hand: a search for energy, one for size, two networks."""
    folder = RunFolder.create(tmp_path / "emomc", 'name = "by hand"\nseed = 7\n')
    folder.make_folder(folder.searches)
    base = NetworkRecord(
        "base", "base", "trained", {"conv1": 4}, 4, 4, 10, 10, Outcome(200, 4, 4), Outcome(1000, 28, 28)
    )
    return RunRecord(
        folder=folder,
        config=CONFIG,
        network=record.network,
        base=base,
        layout={},
        generations=[],
        selected=[],
        events=[],
        library=({"remaining_ratio": 0.2, "images": 200, "wrong": 9, "error": 0.045},),
        searches={
            "size-csr": store_of(folder, "size-csr", "size as csr (bit)", "csr", [1000.0, 4000.0, 3900.0]),
            "energy-X-Y": store_of(folder, "energy-X-Y", "energy under X:Y (pJ)", "normal", [1e5, 3e5, 2e5]),
        },
        compressed=(
            network_of("size-csr-within", "size-csr", 2e5, 1728.0, wrong=4),
            network_of("energy-X-Y-within", "energy-X-Y", 1e5, 3456.0, wrong=5),
        ),
    )


def rows_of(run, name):
    table = next(table for table in emomc_tables.all_tables(run) if table.name == name)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_networks_come_search_by_search_with_their_factors(run):
    first, second = rows_of(run, "networks")
    assert (first["name"], second["name"]) == ("energy-X-Y-within", "size-csr-within")
    assert first["energy_factor_X:Y"] == pytest.approx(10)
    assert second["size_factor_csr"] == pytest.approx(10)
    assert second["file_bytes"] == 1340
    assert first["test_error_increase"] == pytest.approx(0.002)
    assert first["nonzero_ratio"] == pytest.approx(262 / 540)


def test_fronts_list_the_last_generation(run):
    rows = [row for row in rows_of(run, "fronts") if row["search"] == "energy-X-Y"]
    assert [row["error"] for row in rows] == [0.02, 0.3]
    assert rows[0]["remaining_ratio"] == 0.5
    assert rows[0]["bits_fc"] == 12
    assert rows[0]["energy_pj"] == 3e5
    assert rows[0]["size_bits"] is None
    assert rows[0]["wrong"] == 2


def test_hypervolume_is_the_share_of_the_box_up_to_the_uncompressed_network(run):
    row = [row for row in rows_of(run, "generations") if row["search"] == "size-csr"][-1]
    low, high = 1000 / (540 * 32), 4000 / (540 * 32)
    assert row["hypervolume"] == pytest.approx((high - low) * 0.7 + (1 - high) * 0.98)


def test_energy_of_every_layer_adds_up(run):
    rows = rows_of(run, "energy")
    mine = [row for row in rows if row["network"] == "energy-X-Y-within" and row["dataflow"] == "CI:CO"]
    assert [row["total_pj"] for row in mine] == [15, 0, 5]
    assert {row["network"] for row in rows} == {"base", "energy-X-Y-within", "size-csr-within"}


def test_scores_follow_the_formula(run):
    row = rows_of(run, "scores")[0]
    assert row["score_1"] == pytest.approx((0.97 - 0.03) / (0.972 - 0.028) * 10)


def test_csv_files_hold_what_the_tables_hold(run):
    paths = write_tables(run)
    assert [path.stem for path in paths] == [
        "fronts",
        "networks",
        "generations",
        "library",
        "energy",
        "scores",
    ]
    with open(paths[1], newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["energy-X-Y-within", "size-csr-within"]


def page_of(run):
    page = pages.page_of(run)
    return html.render(run, "", page.sections, page.summary)


def test_the_page_shows_every_section(run):
    page = page_of(run)
    for title, _ in emomc.SECTIONS:
        assert f"<h2>{title}</h2>" in page
    kept = replace(run, compressed=tuple(replace(n, validation=Count(200, 4)) for n in run.compressed))
    assert (
        "Times less at 0.3 points more validation error at most: energy 10.0 (X:Y); size 10.0 (csr).<"
        in page_of(kept)
    )
    assert "paper: Play and Prune" in page
    assert "14" in page
    assert "cheapest &lt;within&gt;" in page
    found = re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    figures = json.loads(found[1])
    assert figures["bits"]["data"][0]["z"] == [[8, 6, 12], [8, 6, 12]]
    assert {"front-energy-X-Y", "front-size-csr", "library", "hypervolumes", "energy-parts-X-Y"} <= set(
        figures
    )


def test_a_network_beyond_the_limit_is_not_called_within_it(run):
    """The base network errs on 2 % of the validation images; 2.5 % are more than 0.3 points beyond."""
    page = page_of(run)
    assert "Times less at 0.3 points more validation error at most: size 10.0 (csr)." in page
    assert "No network kept to 0.3 points for X:Y." in page
    assert "<td>10.00 *</td>" in page
    nothing = replace(run, compressed=(run.compressed[1],))
    assert "1 network written. No network kept to 0.3 points for X:Y." in page_of(nothing)
    assert not emomc_tables.keeps_limit(replace(run, base=None), run.compressed[0])


def test_beside_the_paper_stands_the_search_for_that_cost_alone(run):
    three = network_of("three-within", "three", 5e4, 864.0)
    layout = {**run.searches["size-csr"].layout, "coding": "csr"}
    layout["objectives"] = ["error", "energy under X:Y (pJ)", "size as csr (bit)"]
    both = replace(
        run,
        searches={**run.searches, "three": SearchStore(run.folder.search_file("three"), layout)},
        compressed=(*run.compressed, three),
    )
    chosen = emomc_tables.within_limit(both)
    assert {cost: n.name for cost, n in chosen.items()} == {
        "X:Y": "energy-X-Y-within",
        "csr": "size-csr-within",
    }
    alone = emomc_tables.within_limit(replace(both, compressed=(three,)))
    assert {cost: n.name for cost, n in alone.items()} == {"X:Y": "three-within", "csr": "three-within"}


def test_the_page_says_when_the_test_set_was_looked_at(run):
    told = replace(run, config={**CONFIG, "search": {"paper_protocol": True}})
    assert "Errors are those on the test set" in page_of(told)
    assert "Errors are those on the test set" not in page_of(run)


def test_an_unfinished_run_has_a_page_too(run):
    chosen = replace(run, compressed=())
    searched = replace(chosen, searches={})
    nothing = replace(searched, library=(), base=None, network=None)
    for stage in (chosen, searched, nothing):
        assert "Beside the paper" in page_of(stage)
        assert write_tables(stage)
    assert "not trained yet" in page_of(nothing)
    untested = replace(run, compressed=tuple(replace(n, test=None) for n in run.compressed))
    assert "–" in page_of(untested)


def test_lines_for_the_terminal(run):
    titles, rows = network_lines(run)
    assert titles[0] == "network"
    assert [row[0] for row in rows] == ["base", "energy-X-Y-within", "size-csr-within"]
    assert rows[1][3] == "10.00"


def test_a_record_is_read_as_it_was_written(run):
    network = run.compressed[0]
    run.folder.make_folder(run.folder.models)
    write_compressed(run.folder, network)
    assert read_compressed(run.folder, network.name) == network
    shutil.rmtree(run.folder.models)
