import csv
from dataclasses import replace

import pytest

from emoref.report import baselines, html, tables, write_tables
from emoref.runs.record import RunRecord


def untested(compared: RunRecord) -> RunRecord:
    rivals = {name: [replace(r, test=None) for r in found] for name, found in compared.baselines.items()}
    selected = [replace(network, test=None) for network in compared.selected]
    return replace(compared, selected=selected, baselines=rivals)


def section(record: RunRecord) -> tuple[str, dict]:
    drawn: dict = {}
    return baselines.section(record, drawn), drawn


def verdict(record: RunRecord) -> list[str]:
    return baselines.verdict(tables.contenders(record, record.selected[0]))


def test_the_table_holds_counts_errors_and_differences(compared: RunRecord) -> None:
    table = tables.baselines_table(compared)
    assert table.columns == (
        "selected", "method", "filters", "shared_filters",
        "validation_images", "validation_wrong_before", "validation_wrong_after",
        "validation_error_before", "validation_error_after",
        "test_images", "test_wrong_before", "test_wrong_after", "test_error_before", "test_error_after",
        "test_wrong_before_minus_searched", "test_wrong_after_minus_searched",
    )  # fmt: skip
    # Searched: filters 0, 1, 4, 5, 6; l1 shares 0, 4 and 5. Test: 44 and 6 of 200 wrong; l1: 64 and 9.
    assert table.rows == (
        ("half", "searched", 5, 5, 100, 20, 3, 0.2, 0.03, 200, 44, 6, 0.22, 0.03, 0, 0),
        ("half", "l1", 5, 3, 100, 30, 4, 0.3, 0.04, 200, 64, 9, 0.32, 0.045, 20, 3),
        ("half", "taylor", 5, 5, 100, 18, 3, 0.18, 0.03, 200, 41, 6, 0.205, 0.03, -3, 0),
        ("half", "scratch", 5, None, 100, None, 12, None, 0.12, 200, None, 26, None, 0.13, None, 20),
        ("half", "scratch-long", 5, None, 100, None, 2, None, 0.02, 200, None, 5, None, 0.025, None, -1),
    )


def test_the_file_is_there_for_runs_with_baselines_only(record: RunRecord, compared: RunRecord) -> None:
    assert "baselines.csv" not in [path.name for path in write_tables(record)]
    path = write_tables(compared)[-1]
    assert path.name == "baselines.csv"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["test_wrong_after_minus_searched"]) for row in rows] == [
        ("searched", "0"), ("l1", "3"), ("taylor", "0"), ("scratch", "20"), ("scratch-long", "-1"),
    ]  # fmt: skip
    assert rows[3]["test_wrong_before"] == ""


def test_plain_words_say_who_wins_and_by_how_much(compared: RunRecord) -> None:
    assert verdict(compared) == [
        "Before fine-tuning, 44 of 200 test images are wrong; with the best criterion, taylor, 41: the "
        "search loses by 3 images and beats 1 of 2 criteria.",
        "After it, 6 of 200 test images are wrong; with the best criterion, taylor, 6: the search draws and "
        "beats 1 of 2 criteria; with scratch 26: the search wins by 20 images; with scratch-long 5: the "
        "search loses by 1 image.",
    ]


def test_before_the_test_the_words_are_about_validation_images(compared: RunRecord) -> None:
    words = verdict(untested(compared))
    assert words[0].startswith("Before fine-tuning, 20 of 100 validation images are wrong; with the best")
    assert words[-1] == "The test set has not been used yet."
    content, drawn = section(untested(compared))
    assert list(drawn) == ["baselines-1-validation"]
    assert ">–<" in content


def test_baselines_that_are_not_fine_tuned_are_compared_before_it_only(compared: RunRecord) -> None:
    rivals = [replace(r, curves={}) for r in compared.baselines["half"] if not r.from_scratch]
    untuned = replace(compared, baselines={"half": rivals})
    assert len(verdict(untuned)) == 1
    rows = tables.baselines_table(untuned).rows
    assert [row[6] for row in rows] == [3, None, None]
    figure = baselines.comparison_figure(
        tables.contenders(untuned, untuned.selected[0]), "test", "var(--series-1)"
    )
    assert [len(trace["x"]) for trace in figure["data"]] == [2, 1, 1]


def test_the_figure_has_a_row_for_every_method(compared: RunRecord) -> None:
    members = tables.contenders(compared, compared.selected[0])
    figure = baselines.comparison_figure(members, "test", "var(--series-1)")
    assert [trace["name"] for trace in figure["data"]] == [
        "searched",
        "l1",
        "taylor",
        "scratch",
        "scratch-long",
    ]
    assert [trace["x"] for trace in figure["data"]] == [
        [0.22, 0.03], [0.32, 0.045], [0.205, 0.03], [0.13], [0.025],
    ]  # fmt: skip
    assert figure["data"][1]["marker"]["symbol"] == ["circle-open", "circle"]
    assert figure["data"][3]["marker"]["symbol"] == ["circle"]
    assert "(64 of 200 wrong)" in figure["data"][1]["hovertext"][0]
    assert figure["data"][0]["marker"]["color"] == "var(--series-1)"
    assert figure["layout"]["xaxis"]["type"] == "linear"
    assert figure["layout"]["yaxis"]["ticktext"][1] == "l1"


def test_the_section_shows_networks_with_baselines(compared: RunRecord) -> None:
    content, drawn = section(compared)
    assert list(drawn) == ["baselines-1-validation", "baselines-1-test"]
    assert "64 (+20)" in content
    assert "41 (−3)" in content
    assert "6 (±0)" in content
    assert ">44<" in content
    assert content.count("<h3>") == 1, "the network without baselines is left out"
    page = html.render(compared, "")
    assert page.index("<h2>Networks</h2>") < page.index("<h2>Against the baselines</h2>")
    assert page.index("<h2>Against the baselines</h2>") < page.index("<h2>Training</h2>")


def test_runs_without_baselines_have_no_such_section(record: RunRecord) -> None:
    assert section(record) == ("", {})
    assert "Against the baselines" not in html.render(record, "")
    wanted = replace(record, config={**record.config, "baselines": {"enabled": True}})
    assert "No baselines yet" in section(wanted)[0]


def test_strings_from_outside_are_escaped(compared: RunRecord) -> None:
    rivals = [replace(r, name=f"half/<b>{r.method}%{{x}}") for r in compared.baselines["half"]]
    content, drawn = section(replace(compared, baselines={"half": rivals}))
    assert "<b>" not in content
    ticks = drawn["baselines-1-test"]["layout"]["yaxis"]["ticktext"]
    assert ticks[1] == "&lt;b&gt;l1&#37;{x}"


def test_plotly_accepts_the_figure(compared: RunRecord) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for figure in section(compared)[1].values():
        graph_objects.Figure(figure)
