from pathlib import Path

import numpy as np
import pytest

from emoref.data.cifar import CIFAR10_FILES, read_cifar10, read_cifar100
from emoref.errors import DataError


def records(labels: list[list[int]], seed: int) -> np.ndarray:
    """Make records of random pixels behind the given label columns."""
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return np.concatenate([np.array(labels, np.uint8), pixels], axis=1)


@pytest.fixture
def cifar10(tmp_path) -> Path:
    for number, name in enumerate([*CIFAR10_FILES["train"], *CIFAR10_FILES["test"]]):
        records([[number], [9 - number]], number).tofile(tmp_path / name)
    return tmp_path


def refusal(call, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        call()
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    for part in parts:
        assert part in text, text


def test_batches_come_in_order(cifar10):
    images, labels = read_cifar10(cifar10)
    assert images.shape == (10, 3, 32, 32)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    images, labels = read_cifar10(cifar10, "test")
    assert labels.tolist() == [5, 4]


def test_planes_are_red_green_blue_row_by_row(tmp_path):
    record = bytes([3]) + bytes([10] * 1023 + [11]) + bytes([20] * 32 + [21] * 992) + bytes([30] * 1024)
    (tmp_path / "test_batch.bin").write_bytes(record)
    images, labels = read_cifar10(tmp_path, "test")
    assert labels.tolist() == [3]
    assert images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert images[0, 0, 31, 31] == 11
    assert images[0, 1, :2, 31].tolist() == [20, 21]


def test_missing_batch_and_folder(cifar10):
    (cifar10 / "data_batch_3.bin").unlink()
    refusal(lambda: read_cifar10(cifar10), str(cifar10), "data_batch_3.bin missing")
    assert len(read_cifar10(cifar10, "test")[0]) == 2
    refusal(lambda: read_cifar10(cifar10 / "none"), str(cifar10 / "none"), "no such folder")


def test_a_batch_that_is_a_folder_or_empty(cifar10):
    path = cifar10 / "data_batch_2.bin"
    path.write_bytes(b"")
    refusal(lambda: read_cifar10(cifar10), str(path), "is empty")
    path.unlink()
    path.mkdir()
    refusal(lambda: read_cifar10(cifar10), str(path), "is a directory")


@pytest.mark.parametrize("surplus", [-1, 1, -3072, 3072])
def test_length_is_no_multiple_of_a_record(cifar10, surplus):
    path = cifar10 / "data_batch_5.bin"
    size = 2 * 3073 + surplus
    path.write_bytes((path.read_bytes() + bytes(4000))[:size])
    whole = size // 3073
    refusal(lambda: read_cifar10(cifar10), str(path), f"byte {whole * 3073}:", "multiple of 3073", str(size))


def test_label_above_9_is_named_by_its_byte(cifar10):
    path = cifar10 / "test_batch.bin"
    records([[1], [10], [255]], 0).tofile(path)
    refusal(lambda: read_cifar10(cifar10, "test"), str(path), "byte 3073:", "record 1 is 10", "0 to 9")


def test_unknown_part(cifar10):
    refusal(lambda: read_cifar10(cifar10, "validation"), "'validation'", "'train' or 'test'")


def test_cifar100_has_coarse_then_fine_labels(tmp_path):
    records([[19, 99], [0, 5]], 1).tofile(tmp_path / "train.bin")
    images, fine, coarse = read_cifar100(tmp_path)
    assert images.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(images.reshape(2, -1), records([[19, 99], [0, 5]], 1)[:, 2:])
    assert fine.tolist() == [99, 5]
    assert coarse.tolist() == [19, 0]


def test_cifar100_refusals(tmp_path):
    path = tmp_path / "train.bin"
    refusal(lambda: read_cifar100(tmp_path), "train.bin missing")
    records([[0, 0], [20, 0]], 1).tofile(path)
    refusal(
        lambda: read_cifar100(tmp_path), str(path), "byte 3074:", "coarse label of record 1 is 20", "0 to 19"
    )
    records([[0, 0], [1, 100]], 1).tofile(path)
    refusal(
        lambda: read_cifar100(tmp_path), str(path), "byte 3075:", "fine label of record 1 is 100", "0 to 99"
    )
    records([[1]], 1).tofile(path)
    refusal(lambda: read_cifar100(tmp_path), str(path), "multiple of 3074", "found 3073")
