import h5py
import numpy as np
import pytest

from emoref.errors import FileFormatError
from emoref.hdf5 import (
    open_checked,
    read_array,
    read_json,
    write_array,
    write_atomic,
    write_attributes,
    write_json,
)


def write(path, fill=lambda file: None):
    def whole(file):
        write_attributes(file, emoref_class="thing", format_version=3)
        fill(file)

    write_atomic(path, whole)


def test_round_trip_of_arrays_json_and_attributes(tmp_path):
    values = {
        "a": np.arange(6.0).reshape(2, 3),
        "n": np.array([1, 2]),
        "flag": np.array(True),
        "e": np.zeros((0, 3)),
    }
    text = {"ü": [1, 2.5, None, True], "a": "x" * 100_000}

    def fill(file):
        for name, value in values.items():
            write_array(file, name, value, dimensions="row, column", units="pJ")
        write_json(file.create_group("g"), "text", text)

    write(tmp_path / "f.h5", fill)
    with open_checked(tmp_path / "f.h5", "thing", 5) as file:
        for name, value in values.items():
            assert np.array_equal(read_array(file, name, kinds="fib", shape=value.shape), value)
        assert read_json(file, "g/text") == text
        assert file["a"].attrs["units"] == b"pJ"
        with pytest.raises(FileFormatError, match=r"f\.h5: /x is missing"):
            read_array(file, "x")
        with pytest.raises(FileFormatError, match=r"/n has data type int64, wanted kind 'f'"):
            read_array(file, "n")
        with pytest.raises(FileFormatError, match=r"/a has shape \(2, 3\), wanted \(6,\)"):
            read_array(file, "a", shape=(6,))
        with pytest.raises(FileFormatError, match="JSON text is missing"):
            read_json(file, "a")


def test_texts_of_variable_length_are_stored_with_fixed_length(tmp_path):
    def fill(file):
        file.attrs["note"] = "plain h5py"
        file.create_group("g").attrs["names"] = "é, ü"

    write(tmp_path / "f.h5", fill)
    with h5py.File(tmp_path / "f.h5") as file:
        for item, name in ((file, "note"), (file["g"], "names")):
            assert item.attrs.get_id(name).dtype.kind == "S"
        assert file["g"].attrs["names"].decode() == "é, ü"


def test_compressed_data_sets_are_read(tmp_path):
    ones = np.ones((50, 1000), np.uint8)

    def fill(file):
        file.create_dataset("bits", data=ones, compression="gzip", chunks=(1, 1000), shuffle=True)

    write(tmp_path / "f.h5", fill)
    with open_checked(tmp_path / "f.h5", "thing", 3) as file:
        assert (read_array(file, "bits", kinds="u") == ones).all()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "f.h5"
    write(path)
    before = path.read_bytes()

    def fail(file):
        write_array(file, "a", np.zeros(1000))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, fail)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileFormatError, match="cannot be written"):
        write(tmp_path / "no" / "f.h5")
    with pytest.raises(FileFormatError, match="cannot be written"):
        write(tmp_path)


def test_class_and_version(tmp_path):
    path = tmp_path / "f.h5"
    write(path)
    with open_checked(path, "thing", 3) as file:
        assert list(file) == []
    with (
        pytest.raises(FileFormatError, match="format version 3, this emoref reads up to 2"),
        open_checked(path, "thing", 2),
    ):
        pass
    with (
        pytest.raises(FileFormatError, match='holds a "thing"; a file of class "network"'),
        open_checked(path, "network", 3),
    ):
        pass


def test_errors_of_hdf5_inside_the_block_are_errors_of_the_file(tmp_path):
    path = tmp_path / "f.h5"
    write(path)
    with pytest.raises(FileFormatError, match="damaged"), open_checked(path, "thing", 3) as file:
        _ = file["missing"]
    with pytest.raises(ZeroDivisionError), open_checked(path, "thing", 3):
        _ = 1 / 0
