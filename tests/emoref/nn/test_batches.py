import numpy as np
import pytest

from emoref.errors import DataError
from emoref.nn import ArrayData


def test_array_data_gives_batches():
    images = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2)
    data = ArrayData(images, [0, 1, 2, 0, 1, 2])
    some, labels = data.batch(np.array([4, 0]), np.random.default_rng(0))
    assert len(data) == 6
    assert (some == images[[4, 0]]).all()
    assert labels.tolist() == [1, 0]
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 3), np.uint8), [0, 1]),
        (np.zeros((2, 3), np.float32), [0]),
        (np.zeros((2, 3), np.float32), [0, -1]),
        (np.zeros((2, 3), np.float32), [0.0, 1.0]),
        (np.zeros((2, 3), np.float32), [True, False]),
    ],
)
def test_array_data_checks_its_arrays(images, labels):
    with pytest.raises(DataError):
        ArrayData(images, labels)
