import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.data.dataset import Augmentation, Dataset, channel_statistics
from emoref.errors import DataError

CLASSES = ("a", "b", "c")
MEAN, STD = (0.5, 0.25, 0.1), (0.2, 0.3, 0.4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make(n: int = 7, size: int = 5, **changes) -> Dataset:
    fields = {
        "name": "toy",
        "images": rng().integers(1, 256, (n, 3, size, size + 1), dtype=np.uint8),
        "labels": np.arange(n) % 3,
        "classes": CLASSES,
        "mean": MEAN,
        "std": STD,
    }
    return Dataset(**{**fields, **changes})


def exact(data: Dataset, images: np.ndarray) -> np.ndarray:
    """Normalise as the definition says, in float64."""
    mean, std = (np.array(values)[:, None, None] for values in (data.mean, data.std))
    return (images / 255.0 - mean) / std


def test_batch_is_normalised():
    data = make()
    images, labels = data.batch(np.array([4, 0, 4]))
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 1]
    np.testing.assert_allclose(images, exact(data, data.images[[4, 0, 4]]), rtol=0, atol=1e-6)


def test_a_pixel_does_not_depend_on_its_batch():
    data = make(n=50)
    whole, _ = data.arrays()
    for indices in ([3], [3, 49, 7], range(50)):
        np.testing.assert_array_equal(data.batch(list(indices))[0], whole[list(indices)])
        np.testing.assert_array_equal(data.arrays(list(indices))[0], whole[list(indices)])


def test_arrays_gives_fresh_arrays():
    data = make()
    images, labels = data.arrays()
    images[:], labels[:] = 0, 0
    assert data.arrays()[0].any()
    assert data.labels.any()


def test_empty_batch():
    images, labels = make().batch([])
    assert images.shape == (0, 3, 5, 6)
    assert labels.shape == (0,)


def test_one_number_stands_for_all_channels_and_the_default_leaves_black_at_0_and_white_at_1():
    assert make(mean=0.5, std=2).mean == (0.5, 0.5, 0.5)
    assert make(mean=0.5, std=2).std == (2.0, 2.0, 2.0)
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    plain = Dataset("plain", images, np.zeros(2, int), ("only",))
    np.testing.assert_allclose(plain.arrays()[0].ravel(), [0, 1], rtol=1e-7)


def test_images_and_labels_are_read_only_and_the_callers_are_not():
    images, labels = np.ones((2, 1, 2, 2), np.uint8), np.zeros(2, np.int64)
    data = Dataset("toy", images, labels, CLASSES)
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 0
    images[0], labels[0] = 2, 1
    assert data.images.base is images  # shared, not copied


def test_subset_keeps_the_order_named():
    data = make(augmentation=Augmentation(flip=True))
    small = data.subset([5, 1])
    np.testing.assert_array_equal(small.images, data.images[[5, 1]])
    assert small.labels.tolist() == [2, 1]
    assert (small.name, small.classes, small.mean, small.std) == ("toy", CLASSES, MEAN, STD)
    assert small.augmentation == data.augmentation
    assert len(small) == 2
    assert small.image_shape == (3, 5, 6)


def test_class_counts_include_empty_classes():
    counts = make(n=2).class_counts()
    assert counts.dtype == np.int64
    assert counts.tolist() == [1, 1, 0]


def test_repr_is_one_short_line():
    assert repr(make()) == "<Dataset 'toy': 7 images of 3 x 5 x 6, 3 classes>"


def test_pickle_round_trip_for_worker_processes():
    data = make(augmentation=Augmentation(True, 2))
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.arrays()[0], data.arrays()[0])
    assert again.augmentation == data.augmentation


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"images": np.zeros((7, 5, 5), np.uint8)}, "(N, C, H, W)"),
        ({"images": np.zeros((7, 3, 5, 5), np.float32)}, "expected uint8"),
        ({"images": np.zeros((0, 3, 5, 5), np.uint8), "labels": np.zeros(0, int)}, "at least one image"),
        ({"labels": np.zeros(6, int)}, "expected integers of shape (7,)"),
        ({"labels": np.zeros((7, 1), int)}, "expected integers of shape (7,)"),
        ({"labels": np.zeros(7)}, "labels are float64"),
        ({"labels": np.array([0, 1, 2, 3, 0, 0, 9])}, "label 3 is 3; expected 0 to 2"),
        ({"labels": np.array([0, 1, 2, -1, 0, 0, 9])}, "label 3 is -1; expected 0 to 2"),
        ({"mean": (0.5, 0.5)}, "mean has shape (2,); expected 3"),
        ({"std": (0.5, 0.0, 0.5)}, "std above 0"),
        ({"mean": float("nan")}, "finite"),
    ],
)
def test_contradictions_are_refused(changes, part):
    with pytest.raises(DataError) as caught:
        make(**changes)
    assert part in str(caught.value)
    assert "'toy'" in str(caught.value)


@pytest.mark.parametrize("indices", [[7], [-1], [0.5], [True, False], [[0, 1]], 3])
def test_bad_indices_are_refused(indices):
    data = make()
    for use in (data.batch, data.subset, data.arrays):
        with pytest.raises(DataError, match="data set 'toy': ind"):
            use(indices)


def test_an_empty_subset_is_refused():
    with pytest.raises(DataError, match="at least one image"):
        make().subset([])


# augmentation


def one_by_one(images: np.ndarray, augmentation: Augmentation, seed: int, cover=0) -> np.ndarray:
    """Augment in a plain loop: the meaning of Augmentation.apply."""
    draws, padding = rng(seed), augmentation.crop_padding
    n, channels, height, width = images.shape
    out = images.copy()
    if padding:
        top = draws.integers(0, 2 * padding + 1, size=(2, n))
        for i in range(n):
            padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), np.uint8)
            padded[:, padding : padding + height, padding : padding + width] = images[i]
            out[i] = padded[:, top[0, i] : top[0, i] + height, top[1, i] : top[1, i] + width]
    if augmentation.flip:
        for i, coin in enumerate(draws.random(n)):
            if coin < 0.5:
                out[i] = out[i, :, :, ::-1].copy()
    if augmentation.cutout:
        rows, columns = draws.integers(0, height, size=n), draws.integers(0, width, size=n)
        for i in range(n):
            top, left = (int(c[i]) - augmentation.cutout // 2 for c in (rows, columns))
            for y in range(max(top, 0), min(top + augmentation.cutout, height)):
                for x in range(max(left, 0), min(left + augmentation.cutout, width)):
                    out[i, :, y, x] = cover
    return out


@given(
    flip=st.booleans(),
    padding=st.integers(0, 6),
    cutout=st.integers(0, 9),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=100)
def test_augmentation_is_the_plain_loop(flip, padding, cutout, shape, seed):
    images = rng(seed + 1).integers(0, 256, shape, dtype=np.uint8)
    before = images.copy()
    augmentation = Augmentation(flip, padding, cutout)
    cover = [7, 250, 31][: shape[1]]
    result = augmentation.apply(images, rng(seed), cover)
    np.testing.assert_array_equal(result, one_by_one(images, augmentation, seed, cover))
    np.testing.assert_array_equal(images, before)


def test_batch_augments_only_with_a_generator_and_an_augmentation():
    augmentation = Augmentation(flip=True, crop_padding=2)
    data = make(n=40, augmentation=augmentation)
    indices = np.arange(40)
    plain = data.batch(indices)[0]
    np.testing.assert_array_equal(plain, data.with_augmentation(None).batch(indices, rng())[0])
    changed, labels = data.batch(indices, rng(3))
    np.testing.assert_array_equal(changed, data.normalise(augmentation.apply(data.images, rng(3))))
    np.testing.assert_array_equal(changed, data.batch(indices, rng(3))[0])
    np.testing.assert_array_equal(labels, data.labels)
    assert (changed != plain).any(axis=(1, 2, 3)).mean() > 0.5


def test_padding_is_black_before_normalisation():
    data = make(n=64, augmentation=Augmentation(crop_padding=4))  # pixels are 1 or more
    changed, _ = data.batch(np.arange(64), rng())
    black = data.normalise(np.zeros((1, 3, 5, 6), np.uint8))[0, :, 0, 0]
    assert (changed == black[:, None, None]).any()
    np.testing.assert_allclose(black, -np.array(MEAN) / np.array(STD), rtol=1e-6)


def test_a_hidden_pixel_has_the_mean_colour():
    data = make(n=64, augmentation=Augmentation(cutout=3))
    plain, changed = data.batch(np.arange(64))[0], data.batch(np.arange(64), rng())[0]
    mean = data.normalise(
        np.rint(255 * np.array(MEAN)).astype(np.uint8).reshape(1, 3, 1, 1).repeat(5, 2).repeat(6, 3)
    )
    hidden = (changed != plain).any(axis=1)
    assert hidden.any(axis=(1, 2)).all()
    assert hidden.sum(axis=(1, 2)).max() <= 9
    for channel in range(3):
        assert (changed[:, channel][hidden] == mean[0, channel, 0, 0]).all()
    np.testing.assert_allclose(mean, 0, atol=0.01)


@pytest.mark.parametrize(("mean", "colour"), [(-1.0, 0), (7.0, 255)])
def test_a_mean_that_is_no_colour_hides_under_the_nearest(mean, colour):
    data = make(mean=(mean,), std=(1 / 255,), augmentation=Augmentation(cutout=20))  # hides every pixel
    changed, _ = data.batch(np.arange(len(data)), rng())
    np.testing.assert_allclose(changed, colour - 255 * mean, rtol=1e-5)


def test_every_offset_and_mirror_comes_equally_often():
    image = np.arange(1, 10, dtype=np.uint8).reshape(1, 1, 3, 3)
    n = 18_000
    changed = Augmentation(True, 1).apply(np.repeat(image, n, axis=0), rng(5)).reshape(n, 9)
    kinds, counts = np.unique(changed, axis=0, return_counts=True)
    assert len(kinds) == 18  # 9 offsets, mirrored or not
    assert abs(counts - 1000).max() < 150


def test_with_augmentation_shares_the_images():
    data = make()
    assert np.shares_memory(data.with_augmentation(Augmentation(True)).images, data.images)


@pytest.mark.parametrize("name", ["crop_padding", "cutout"])
@pytest.mark.parametrize("pixels", [-1, 1.5, True, "4"])
def test_bad_pixels(name, pixels):
    with pytest.raises(DataError, match=f"{name} is {pixels!r}"):
        Augmentation(**{name: pixels})


# statistics


def test_channel_statistics_are_those_of_numpy():
    images = rng(2).integers(0, 256, (20, 3, 6, 7), dtype=np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_own_statistics_give_mean_0_and_deviation_1():
    data = make(n=30)
    mean, std = channel_statistics(data.images)
    images, _ = make(n=30, mean=mean, std=std).arrays()
    np.testing.assert_allclose(images.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std(axis=(0, 2, 3)), 1, rtol=1e-5)
