"""Activations on grids whose ranges were measured."""

import numpy as np
import pytest

from emoref import nn
from emoref.compress import (
    HalfPrecision,
    RangeObserver,
    UniformGrid,
    calibrate_activations,
    predict_quantized,
    quantized_activations,
)
from emoref.errors import ConfigError, DataError, NetworkError


def observed(*portions):
    observer = RangeObserver()
    for see in (observer.see_range, observer.see_values):
        for portion in portions:
            see(np.asarray(portion, np.float32))
    return observer


class TestRanges:
    def test_min_max_by_hand(self):
        observer = observed([0.0, 1.5], [-0.75, 3.0])
        assert (observer.low, observer.high, observer.histogram.sum()) == (-0.75, 3.0, 4)
        grid = observer.grid(4)  # 3.75 in 15 steps
        assert (grid.scale.tolist(), grid.zero_point.tolist()) == ([0.25], [3])
        symmetric = observer.grid(3, symmetric=True)
        assert (symmetric.scale.tolist(), symmetric.zero_point.tolist()) == ([1.0], [0])

    def test_zero_is_always_inside(self):
        observer = observed([2.0, 3.0])
        assert (observer.low, observer.high) == (0.0, 3.0)
        assert observer.grid(8).fake_quantize(np.zeros(1)).tolist() == [0.0]

    def test_percentile_leaves_outliers_out(self):
        values = np.concatenate([np.linspace(0, 1, 9990), np.full(10, 100.0)])
        grid = observed(values).grid(8, "percentile", percentile=99.9)
        # The end of the bin of 100/2048 that holds 1.
        assert 255 * grid.scale[0] == pytest.approx(21 * 100 / 2048)
        assert observed(values).grid(8, "percentile", percentile=100).scale[0] == pytest.approx(100 / 255)

    def test_percentile_from_both_sides(self):
        values = np.concatenate([np.linspace(-1, 1, 10_000), [-50.0, 50.0]])
        grid = observed(values).grid(8, "percentile", percentile=99)
        assert 255 * grid.scale[0] == pytest.approx(2.0, abs=0.2)
        assert grid.zero_point[0] == pytest.approx(127.5, abs=1)

    @pytest.mark.parametrize("bits", [3, 6])
    @pytest.mark.parametrize("symmetric", [True, False])
    def test_mse_is_no_worse_than_any_fraction(self, bits, symmetric):
        values = np.random.default_rng(0).laplace(size=20_000).astype(np.float32)
        observer = observed(values[:5000], values[5000:])
        error = np.mean((observer.grid(bits, "mse", symmetric=symmetric).fake_quantize(values) - values) ** 2)
        for fraction in (0.1, 0.25, 0.4, 0.7, 1.0):
            other = UniformGrid.of_range(fraction * observer.low, fraction * observer.high, bits, symmetric)
            assert error <= 1.01 * np.mean((other.fake_quantize(values) - values) ** 2)
        assert error < 0.9 * np.mean(
            (observer.grid(bits, symmetric=symmetric).fake_quantize(values) - values) ** 2
        )

    @pytest.mark.parametrize("method", ["min-max", "percentile", "mse"])
    @pytest.mark.parametrize("values", [[], [0.0, 0.0], [4.0]])
    def test_nothing_zeros_and_one_value(self, method, values):
        grid = observed(values).grid(8, method)
        np.testing.assert_allclose(grid.fake_quantize(np.array(values, np.float32)), values, rtol=0.02)

    def test_not_finite(self):
        for bad in (np.nan, np.inf):
            with pytest.raises(DataError, match="NaN or infinite"):
                RangeObserver().see_range(np.array([1.0, bad]))

    def test_bad_settings(self):
        for settings, text in (
            ({"bits": 1}, "bits must be 2 to 16"),
            ({"bits": 8, "method": "max"}, "method must be one of min-max, percentile, mse"),
            ({"bits": 8, "percentile": 50.0}, "percentile must be above 50"),
            ({"bits": 8, "percentile": 101}, "at most 100"),
        ):
            with pytest.raises(ConfigError, match=text):
                RangeObserver().grid(**settings)


@pytest.fixture
def net():
    b = nn.NetworkBuilder("branches", (1, 6, 6))
    stem = b.conv("conv1", 3, 3, padding=1)
    b.relu("relu1")
    b.conv("conv2", 3, 3, padding=1)
    b.batch_norm("norm")
    b.add("sum", "norm", stem)
    b.flatten("flat")
    b.linear("fc", 4)
    return b.build()


@pytest.fixture
def images():
    return np.random.default_rng(1).normal(size=(30, 1, 6, 6)).astype(np.float32)


def test_what_is_quantised(net):
    assert quantized_activations(net) == ("input", "relu1", "flat")


@pytest.mark.parametrize("method", ["min-max", "percentile", "mse"])
def test_calibration_measures_what_layers_read(net, images, method, full_params):
    params = full_params(net, 1, np.float32)
    grids = calibrate_activations(net, params, images, 8, method, backend="reference")
    values = nn.run_nodes(net, params, {"input": images}, ["input", "relu1", "flat"], "reference")
    assert list(grids) == ["input", "relu1", "flat"]
    for name, grid in grids.items():
        expected = observed(values[name]).grid(8, method)
        assert (grid.scale, grid.zero_point) == (expected.scale, expected.zero_point)
    again = calibrate_activations(net, params, images, 8, method, backend="reference", batch_size=7)
    assert all(again[name].scale == grid.scale for name, grid in grids.items())


def test_predictions_by_hand():
    b = nn.NetworkBuilder("line", (2,))
    b.linear("fc1", 1, bias=False)
    b.relu("relu")
    b.linear("fc2", 1, bias=False)
    net = b.build()
    params = {"fc1.weight": np.array([[1.0, 0.5]], np.float32), "fc2.weight": np.array([[10.0]], np.float32)}
    grids = {
        "input": UniformGrid.of_range(-1.5, 1.5, 2),
        "relu": UniformGrid.of_range(0, 3, 2, symmetric=False),
    }
    # 0.9 -> 1.5 and -0.6 -> 0; 1.5 halfway between 1 and 2 -> 2.
    images = np.array([[0.9, -0.6]], np.float32)
    assert predict_quantized(net, params, images, grids, "reference").tolist() == [[20.0]]


def test_half_precision(net, images, full_params):
    params = full_params(net, 2, np.float32)
    assert HalfPrecision().fake_quantize(np.array([1 / 3, 1e6, -0.0], np.float32)).tolist() == [
        0.333251953125,
        np.inf,
        0,
    ]
    halves = predict_quantized(
        net, params, images, dict.fromkeys(quantized_activations(net), HalfPrecision()), "reference"
    )
    exact = nn.predict(net, params, images, "reference")
    assert 0 < np.abs(halves - exact).max() < 2e-3 * np.abs(exact).max()


def test_many_bits_change_little_and_no_grids_nothing(net, images, full_params):
    params = full_params(net, 2, np.float32)
    exact = nn.predict(net, params, images, "reference")
    np.testing.assert_array_equal(predict_quantized(net, params, images, {}, "reference"), exact)
    errors = []
    for bits in (16, 8, 4):
        grids = calibrate_activations(net, params, images, bits, backend="reference")
        rounded = predict_quantized(net, params, images, grids, "reference", batch_size=11)
        errors.append(float(np.abs(rounded - exact).max()))
    assert errors == sorted(errors)
    assert errors[0] < 1e-3 * np.abs(exact).max()
    grids = calibrate_activations(net, params, images, {"relu1": 3}, backend="reference")
    assert list(grids) == ["relu1"]
    assert predict_quantized(net, params, images[:0], grids, "reference").shape == (0, 4)


def test_bad_arguments(net, images):
    params = net.init(0)
    with pytest.raises(
        NetworkError, match="bits of activation 'sum': layers with weights read input, relu1, flat"
    ):
        calibrate_activations(net, params, images, {"sum": 8})
    with pytest.raises(ConfigError, match="bits must be 2 to 16, got 1"):
        calibrate_activations(net, params, images, 1)
    with pytest.raises(DataError, match="no images"):
        calibrate_activations(net, params, images[:0])
    with pytest.raises(NetworkError, match="no node 'x'"):
        predict_quantized(net, params, images, {"x": UniformGrid.of_range(0, 1, 8)})
