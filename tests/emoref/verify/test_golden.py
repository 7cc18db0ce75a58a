import dataclasses

import numpy as np
import pytest

from emoref.errors import FileFormatError
from emoref.hdf5 import write_atomic, write_json
from emoref.verify import GOLDEN_PATH, load_golden
from emoref.verify.golden import save_golden

GOLDEN = load_golden()


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "golden.h5"
    save_golden(path, GOLDEN)
    again = load_golden(path)
    assert again.operations == GOLDEN.operations
    for read, written in zip(again.cases, GOLDEN.cases, strict=True):
        assert (read.operation, read.about, read.arguments) == (
            written.operation,
            written.about,
            written.arguments,
        )
        for name in ("inputs", "results"):
            assert_same_arrays(getattr(read, name), getattr(written, name))
    assert (again.training.net, again.training.config) == (GOLDEN.training.net, GOLDEN.training.config)
    assert_same_arrays(again.training.expected, GOLDEN.training.expected)
    assert_same_arrays(again.training.initial, GOLDEN.training.initial)


def assert_same_arrays(actual, expected):
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)


def test_equal_contents_give_equal_bytes(tmp_path):
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for path in paths:
        save_golden(path, GOLDEN)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_dtypes_and_names():
    assert GOLDEN_PATH.stat().st_size < 450_000
    for case in GOLDEN.cases:
        for name, array in case.inputs.items():
            special = {"labels": np.int64, "keep": np.bool_, "F": np.float64, "ref": np.float64}
            assert array.dtype == special.get(name, np.float32), f"{case.operation} {name}"
        for name, array in case.results.items():
            assert array.dtype == (np.int64 if name == "ranks" else np.float64), f"{case.operation} {name}"
            if name.startswith("d") and name != "distance":
                assert array.shape == case.inputs[name[1:]].shape
        assert case.about
    assert GOLDEN.training.losses.shape == (10,)


def test_inputs_as_converts_what_is_float32_and_copies():
    labelled = GOLDEN.cases_of("softmax_cross_entropy")[0]
    doubled = labelled.inputs_as("float64")
    assert (doubled["logits"].dtype, doubled["labels"].dtype) == (np.float64, np.int64)
    same = labelled.inputs_as("float32")
    same["logits"][:] = 0
    assert labelled.inputs["logits"].any()


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "golden.h5"
    data = GOLDEN_PATH.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileFormatError, match=r"golden\.h5"):
        load_golden(path)
    with pytest.raises(FileFormatError, match="no such file"):
        load_golden(tmp_path / "absent.h5")


@pytest.mark.parametrize(
    "record",
    [
        {"about": "", "arguments": {}, "inputs": ["x"], "results": []},
        {"about": "", "arguments": {}, "inputs": 3, "results": []},
        {"about": "", "arguments": {}, "inputs": [3], "results": []},
        {"inputs": [], "results": []},
        [],
    ],
)
def test_another_layout_is_refused(tmp_path, record):
    path = tmp_path / "golden.h5"

    def fill(file):
        file.attrs["emoref_class"] = "golden"
        file.attrs["format_version"] = 1
        write_json(file.create_group("operations/relu/00"), "case", record)

    write_atomic(path, fill)
    with pytest.raises(FileFormatError, match=r"golden\.h5"):
        load_golden(path)


def test_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "golden.h5"
    newer = {"emoref_class": "golden", "format_version": 2}
    write_atomic(path, lambda file: file.attrs.update(newer))
    with pytest.raises(FileFormatError, match="newer emoref"):
        load_golden(path)


def test_records_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GOLDEN.cases[0].operation = "other"
