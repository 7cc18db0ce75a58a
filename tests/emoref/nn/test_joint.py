"""Joint training: against one task alone, gradients summed over tasks, resume, and what is refused."""

import numpy as np
import pytest

from emoref.errors import ConfigError, DataError, FileFormatError, TrainingDivergedError
from emoref.nn import (
    ArrayData,
    NetworkBuilder,
    TrainConfig,
    evaluate_data,
    fit_jointly,
    initial_store,
    load_joint_state,
    loss_and_gradients,
    save_joint_state,
    shared_trunk,
)

CONFIG = TrainConfig(epochs=3, batch_size=8, lr=0.05, momentum=0.9, weight_decay=1e-3, schedule="constant")


def build(classes, name="tiny", dropout=False):
    b = NetworkBuilder(name, (1, 6, 6))
    b.conv("conv1", 3, 3)
    b.batch_norm("bn1")
    b.relu("relu1")
    b.flatten("flat")
    if dropout:
        b.dropout("drop")
    b.linear("fc", classes)
    return b.build()


def images(count, classes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    pixels = rng.normal(size=(count, 1, 6, 6)) + labels[:, None, None, None]
    return ArrayData(pixels.astype(np.float32), labels)


@pytest.fixture
def two():
    nets = [build(2, dropout=True), build(3, dropout=True)]
    multi = shared_trunk(("a", "b"), nets)
    store = initial_store(multi, lambda task: nets[task].init(task))
    return multi, store, [images(20, 2, 0), images(13, 3, 1)]


def copied(store):
    return {name: value.copy() for name, value in store.items()}


def test_a_step_descends_on_the_sum_of_the_losses(two):
    multi, store, _ = two
    nets = [build(2), build(3)]
    multi = shared_trunk(("a", "b"), nets)
    store = initial_store(multi, lambda task: nets[task].init(task))
    data = [images(8, 2, 0), images(8, 3, 1)]
    config = TrainConfig(epochs=1, batch_size=8, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")
    start = copied(store)
    fit_jointly(multi, store, data, config, weights=(1.0, 0.5))
    steps = []
    for task, some in enumerate(data):
        # One batch holds all images, so their order changes sums by rounding alone.
        params = multi.params(start, task)
        steps.append(loss_and_gradients(nets[task], params, some.images, some.labels).grads)
    shared = start["conv1.weight"] - 0.1 * (steps[0]["conv1.weight"] + 0.5 * steps[1]["conv1.weight"])
    np.testing.assert_allclose(store["conv1.weight"], shared, atol=2e-6)
    np.testing.assert_allclose(
        store["b.fc.weight"], start["b.fc.weight"] - 0.05 * steps[1]["fc.weight"], atol=2e-6
    )


def test_private_batch_norms_follow_their_own_images(two):
    multi, store, data = two
    fit_jointly(multi, store, data, CONFIG)
    assert not np.allclose(store["a.bn1.running_mean"], store["b.bn1.running_mean"])
    assert (store["a.bn1.running_var"] != 1).all()


def test_joint_training_learns_both_tasks(two):
    multi, store, data = two
    curves = fit_jointly(multi, store, data, TrainConfig(epochs=25, batch_size=8, lr=0.05), validation=data)
    assert len(curves["lr"]) == len(curves["validation_error_b"]) == 25
    assert curves["train_loss"][-1] < 0.6 * curves["train_loss"][0]
    for task, some in enumerate(data):
        found = evaluate_data(multi.networks[task], multi.params(store, task), some)
        assert found.error == curves[f"validation_error_{'ab'[task]}"][-1]
        assert found.error < 0.3
    mean = (curves["validation_error_a"][-1] + curves["validation_error_b"][-1]) / 2
    assert curves["validation_error"][-1] == mean


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_resumed_training_is_the_uninterrupted_one(two, tmp_path, optimizer):
    multi, store, data = two
    config = TrainConfig(
        epochs=3, batch_size=8, lr=0.01, optimizer=optimizer, momentum=0.0, schedule="cosine"
    )
    whole, part = copied(store), copied(store)
    curves = fit_jointly(multi, whole, data, config, validation=data, seed=5)
    path = tmp_path / "state.h5"

    def stop(state):
        save_joint_state(path, state)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_jointly(multi, part, data, config, validation=data, seed=5, on_epoch=stop)
    again = copied(store)
    resumed = fit_jointly(multi, again, data, config, validation=data, seed=5, resume=load_joint_state(path))
    assert resumed == curves
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_a_state_of_another_training_is_refused(two, tmp_path):
    multi, store, data = two
    states = []
    fit_jointly(multi, copied(store), data, CONFIG, on_epoch=states.append)
    with pytest.raises(ConfigError, match="other seed: 0, now 1"):
        fit_jointly(multi, copied(store), data, CONFIG, seed=1, resume=states[0])
    with pytest.raises(ConfigError, match="other numbers of images"):
        fit_jointly(multi, copied(store), [data[1], data[1]], CONFIG, resume=states[0])


def test_the_smaller_task_begins_again_within_an_epoch(two):
    multi, store, data = two
    seen = []

    class Watching(ArrayData):
        def batch(self, indices, rng=None):
            seen.append(indices)
            return super().batch(indices, rng)

    watched = [data[0], Watching(data[1].images, data[1].labels)]
    fit_jointly(multi, store, watched, TrainConfig(epochs=1, batch_size=8, lr=0.01))
    order = np.concatenate(seen)
    assert len(order) == 20
    assert sorted(order[:13].tolist()) == list(range(13))


def test_a_loss_that_diverges_names_task_and_step(two):
    multi, store, data = two
    start = copied(store)
    with pytest.raises(TrainingDivergedError, match=r"epoch 1, step \d"):
        fit_jointly(multi, store, data, TrainConfig(epochs=1, batch_size=4, lr=1e30, schedule="constant"))
    assert all(np.array_equal(store[name], start[name]) for name in start)


def test_wrong_numbers_of_sets_and_empty_sets_are_refused(two):
    multi, store, data = two
    with pytest.raises(DataError, match="2 tasks, 1 sets of images"):
        fit_jointly(multi, store, data[:1], CONFIG)
    with pytest.raises(DataError, match="and 1 weights"):
        fit_jointly(multi, store, data, CONFIG, weights=(1.0,))
    empty = ArrayData(np.zeros((0, 1, 6, 6), np.float32), [])
    with pytest.raises(DataError, match="task 'b': there are no training images"):
        fit_jointly(multi, store, [data[0], empty], CONFIG)


def test_a_damaged_state_is_refused(two, tmp_path):
    path = tmp_path / "state.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError):
        load_joint_state(path)
