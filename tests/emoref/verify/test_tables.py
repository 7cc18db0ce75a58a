"""Summary and page of the published tables."""

import pytest

from emoref.verify.display import full_table
from emoref.verify.published import ROWS, TOLERANCE
from emoref.verify.tables import FEWEST_SEEDS, summarise, to_markdown, verdict
from emoref.verify.trials import Trial


def results(key, entrant, values, measure="igd"):
    return {Trial(key, entrant, seed): {measure: value} for seed, value in enumerate(values)}


def line_of(found, key, entrant="nsga3", measure="igd"):
    return next(
        line
        for line in summarise(found)
        if (line.row.key, line.entrant, line.measure) == (key, entrant, measure)
    )


def test_figures():
    line = line_of(results("plain DTLZ2 M=3", "nsga3", [3e-3, 1e-3, 2e-3]), "plain DTLZ2 M=3")
    assert line.values == (1e-3, 2e-3, 3e-3)
    assert (line.figures.best, line.figures.median, line.figures.worst) == (1e-3, 2e-3, 3e-3)
    assert line.value == 2e-3
    assert line.limit == pytest.approx(TOLERANCE * 1.357e-3)
    assert line.ratio == pytest.approx(2e-3 / 1.357e-3)
    assert line.passed is False


def test_scaled_rows_are_held_against_the_plain_ones():
    key = "scaled DTLZ1 M=3"
    alone = results(key, "nsga3", [1e-3])
    assert line_of(alone, key).passed is None
    assert line_of(alone, key).ratio == pytest.approx(1e-3 / 1.214e-3)
    both = {**alone, **results("plain DTLZ1 M=3", "nsga3", [8e-4, 9e-4, 9.1e-4])}
    assert line_of(both, key).passed
    assert line_of(both, key).ratio == pytest.approx(1e-3 / 9e-4)
    # Another normalisation promises nothing on scaled problems.
    other = {Trial(t.row, "nsga3-deb2014", t.seed): m for t, m in both.items()}
    assert line_of(other, key, "nsga3-deb2014").passed is None
    assert line_of(other, "plain DTLZ1 M=3", "nsga3-deb2014").passed


def test_means_of_zdt():
    key = "zdt ZDT4 M=2"
    found = {Trial(key, "nsga2", s): {"gamma": g, "delta": 0.4} for s, g in enumerate([0.0, 0.1, 1.5])}
    gamma, delta = line_of(found, key, "nsga2", "gamma"), line_of(found, key, "nsga2", "delta")
    assert gamma.value == pytest.approx(1.6 / 3)
    assert gamma.passed is False
    assert gamma.ratio == pytest.approx(1.6 / 3 / 0.513053)
    assert delta.passed is None
    assert delta.ratio == pytest.approx(0.4 / 0.702612)


def test_fifteen_objectives_are_reported():
    line = line_of(results("plain DTLZ1 M=15", "nsga3", [1.0]), "plain DTLZ1 M=15")
    assert line.passed is None
    assert line.ratio == pytest.approx(1 / 5.063e-3)


@pytest.mark.parametrize(("seeds", "text"), [(3, "(pass)"), (FEWEST_SEEDS, "pass")])
def test_verdicts_of_few_seeds_are_in_brackets(seeds, text):
    key = "plain DTLZ2 M=3"
    assert verdict(line_of(results(key, "nsga3", [1e-3] * seeds), key)) == text


def test_unknown_rows_and_entrants_are_left_out():
    assert summarise({Trial("plain DTLZ9 M=3", "nsga3", 0): {"igd": 1.0}}) == []
    assert summarise({Trial("plain DTLZ1 M=3", "nsga9", 0): {"igd": 1.0}}) == []


def test_page():
    found = {
        **results("plain DTLZ2 M=3", "nsga3", [1e-3] * 11),
        **results("plain DTLZ1 M=15", "nsga3", [6e-3]),
        **results("scaled DTLZ2 M=3", "nsga3", [9e-3]),
        Trial("zdt ZDT6 M=2", "nsga2", 0): {"gamma": 0.005, "delta": 0.36},
    }
    page = to_markdown(summarise(found), 20, len(found))
    assert "14 of 20 planned runs" in page
    assert (
        "| DTLZ2 | 3 | 250 | 1.262e-03 / 1.357e-03 / 2.114e-03 [memory] | 9.735e-04 / 1.251e-03 / 1.645e-03 "
        "[measured] | 1.000e-03 / 1.000e-03 / 1.000e-03 | 11 | 0.74 | pass |"
    ) in page
    assert "| DTLZ1 | 15 | 1500 | 2.649e-03 / 5.063e-03 / 1.123e-02 [memory] | – | 6.000e-03" in page
    assert "| DTLZ2, factor 10 | 3 | 250 | – / 2.069e-03 / – [memory] | – |" in page
    assert "| ZDT6 | γ | 0.296564 (0.013135) [memory] | 0.005000 (0.000000) | 1 | 0.02 | (pass) |" in page
    assert page.index("## NSGA-III: DTLZ1-4") < page.index("scaled DTLZ1-2") < page.index("## NSGA-II: ZDT")
    rows = [line.count("|") for line in page.splitlines() if line.startswith("| DTLZ")]
    assert set(rows) == {10}


def test_every_row_has_a_place_on_the_page():
    found = {}
    for row in ROWS.values():
        entrant = "nsga2" if row.table == "zdt" else "nsga3"
        found[Trial(row.key, entrant, 0)] = dict.fromkeys(row.measures, 1e-3)
    lines = summarise(found)
    assert len(lines) == len(ROWS) + 5
    assert to_markdown(lines, 1, 1).count("\n| ") >= len(lines)
    assert full_table(lines).row_count == len(lines)
