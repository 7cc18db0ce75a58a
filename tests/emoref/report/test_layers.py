import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.report import layers
from emoref.runs.record import RunRecord


def test_bars_add_up_to_the_layers(record: RunRecord) -> None:
    kept_half, removed_half, kept_small, removed_small = layers.layers_figure(record)["data"]
    assert (kept_half["y"], removed_half["y"]) == ([2, 3], [2, 3])
    assert (kept_small["y"], removed_small["y"]) == ([1, 1], [3, 5])
    assert removed_small["text"] == ["1 of 4", "1 of 6"]


def test_kept_indices_are_counted_from_0_in_each_layer(record: RunRecord) -> None:
    assert layers.kept_indices(record, record.selected[0]) == [[0, 1], [0, 1, 2]]
    assert layers.kept_indices(record, record.selected[1]) == [[0], [0]]


def test_the_map_has_one_cell_run_for_neighbours(record: RunRecord) -> None:
    svg = layers.kept_map_svg(6, [[0, 1, 2], [4]], ["red", "blue"])
    assert re.findall(r"<title>(.*?)</title>", svg) == ["filters 0 to 2 kept", "filter 4 kept"]
    assert svg.count('class="removed"') == 2


@given(st.sets(st.integers(0, 40)))
@settings(deadline=None, max_examples=60)
def test_runs_cover_exactly_the_indices(indices: set[int]) -> None:
    found = layers.runs(sorted(indices))
    assert [i for first, last in found for i in range(first, last + 1)] == sorted(indices)
    assert all(b[0] > a[1] + 1 for a, b in pairwise(found))
