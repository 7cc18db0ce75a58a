import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.data.dataset import Augmentation, Dataset
from emoref.data.splits import class_balanced_subset, stratified_split
from emoref.errors import ConfigError, DataError


def make(counts: list[int], seed: int = 0) -> Dataset:
    """Make a data set whose pixel values number the images."""
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.Generator(np.random.PCG64(seed)).shuffle(labels)
    images = np.arange(len(labels), dtype="<u4").view(np.uint8).reshape(-1, 4, 1, 1)
    return Dataset("toy", images, labels, tuple("abcdefghij"[: len(counts)]))


def numbers(data: Dataset) -> list[int]:
    return np.ascontiguousarray(data.images.reshape(-1, 4)).view("<u4").ravel().tolist()


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 100),
)
@settings(deadline=None, max_examples=100)
def test_split_is_a_partition_in_proportion(counts, share, seed):
    data = make(counts)
    n = max(1, int(share * len(data)))
    train, validation = stratified_split(data, n, seed)
    assert len(validation) == n
    assert sorted(numbers(train) + numbers(validation)) == list(range(len(data)))
    assert numbers(train) == sorted(numbers(train))
    assert numbers(validation) == sorted(numbers(validation))
    np.testing.assert_array_equal(train.class_counts() + validation.class_counts(), counts)
    shares = n * np.array(counts) / len(data)
    assert (abs(validation.class_counts() - shares) < 1).all()
    np.testing.assert_array_equal(validation.labels, data.labels[numbers(validation)])


def test_largest_remainder_by_hand():
    # 10 of 10 + 20 + 31 images: shares 1.64, 3.28, 5.08, so the one image left over goes to the first class.
    _, validation = stratified_split(make([10, 20, 31]), 10, seed=0)
    assert validation.class_counts().tolist() == [2, 3, 5]
    # Equal remainders go to the lower classes.
    _, validation = stratified_split(make([5, 5, 5, 5]), 6, seed=0)
    assert validation.class_counts().tolist() == [2, 2, 1, 1]


def test_split_depends_on_the_seed_and_on_nothing_else():
    data = make([50, 50])
    first = numbers(stratified_split(data, 20, seed=1)[1])
    assert first == numbers(stratified_split(data, 20, seed=1)[1])
    assert first != numbers(stratified_split(data, 20, seed=2)[1])


def test_split_is_the_same_in_every_version():
    # Recorded once: another choice would silently change every run. Labels alternate, so that the data do
    # not depend on a random number.
    images = np.arange(20, dtype="<u4").view(np.uint8).reshape(-1, 4, 1, 1)
    data = Dataset("toy", images, np.arange(20) % 2, ("a", "b"))
    assert numbers(stratified_split(data, 6, seed=0)[1]) == [6, 9, 11, 12, 13, 14]
    assert numbers(class_balanced_subset(data, 6, seed=0)) == [2, 3, 6, 11, 13, 16]


def test_larger_sets_contain_the_smaller_ones():
    data = make([30, 30, 30])
    held_out = [set(numbers(stratified_split(data, n, seed=4)[1])) for n in (9, 30, 60)]
    assert held_out[0] < held_out[1] < held_out[2]


def test_the_validation_set_is_not_augmented():
    augmentation = Augmentation(flip=True)
    train, validation = stratified_split(make([5, 5]).with_augmentation(augmentation), 4, seed=0)
    assert train.augmentation == augmentation
    assert validation.augmentation is None


def test_every_image_is_held_out_equally_often():
    data = make([10, 10])
    counts = np.zeros(20)
    for seed in range(400):
        counts[numbers(stratified_split(data, 10, seed)[1])] += 1
    assert abs(counts - 200).max() < 50


@pytest.mark.parametrize("n", [0, -1, 20, 21, 10**30])
def test_split_must_leave_something_on_both_sides(n):
    with pytest.raises(DataError, match=r"n_validation is .*expected 1 to 19"):
        stratified_split(make([10, 10]), n, seed=0)


def test_split_must_not_empty_a_class():
    with pytest.raises(DataError, match="takes all 1 images of class 'b'"):
        stratified_split(make([10, 1]), 9, seed=0)


def test_classes_without_images_are_no_obstacle():
    train, validation = stratified_split(make([10, 0, 10]), 4, seed=0)
    assert validation.class_counts().tolist() == [2, 0, 2]
    assert train.class_counts().tolist() == [8, 0, 8]


@pytest.mark.parametrize("n", [2.0, True, "4", None])
def test_counts_must_be_integers(n):
    for choose in (stratified_split, class_balanced_subset):
        with pytest.raises(DataError, match="expected an integer"):
            choose(make([10, 10]), n, 0)
    assert len(class_balanced_subset(make([10, 10]), np.int64(4), 0)) == 4


def test_a_negative_seed():
    with pytest.raises(ConfigError):
        stratified_split(make([10, 10]), 4, -1)


def test_balanced_subset_takes_equal_numbers_from_unequal_classes():
    data = make([10, 50, 20])
    subset = class_balanced_subset(data, 24, seed=3)
    assert subset.class_counts().tolist() == [8, 8, 8]
    assert numbers(subset) == sorted(set(numbers(subset)))
    np.testing.assert_array_equal(subset.labels, data.labels[numbers(subset)])
    assert class_balanced_subset(data, 23, seed=3).class_counts().tolist() == [8, 8, 7]
    assert class_balanced_subset(data, 2, seed=3).class_counts().tolist() == [1, 1, 0]


def test_balanced_subset_and_split_choose_independently():
    data = make([100, 100])
    assert numbers(class_balanced_subset(data, 20, 0)) != numbers(stratified_split(data, 20, 0)[1])


def test_balanced_subset_refusals():
    with pytest.raises(DataError, match="needs 11 images of class 'a', which has 10"):
        class_balanced_subset(make([10, 50]), 22, seed=0)
    with pytest.raises(DataError, match="at least 1"):
        class_balanced_subset(make([10, 50]), 0, seed=0)
