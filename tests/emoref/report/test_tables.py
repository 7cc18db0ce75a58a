import csv
from dataclasses import replace

import numpy as np
import pytest

from emoref.errors import FileFormatError
from emoref.report import tables, write_tables
from emoref.runs.record import RunRecord


def test_the_front_lists_its_members_fewest_filters_first(record: RunRecord) -> None:
    table = tables.front_table(record)

    # Two individuals of the last generation share 2 filters and 80 wrong; they are one point of the front.
    assert table.columns == (
        "order", "filters_kept_conv1", "filters_kept_conv2", "filters", "remaining_ratio", "pruned_ratio",
        "wrong", "error",
    )  # fmt: skip
    assert table.rows == (
        (1, 1, 1, 2, 0.2, 0.8, 80, 0.8),
        (2, 2, 2, 4, 0.4, 0.6, 45, 0.45),
        (3, 2, 3, 5, 0.5, 0.5, 20, 0.2),
    )


def test_the_progress_of_every_generation_is_listed(record: RunRecord) -> None:
    table = tables.generations_table(record)

    # Hypervolumes by hand, as sums of rectangles below the reference point (1, 1). Generation 0: the
    # infeasible individual does not count, the full network lies on the border, the other one dominates
    # 0.5 * 0.4.
    assert table.columns == (
        "generation", "evaluations", "front_size", "fewest_filters", "lowest_error", "hypervolume",
    )  # fmt: skip
    assert [row[:5] for row in table.rows] == [(0, 3, 2, 5, 0.02), (1, 6, 3, 2, 0.02), (2, 9, 3, 2, 0.2)]
    assert [row[5] for row in table.rows] == pytest.approx(
        [0.5 * 0.4, 0.3 * 0.2 + 0.5 * 0.6, 0.2 * 0.2 + 0.1 * 0.55 + 0.5 * 0.8]
    )


def test_the_networks_carry_their_figures(record: RunRecord) -> None:
    table = tables.networks_table(record)
    base, half, small = (dict(zip(table.columns, row, strict=True)) for row in table.rows)

    assert (base["name"], base["role"], base["pruned_ratio"], base["compression_ratio"]) == (
        "base",
        "base",
        0.0,
        1.0,
    )
    assert (half["filters_kept_conv1"], half["filters_kept_conv2"], half["filters"]) == (2, 3, 5)
    assert (small["pruned_ratio"], small["compression_ratio"]) == (0.8, 5.0)
    assert (half["macs"], half["params"], half["size_bytes"]) == (2_300_000, 1_234, 9_876)
    assert (half["validation_error_before"], half["validation_error_after"]) == (0.2, 0.03)
    assert (small["test_images"], small["test_error_before"], small["test_error_after"]) == (200, 0.8, 0.125)


def test_wrong_predictions_are_counted_on_the_images_of_the_search(record: RunRecord) -> None:
    subset = replace(record, layout={**record.layout, "images": 20})
    assert [row[-2] for row in tables.front_table(subset).rows] == [16, 9, 4]

    layout = {k: v for k, v in record.layout.items() if k != "images"}
    assert [row[-2] for row in tables.front_table(replace(record, layout=layout)).rows] == [80, 45, 20]
    assert [row[-2] for row in tables.front_table(replace(record, layout=layout, base=None)).rows] == [
        None
    ] * 3


def test_the_error_is_found_by_its_name(record: RunRecord) -> None:
    swapped = [
        replace(g, objectives=np.column_stack((g.objectives, g.objectives[:, 1]))[:, [0, 0, 2]])
        for g in record.generations
    ]
    layout = {**record.layout, "objectives": ["remaining filter ratio", "macs", "Validation Error"]}
    table = tables.front_table(replace(record, generations=swapped, layout=layout))
    assert [row[-1] for row in table.rows] == [0.8, 0.45, 0.2]


def test_csv_files_hold_the_tables(record: RunRecord) -> None:
    nasty = replace(record.selected[0], choice='a "quoted", two\nline choice')
    paths = write_tables(replace(record, selected=[nasty]))

    assert [path.name for path in paths] == ["front.csv", "networks.csv", "generations.csv"]
    assert {path.parent for path in paths} == {record.folder.tables}
    with open(paths[0], newline="") as file:
        front = list(csv.DictReader(file))
    assert [(float(row["error"]), int(row["wrong"])) for row in front] == [(0.8, 80), (0.45, 45), (0.2, 20)]
    with open(paths[1], newline="") as file:
        networks = list(csv.DictReader(file))
    assert [row["choice"] for row in networks] == ["trained from scratch", 'a "quoted", two\nline choice']
    assert sorted(p.name for p in record.folder.tables.iterdir()) == [
        "front.csv",
        "generations.csv",
        "networks.csv",
    ]


def test_writing_again_gives_the_same_bytes(record: RunRecord) -> None:
    first = [path.read_bytes() for path in write_tables(record)]
    assert [path.read_bytes() for path in write_tables(record)] == first


@pytest.mark.parametrize(
    ("stage", "rows"),
    [
        ("started", (0, 0, 0)),
        ("based", (0, 1, 0)),
        ("searched", (3, 1, 3)),
        ("nothing feasible", (0, 1, 1)),
        ("untested", (3, 3, 3)),
    ],
)
def test_an_unfinished_run_has_shorter_tables(
    unfinished: dict[str, RunRecord], stage: str, rows: tuple[int, int, int]
) -> None:
    paths = write_tables(unfinished[stage])
    assert tuple(len(path.read_text().splitlines()) - 1 for path in paths) == rows


def test_a_generation_without_feasible_individuals_has_empty_cells(unfinished: dict[str, RunRecord]) -> None:
    table = tables.generations_table(unfinished["nothing feasible"])
    assert table.rows == ((0, 1, 0, None, None, 0.0),)
    assert table.to_csv().splitlines()[1] == "0,1,0,,,0.0"


def test_a_test_set_not_used_yet_gives_empty_cells(unfinished: dict[str, RunRecord]) -> None:
    table = tables.networks_table(unfinished["untested"])
    assert [row[-3:] for row in table.rows] == [(None, None, None)] * 3


def test_a_search_that_contradicts_itself_is_refused(record: RunRecord) -> None:
    wrong = replace(record, layout={**record.layout, "layers": [["conv1", 4]]})
    with pytest.raises(FileFormatError, match="layers have 4 filters, its genomes 10 bits"):
        tables.front_table(wrong)
