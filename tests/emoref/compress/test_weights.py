"""Masks over single weights, and training that keeps them: the definitions, by hand and step by step."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks
from emoref.compress.energy import emomc_energy, weight_layers
from emoref.compress.weights import (
    LayerDensity,
    apply_weight_masks,
    geometric_ratios,
    keep_weights,
    kept_weights,
    magnitude_masks,
    prune_gradually,
    weight_density,
    weighted_layers,
)
from emoref.errors import ConfigError, NetworkError, ShapeError
from emoref.nn import (
    ArrayData,
    NetworkBuilder,
    TrainConfig,
    evaluate,
    fit,
    loss_and_gradients,
    make_optimizer,
)
from emoref_kernels import load_backend


def small_net():
    b = NetworkBuilder("small", (2, 6, 6))
    b.conv("conv", 4, 3, padding=1)
    b.batch_norm("bn")
    b.relu("relu")
    b.conv("dw", 4, 3, groups=4, bias=False)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("fc", 3)
    return b.build()


def small_data(seed=0, images=48):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, images)
    x = rng.standard_normal((images, 2, 6, 6)).astype(np.float32)
    return ArrayData(x + labels[:, None, None, None].astype(np.float32) - 1, labels)


def config(epochs, optimizer="sgd"):
    return TrainConfig(epochs=epochs, batch_size=16, lr=0.01, optimizer=optimizer, schedule="constant")


def masked(params, name, ratio):
    """The mask by its definition: sort all weights by magnitude, of equal ones the earlier first."""
    weight = params[f"{name}.weight"]
    order = sorted(range(weight.size), key=lambda i: (-abs(weight.flat[i]), i))
    kept = max(1, weight.size - round(weight.size * (1 - ratio)))
    mask = np.zeros(weight.size, bool)
    mask[order[:kept]] = True
    return mask.reshape(weight.shape)


# ------------------------------------------------------------------------------------------------------ masks


def test_by_hand():
    b = NetworkBuilder("hand", (4,))
    b.linear("fc", 2)
    params = {"fc.weight": np.array([[3.0, -1, 0, 2], [-4, 1, 1, -5]]), "fc.bias": np.array([9.0, 9])}
    net = b.build()
    masks = magnitude_masks(net, params, 0.5)
    assert masks["fc"].tolist() == [[True, False, False, True], [True, False, False, True]]
    # Three of the magnitudes 1: the first of them stays.
    assert magnitude_masks(net, params, 5 / 8)["fc"].tolist() == [
        [True, True, False, True],
        [True, False, False, True],
    ]
    pruned = apply_weight_masks(net, params, masks)
    assert pruned["fc.weight"].tolist() == [[3, 0, 0, 2], [-4, 0, 0, -5]]
    assert pruned["fc.bias"].tolist() == [9, 9]
    assert params["fc.weight"][0, 1] == -1
    assert weight_density(net, pruned) == (LayerDensity("fc", 8, 4),)
    assert weight_density(net, pruned)[0].remaining_ratio == 0.5


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 3))
def test_masks_follow_their_definition(random_network, full_params, seed, ratio, other, decimals):
    net = random_network(seed)
    params = {name: value.round(decimals) for name, value in full_params(net, seed).items()}  # with ties
    low, high = (magnitude_masks(net, params, r) for r in sorted((ratio, other)))
    assert tuple(low) == weighted_layers(net) == tuple(layer.name for layer in weight_layers(net))
    for name, mask in low.items():
        assert np.array_equal(mask, masked(params, name, min(ratio, other)))
        assert not (mask & ~high[name]).any()
        assert mask.sum() == kept_weights(mask.size, min(ratio, other))


@pytest.mark.parametrize(
    ("weights", "ratio", "kept"),
    [(10, 0.5, 5), (10, 0.25, 2), (10, 0.35, 4), (10, 0.01, 1), (1, 0.2, 1), (7, 1.0, 7)],
)
def test_kept_weights(weights, ratio, kept):
    """n - round(n (1 - p)): of 10, 7.5 rounds to 8 and 6.5 to 6; one stays at least."""
    assert kept_weights(weights, ratio) == kept


def test_ratios_by_layer():
    net = small_net()
    params = net.init(0)
    masks = magnitude_masks(net, params, {"fc": 0.1, "dw": 1.0})
    assert sorted(masks) == ["dw", "fc"]
    assert masks["dw"].all()
    pruned = apply_weight_masks(net, params, masks)
    density = {row.name: row.remaining_ratio for row in weight_density(net, pruned)}
    assert density == {"conv": 1.0, "dw": 1.0, "fc": 19 / 192}
    # Which the cost models take as it is.
    assert emomc_energy(net, "X:Y", density).energy_pj < emomc_energy(net, "X:Y").energy_pj


def test_bad_input_is_refused():
    net = small_net()
    params = net.init(0)
    for ratio in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ConfigError, match="remaining_ratio of 'conv' must be above 0 and at most 1"):
            magnitude_masks(net, params, ratio)
        with pytest.raises(ConfigError, match="remaining_ratio must be above 0 and at most 1"):
            geometric_ratios(ratio, 4)
    with pytest.raises(ConfigError, match="at least 1 step, found 0"):
        geometric_ratios(0.5, 0)
    with pytest.raises(NetworkError, match="called 'cnv'; did you mean 'conv'"):
        magnitude_masks(net, params, {"cnv": 0.5})
    with pytest.raises(NetworkError, match="mask of 'bn': no such convolution or linear layer"):
        apply_weight_masks(net, params, {"bn": np.ones(4, bool)})
    with pytest.raises(
        ShapeError, match=r"mask of layer 'fc': expected booleans of shape \(3, 64\), got bool .*\(3,\)"
    ):
        keep_weights(net, params, {"fc": np.ones(3, bool)})
    with pytest.raises(ShapeError, match="got int64"):
        keep_weights(net, params, {"fc": np.ones((3, 64), np.int64)})
    with pytest.raises(NetworkError, match=r"conv\.bias.* is missing"):
        prune_gradually(net, {"conv.weight": params["conv.weight"]}, small_data(), config(1), 0.5)


# --------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fine_tuning_keeps_zeros_and_leaves_the_rest_alone(optimizer):
    """Against a loop that zeroes the masked gradients, which is what a missing weight means."""
    net, data = small_net(), small_data()
    params = net.init(1)
    masks = magnitude_masks(net, params, 0.3)
    settings_ = TrainConfig(
        epochs=2, batch_size=16, lr=0.01, optimizer=optimizer, schedule="constant", weight_decay=1e-3
    )
    reference = apply_weight_masks(net, params, masks)
    fit(net, params, data, settings_, backend="reference", seed=4, on_step=keep_weights(net, params, masks))

    from emoref.seeding import generator

    k, optimiser = load_backend("reference"), make_optimizer(net, reference, settings_)
    for epoch in range(2):
        order = generator(4, "nn.shuffle", epoch).permutation(len(data))
        for step in range(3):
            images, labels = data.batch(
                order[16 * step : 16 * step + 16], generator(4, "nn.augment", epoch, step)
            )
            result = loss_and_gradients(net, reference, images, labels, backend=k)
            for name, mask in masks.items():
                result.grads[f"{name}.weight"][~mask] = 0
            optimiser.step(k, reference, result.grads, settings_.lr)
            for name, value in result.buffer_updates.items():
                reference[name][...] = value
    for name, value in params.items():
        assert np.array_equal(value, reference[name]), name
    assert [row.remaining_ratio for row in weight_density(net, params)] == [
        masks[n].mean() for n in weighted_layers(net)
    ]


def test_geometric_ratios():
    ratios = geometric_ratios(0.2, 32)
    assert len(ratios) == 32
    assert ratios[-1] == 0.2
    steps = np.array(ratios) / np.array([1.0, *ratios[:-1]])
    np.testing.assert_allclose(steps, 0.2 ** (1 / 32))
    assert geometric_ratios(1.0, 3) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("regrow", [False, True])
def test_gradual_pruning_follows_its_ratios(regrow):
    net, params, data = small_net(), small_net().init(2), small_data()
    seen = []

    def on_epoch(state):
        ratio = geometric_ratios(0.2, 4)[state.epoch - 1]
        masks = magnitude_masks(net, state.params, ratio)
        seen.append(apply_weight_masks(net, state.params, masks))
        nonzero = {row.name: row.nonzero for row in weight_density(net, state.params)}
        wanted = {name: int(mask.sum()) for name, mask in masks.items()}
        # With regrowth the state also holds what is behind the mask.
        assert regrow or nonzero == wanted

    history = prune_gradually(
        net,
        params,
        data,
        config(4),
        0.2,
        regrow=regrow,
        validation=data,
        backend="reference",
        seed=1,
        on_epoch=on_epoch,
    )
    assert history.epochs == 4
    kept = [row.nonzero for row in weight_density(net, params)]
    assert kept == [int(kept_weights(row.weights, 0.2)) for row in weight_density(net, params)]
    # The stored validation errors are those of the pruned networks.
    for epoch, pruned in enumerate(seen):
        error = evaluate(net, pruned, data.images, data.labels, "reference").error
        assert history.validation_error[epoch] == error
    for name, value in params.items():
        assert np.array_equal(value, seen[-1][name]), name


def test_epochs_beyond_the_steps_stay_at_the_ratio():
    net, params, kept = small_net(), small_net().init(2), []
    prune_gradually(
        net, params, small_data(), config(4), 0.25, steps=2, backend="reference",
        on_epoch=lambda state: kept.append(weight_density(net, state.params)[-1].nonzero),
    )  # fmt: skip
    assert kept == [96, 48, 48, 48]
    with pytest.raises(ConfigError, match="5 pruning steps take as many epochs, found 4"):
        prune_gradually(net, params, small_data(), config(4), 0.25, steps=5)
    with pytest.raises(ConfigError, match="at least 1 step, found 0"):
        prune_gradually(net, params, small_data(), config(4), 0.25, steps=0)


def test_without_regrowth_what_is_cut_stays_cut():
    net, params = small_net(), small_net().init(2)
    zeros = []
    prune_gradually(
        net, params, small_data(), config(5), 0.1, backend="reference",
        on_epoch=lambda state: zeros.append(state.params["fc.weight"] == 0),
    )  # fmt: skip
    for before, after in pairwise(zeros):
        assert not (before & ~after).any()


def test_regrowth_step_by_step():
    """Against a loop that keeps all values and masks a copy of them for each step."""
    from emoref.seeding import generator

    net, data = small_net(), small_data(3)
    settings_ = TrainConfig(epochs=3, batch_size=16, lr=0.3, schedule="constant")
    params = net.init(5)
    whole = {name: value.copy() for name, value in params.items()}
    prune_gradually(net, params, data, settings_, 0.3, regrow=True, backend="reference", seed=9)

    k = load_backend("reference")
    first = magnitude_masks(net, whole, geometric_ratios(0.3, 3)[0])
    pruned, optimiser, came_back = whole, make_optimizer(net, whole, settings_), 0
    for epoch, ratio in enumerate(geometric_ratios(0.3, 3)):
        order = generator(9, "nn.shuffle", epoch).permutation(len(data))
        for step in range(3):
            masks = magnitude_masks(net, whole, ratio)
            came_back += sum((mask & ~first[name]).sum() for name, mask in masks.items())
            pruned = apply_weight_masks(net, whole, masks)
            images, labels = data.batch(
                order[16 * step : 16 * step + 16], generator(9, "nn.augment", epoch, step)
            )
            result = loss_and_gradients(net, pruned, images, labels, backend=k)
            optimiser.step(k, pruned, result.grads, settings_.lr)
            pruned.update(result.buffer_updates)
            for name, mask in masks.items():
                hidden = whole[f"{name}.weight"]
                pruned[f"{name}.weight"] = np.where(mask, pruned[f"{name}.weight"], hidden)
            whole = pruned
    final = apply_weight_masks(net, whole, magnitude_masks(net, whole, 0.3))
    for name, value in params.items():
        assert np.array_equal(value, final[name]), name
    assert came_back > 0


@pytest.mark.parametrize("regrow", [False, True])
def test_resumed_gradual_pruning_is_the_uninterrupted_one(regrow):
    net, data = small_net(), small_data()
    states, whole = [], net.init(2)
    arguments = dict(regrow=regrow, validation=data, backend="reference", seed=3)
    wanted = prune_gradually(
        net, whole, data, config(4), 0.2, on_epoch=lambda s: states.append(s.copy()), **arguments
    )
    for state in states:
        before = state.copy()
        params = net.init(7)
        history = prune_gradually(net, params, data, config(4), 0.2, resume=state, **arguments)
        assert history == wanted
        for name, value in params.items():
            assert np.array_equal(value, whole[name]), (state.epoch, name)
            assert np.array_equal(before.params[name], state.params[name])


def test_lenet5_layers_are_the_entries_of_the_genome():
    net = networks.build("lenet5")
    assert weighted_layers(net) == ("conv1", "conv2", "conv3", "fc1", "fc2")
