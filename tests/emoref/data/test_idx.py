import gzip
import lzma
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emoref.data.idx import (
    TYPE_CODES,
    read_idx,
    read_image_set,
    read_images,
    read_labels,
    write_idx,
)
from emoref.errors import DataError

IMAGES = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3)
IMAGES_FILE = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(12))
LABELS_FILE = bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 1])
DTYPES = [dtype.newbyteorder("=") for dtype in TYPE_CODES.values()]


def packed(data: bytes, suffix: str) -> bytes:
    return {"": data, ".gz": gzip.compress(data, mtime=0), ".xz": lzma.compress(data)}[suffix]


def stored(folder: Path, data: bytes, suffix: str = "", name: str = "images-idx3-ubyte") -> Path:
    path = folder / (name + suffix)
    path.write_bytes(packed(data, suffix))
    return path


def refusal(path: Path, *parts: str, read=read_idx) -> str:
    """Read a bad file and check that the message is short and names the file and the given parts."""
    with pytest.raises(DataError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) <= 2
    assert len(text) < 300 + len(str(path))
    for part in parts:
        assert part in text, text
    return text


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_reads_a_file_made_by_hand(tmp_path, suffix):
    images = read_idx(stored(tmp_path, IMAGES_FILE, suffix))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)
    images[0, 0, 0] = 9  # a caller may write into what he read


@pytest.mark.parametrize(
    ("code", "form", "values"),
    [
        (0x08, ">3B", [0, 1, 255]),
        (0x09, ">3b", [0, -1, -128]),
        (0x0B, ">3h", [1, -2, 32767]),
        (0x0C, ">3i", [1, -2, 2**31 - 1]),
        (0x0D, ">3f", [1.0, -2.5, 3e38]),
        (0x0E, ">3d", [1.0, -2.5, 1e300]),
    ],
)
def test_number_types_are_big_endian_on_disk_and_native_in_memory(tmp_path, code, form, values):
    data = bytes([0, 0, code, 1]) + struct.pack(">I", 3) + struct.pack(form, *values)
    array = read_idx(stored(tmp_path, data))
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, np.array(values, array.dtype))


arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5))
)


@given(array=arrays, suffix=st.sampled_from(["", ".gz", ".xz"]))
@settings(deadline=None, max_examples=60)
def test_round_trip(tmp_path_factory, array, suffix):
    path = tmp_path_factory.mktemp("idx") / f"array{suffix}"
    write_idx(path, array)
    again = read_idx(path)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_write_gives_the_official_bytes(tmp_path):
    write_idx(tmp_path / "images", IMAGES)
    assert (tmp_path / "images").read_bytes() == IMAGES_FILE


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_write_is_reproducible_whatever_the_name(tmp_path, suffix):
    write_idx(tmp_path / f"one{suffix}", IMAGES)
    write_idx(tmp_path / f"two{suffix}", IMAGES)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_write_accepts_other_byte_orders_and_strides(tmp_path):
    array = np.arange(12, dtype="<i4").reshape(3, 4)
    write_idx(tmp_path / "a", array.astype(">i4").T)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array.T)


@pytest.mark.parametrize("array", [np.zeros(2, np.int64), np.zeros(2, bool), np.array(3, np.uint8)])
def test_write_refuses_what_the_format_cannot_hold(tmp_path, array):
    with pytest.raises(DataError, match="IDX cannot hold"):
        write_idx(tmp_path / "a", array)
    assert not (tmp_path / "a").exists()


def test_write_into_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_idx(tmp_path / "none" / "a", IMAGES)


def test_a_gz_name_on_a_plain_file_and_the_reverse_are_read(tmp_path):
    (tmp_path / "plain.gz").write_bytes(IMAGES_FILE)
    (tmp_path / "packed").write_bytes(packed(IMAGES_FILE, ".gz"))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), IMAGES)
    np.testing.assert_array_equal(read_idx(tmp_path / "packed"), IMAGES)


def test_missing_file_and_directory(tmp_path):
    refusal(tmp_path / "none.gz", "no such file")
    refusal(tmp_path, "is a directory")


def test_empty_file(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    refusal(tmp_path / "empty", "is empty", "0 bytes")


def test_a_device_is_not_read():
    device = Path("/dev/zero")
    if not device.exists():
        pytest.skip("this system has no /dev/zero")
    refusal(device, "regular file")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("length", range(1, 16))
def test_header_cut_at_every_byte(tmp_path, length, suffix):
    text = refusal(stored(tmp_path, IMAGES_FILE[:length], suffix), f"byte {length};", "header cut short")
    assert ("decompressed" in text) == bool(suffix)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_compressed_file_of_nothing(tmp_path, suffix):
    refusal(stored(tmp_path, b"", suffix), "header cut short at decompressed byte 0")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("length", [16, 17, 27])
def test_body_cut_short(tmp_path, length, suffix):
    path = stored(tmp_path, IMAGES_FILE[:length], suffix)
    refusal(path, "body cut short", f"byte {length};", "2 x 2 x 3 of uint8", "28 bytes")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_trailing_bytes(tmp_path, suffix):
    refusal(stored(tmp_path, IMAGES_FILE + b"x", suffix), "trailing byte", "byte 28", "28 bytes in all")


def test_wrong_magic(tmp_path):
    refusal(stored(tmp_path, b"\x89PNG\r\n\x1a\n"), "not an IDX file", "byte 0", "89 50 4e 47", "00 00")
    refusal(stored(tmp_path, bytes([0, 0, 7, 1])), "byte 2", "07", "08 09 0b 0c 0d 0e")
    refusal(stored(tmp_path, bytes([0, 0, 8, 0])), "byte 3", "found 0 dimensions")
    refusal(stored(tmp_path, bytes([0, 0, 8, 65])), "byte 3", "found 65 dimensions")


def test_a_gz_name_on_something_else(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(b"\x1f\x8c" + bytes(20))
    refusal(path, "byte 0", "1f 8c", "expected 1f 8b")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_compressed_stream_cut_at_every_byte(tmp_path, suffix):
    path = stored(tmp_path, IMAGES_FILE, suffix)
    whole = path.read_bytes()
    # Below the length of the signature nothing shows that the file was to be compressed at all.
    shortest = 2 if suffix == ".gz" else 6
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        refusal(path, *(["cut short", f"{length} bytes"] if length >= shortest else []))


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_damaged_compressed_stream(tmp_path, suffix):
    noise = np.random.Generator(np.random.PCG64(1)).integers(0, 256, 5000, dtype=np.uint8)
    write_idx(tmp_path / f"noise{suffix}", noise)
    whole = bytearray((tmp_path / f"noise{suffix}").read_bytes())
    whole[2500] ^= 0x10
    (tmp_path / f"noise{suffix}").write_bytes(whole)
    refusal(tmp_path / f"noise{suffix}", "damaged", "decompressed byte")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_rubbish_after_a_compressed_stream(tmp_path, suffix):
    path = stored(tmp_path, IMAGES_FILE, suffix)
    path.write_bytes(path.read_bytes() + bytes(8))  # padding with zeros is allowed by both formats
    np.testing.assert_array_equal(read_idx(path), IMAGES)
    path.write_bytes(path.read_bytes() + b"rubbish")
    refusal(path, "damaged")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("sizes", [(2**32 - 1,), (2**32 - 1,) * 3, (2**32 - 1,) * 64, (2**31, 2**31, 2**31)])
def test_absurd_sizes_take_no_memory(tmp_path, sizes, suffix):
    header = bytes([0, 0, 0x0E, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    path = stored(tmp_path, header + bytes(100), suffix)
    tracemalloc.start()
    try:
        refusal(path, "claims")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_a_gzip_file_that_grows_beyond_its_claim_is_left_early(tmp_path):
    path = stored(tmp_path, LABELS_FILE + bytes(50_000_000), ".gz")
    tracemalloc.start()
    try:
        refusal(path, "trailing bytes from decompressed byte 10")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_empty_array_of_impossible_sizes(tmp_path):
    header = bytes([0, 0, 8, 4]) + struct.pack(">4I", 0, *(2**32 - 1,) * 3)
    refusal(stored(tmp_path, header), "byte 4")


def test_image_set(tmp_path):
    images, labels = read_image_set(
        stored(tmp_path, IMAGES_FILE), stored(tmp_path, LABELS_FILE, ".gz", "labels-idx1-ubyte")
    )
    assert images.shape == (2, 1, 2, 3)
    assert labels.dtype == np.int64
    assert labels.tolist() == [7, 1]


def test_counts_of_images_and_labels_differ(tmp_path):
    images = stored(tmp_path, IMAGES_FILE)
    labels = stored(tmp_path, bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]), name="labels")
    refusal(labels, "found 1 labels", "expected 2", str(images), read=lambda p: read_image_set(images, p))


@pytest.mark.parametrize(("n_classes", "index", "value"), [(7, 0, 7), (2, 0, 7), (1, 0, 7)])
def test_label_out_of_range(tmp_path, n_classes, index, value):
    path = stored(tmp_path, LABELS_FILE)
    part = f"label {index} is {value}; expected 0 to {n_classes - 1}"
    refusal(path, f"byte {8 + index}", part, read=lambda p: read_labels(p, n_classes))


def test_negative_label_of_a_wider_type_is_named_by_its_byte(tmp_path):
    write_idx(tmp_path / "labels", np.array([0, 1, -1], np.int32))
    refusal(tmp_path / "labels", "byte 16", "label 2 is -1", read=read_labels)


def test_images_where_labels_are_expected_and_the_reverse(tmp_path):
    refusal(stored(tmp_path, IMAGES_FILE), "image file", "byte 3", "2 x 2 x 3", read=read_labels)
    refusal(stored(tmp_path, LABELS_FILE), "label file", "byte 3", read=read_images)


@pytest.mark.parametrize(
    ("array", "read"),
    [
        (np.zeros(3, np.float32), read_labels),
        (np.zeros((2, 2, 2), np.int16), read_images),
        (np.zeros((2, 2), np.uint8), read_images),
        (np.zeros((0, 2, 2), np.uint8), read_images),
        (np.zeros((2, 0, 2), np.uint8), read_images),
    ],
)
def test_other_things_are_neither_images_nor_labels(tmp_path, array, read):
    write_idx(tmp_path / "a", array)
    refusal(tmp_path / "a", "expected", "byte", read=read)
