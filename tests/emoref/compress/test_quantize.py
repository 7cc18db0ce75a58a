"""Uniform grids: values by hand, edge cases, PyTorch, and what must hold for any weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from emoref.compress import UniformGrid, UniformTensor, emomc_quantize, emomc_values, quantize
from emoref.errors import ConfigError, DtypeError, NetworkError, ShapeError

BITS = st.integers(2, 16)
WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
    elements=st.one_of(st.just(0.0), st.floats(-(2.0**100), 2.0**100, width=32), st.floats(-1, 1, width=32)),
)


def test_symmetric_by_hand():
    # 0.875 / 7 = 1/8; 2.5 steps and -3.5 steps are halves and go to the even neighbour.
    tensor = quantize(np.array([0.875, -0.3125, 0.3125, -0.4375, 0.0, 0.07]), bits=4)
    assert tensor.codes.tolist() == [7, -2, 2, -4, 0, 1]
    assert tensor.grid.scale.tolist() == [0.125]
    assert tensor.grid.zero_point.tolist() == [0]
    assert tensor.dequantize().tolist() == [0.875, -0.25, 0.25, -0.5, 0.0, 0.125]
    assert tensor.symbols().tolist() == [7, 14, 2, 12, 0, 1]  # two's complement in 4 bits
    assert (tensor.bits, tensor.shape, tensor.side_bits) == (4, (6,), 32)


def test_asymmetric_by_hand():
    # From -1 to 2.75 in 15 steps of 1/4; zero is code 4.
    tensor = quantize(np.array([-1.0, 2.75, 0.0, 0.4, -0.125]), bits=4, symmetric=False)
    assert tensor.codes.tolist() == [0, 15, 4, 6, 4]
    assert (tensor.grid.scale.tolist(), tensor.grid.zero_point.tolist()) == ([0.25], [4])
    assert tensor.dequantize().tolist() == [-1.0, 2.75, 0.0, 0.5, 0.0]
    assert tensor.symbols().tolist() == [12, 11, 0, 2, 0]
    assert tensor.side_bits == 48


def test_two_bits_are_minus_one_zero_one():
    tensor = quantize(np.array([3.0, -3.0, 1.4, -1.4, 1.6]), bits=2)
    assert tensor.codes.tolist() == [1, -1, 0, 0, 1]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_all_zero_tensor_and_channel(symmetric, per_channel):
    tensor = quantize(np.zeros((2, 3)), 8, symmetric=symmetric, per_channel=per_channel)
    assert (tensor.dequantize() == 0).all()
    assert (tensor.grid.scale == 1).all()
    assert (tensor.grid.zero_point == 0).all()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.75, -0.75, 1e-30, -3e38 / 4])
def test_one_value_and_constant_channel(symmetric, value):
    one = quantize(np.array([value], np.float32), 4, symmetric=symmetric)
    assert one.dequantize() == pytest.approx([value], rel=1e-6)
    rows = np.array([[value] * 3, [0.0] * 3, [1.0, -1.0, 0.5]], np.float32)
    constant = quantize(rows, 4, symmetric=symmetric, per_channel=True)
    assert constant.dequantize()[0] == pytest.approx(rows[0], rel=1e-6)
    assert (constant.dequantize()[1] == 0).all()
    assert len(constant.grid.scale) == 3


def test_channels_have_grids_of_their_own():
    weights = np.array([[[7.0, -3.4]], [[700.0, 30.0]]])
    coarse, fine = quantize(weights, 4), quantize(weights, 4, per_channel=True)
    assert (coarse.dequantize()[0] == 0).all(), "the large channel takes all of the range"
    assert fine.dequantize().tolist() == [[[7.0, -3.0]], [[700.0, 0.0]]]
    assert fine.side_bits == 64


@given(WEIGHTS, BITS, st.booleans(), st.booleans())
def test_what_holds_for_any_weights(weights, bits, symmetric, per_channel):
    tensor = quantize(weights, bits, symmetric=symmetric, per_channel=per_channel)
    grid, values = tensor.grid, tensor.dequantize()
    assert tensor.codes.min(initial=0) >= grid.lowest_code
    assert tensor.codes.max(initial=0) <= grid.highest_code
    scale = grid.scale.reshape(-1, *[1] * (weights.ndim - 1)).astype(np.float64)
    # Half a step; asymmetric ends may lie half a step outside because 0 is on the grid.
    assert (
        np.abs(values - weights.astype(np.float64))
        <= np.maximum(scale * (0.51 if symmetric else 1.01), 2e-30)
    ).all()
    assert (values[weights == 0] == 0).all(), "pruned stays pruned"
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(grid.fake_quantize(weights), values)
    symbols = tensor.symbols()
    assert symbols.max(initial=0) < 2**bits
    assert (symbols.reshape(weights.shape)[weights == 0] == 0).all()
    again = UniformTensor.from_symbols(symbols, weights.shape, grid)
    np.testing.assert_array_equal(again.codes, tensor.codes)
    if symmetric:
        negated = quantize(-weights, bits, per_channel=per_channel)
        np.testing.assert_array_equal(negated.codes, -tensor.codes)


def test_what_is_next_to_nothing_counts_as_zero():
    for values in (
        quantize(np.array([1e-45, -1e-31], np.float32), 8).dequantize(),
        emomc_values(np.full(2, 1e-31), 8),
    ):
        assert (values == 0).all()


@given(WEIGHTS, BITS)
def test_quantising_twice_changes_nothing(weights, bits):
    values = quantize(weights, bits).dequantize()
    np.testing.assert_allclose(quantize(values, bits).dequantize(), values, rtol=1e-6, atol=1e-30)


class TestAgainstPyTorch:
    """With scales that are powers of two: PyTorch multiplies by 1/scale, which is exact only then."""

    @pytest.mark.parametrize("bits", [2, 4, 8])
    @pytest.mark.parametrize("symmetric", [True, False])
    def test_fake_quantisation_and_its_gradient(self, bits, symmetric):
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(bits)
        x = (rng.integers(-400, 400, (3, 50)) / 32).astype(np.float32)
        scale, zero_point = np.array([0.25], np.float32), np.array([0 if symmetric else 1], np.int32)
        grid = UniformGrid(scale, zero_point, bits, symmetric)
        leaf = torch.tensor(x, requires_grad=True)
        y = torch.fake_quantize_per_tensor_affine(
            leaf, 0.25, int(zero_point[0]), grid.lowest_code, grid.highest_code
        )
        dy = rng.normal(size=x.shape).astype(np.float32)
        y.backward(torch.tensor(dy))
        np.testing.assert_array_equal(grid.fake_quantize(x), y.detach().numpy())
        np.testing.assert_array_equal(grid.gradient(dy, x), leaf.grad.numpy())

    def test_channels(self):
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(0)
        x = (rng.integers(-400, 400, (4, 3, 5)) / 16).astype(np.float32)
        scale = np.array([0.25, 0.5, 1.0, 2.0], np.float32)
        zero_point = np.array([3, 0, 7, 15], np.int32)
        grid = UniformGrid(scale, zero_point, 4, symmetric=False)
        y = torch.fake_quantize_per_channel_affine(
            torch.tensor(x), torch.tensor(scale), torch.tensor(zero_point), 0, 0, 15
        )
        np.testing.assert_array_equal(grid.fake_quantize(x), y.numpy())

    @pytest.mark.parametrize("symmetric", [True, False])
    def test_scales_of_an_observer(self, symmetric):
        observers = pytest.importorskip("torch.ao.quantization.observer")
        torch = pytest.importorskip("torch")
        x = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
        x[1], x[2], x[3] = 0, 0.75, np.abs(x[3])
        scheme = torch.per_channel_symmetric if symmetric else torch.per_channel_affine
        observer = observers.PerChannelMinMaxObserver(
            dtype=torch.qint8 if symmetric else torch.quint8,
            quant_min=-127 if symmetric else 0,
            quant_max=127 if symmetric else 255,
            qscheme=scheme,
        )
        observer(torch.tensor(x))
        scale, zero_point = observer.calculate_qparams()
        grid = quantize(x, 8, symmetric=symmetric, per_channel=True).grid
        other = np.arange(5) != 1  # PyTorch gives a channel of zeros the scale eps here
        np.testing.assert_allclose(grid.scale[other], scale.numpy()[other], rtol=1e-6)
        assert grid.zero_point.tolist() == zero_point.tolist()


class TestGradient:
    def test_passes_inside_and_stops_outside(self):
        grid = UniformGrid.of_range(0.0, 1.5, 4, symmetric=False)  # steps of 0.1
        x = np.array([-0.06, -0.04, 0.0, 0.77, 1.54, 1.56, 9.0], np.float32)
        dy = np.arange(1, 8, dtype=np.float32)
        assert grid.gradient(dy, x).tolist() == [0, 2, 3, 4, 5, 0, 0]
        assert grid.gradient(dy, x).dtype == np.float32

    def test_nan_stays_and_infinity_is_clipped(self):
        grid = UniformGrid.of_range(-1.0, 1.0, 8)
        values = grid.fake_quantize(np.array([np.nan, np.inf, -np.inf], np.float32))
        assert np.isnan(values[0])
        np.testing.assert_allclose(values[1:], [1.0, -1.0], rtol=1e-6)
        assert grid.gradient(np.ones(2), np.array([np.inf, np.nan])).tolist() == [0, 0]


class TestEmomc:
    def test_by_hand(self):
        # spacing 0.7 / 7 in single precision; multiples rounded to half precision.
        weights = np.array([0.7, -0.12, 0.349, 0.0], np.float32)
        expected = np.array([0.7, -0.1, 0.3, 0.0]).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(emomc_values(weights, 4), expected)

    def test_real_bits_as_in_the_published_code(self):
        # q = 2.5: 2**1.5 - 1 = 1.828 steps on each side, so that the largest weight rounds beyond itself.
        values = emomc_values(np.array([1.0, 0.2], np.float32), 2.5)
        np.testing.assert_allclose(values, [2 / (2**1.5 - 1), 0.0], rtol=1e-3)

    @given(WEIGHTS, BITS)
    def test_codes_stand_for_the_same_values(self, weights, bits):
        tensor = emomc_quantize(weights, bits)
        np.testing.assert_array_equal(tensor.dequantize(), emomc_values(weights, bits))
        assert np.abs(tensor.codes).max(initial=0) <= tensor.grid.highest_code
        again = UniformTensor.from_symbols(tensor.symbols(), weights.shape, tensor.grid)
        np.testing.assert_array_equal(again.dequantize(), tensor.dequantize())

    def test_equals_pytorch_step_by_step(self):
        torch = pytest.importorskip("torch")
        weights = np.random.default_rng(3).normal(size=(6, 4, 3, 3)).astype(np.float32)
        for bits in (2, 3, 4.4, 7, 11.9, 12):
            w = torch.tensor(weights)
            spacing = w.abs().max() / (2 ** (bits - 1) - 1)
            theirs = (torch.round(w / spacing) * spacing).half().float().numpy()
            np.testing.assert_array_equal(emomc_values(weights, bits), theirs)

    def test_zeros_stay_zeros(self):
        assert (emomc_values(np.zeros((2, 2)), 4) == 0).all()


@pytest.mark.parametrize("bits", [1, 0, -3, 17, 2.0, 4.5, "8", True, None])
@pytest.mark.parametrize("function", [quantize, emomc_quantize])
def test_bits_out_of_range(function, bits):
    with pytest.raises(ConfigError, match="bits must be"):
        function(np.ones(3), bits)


def test_one_bit_says_why():
    with pytest.raises(ConfigError, match="2 to 16, got 1; a symmetric grid of 1 bit would have no step"):
        quantize(np.ones(3), 1)


@pytest.mark.parametrize("bits", [1.9, 16.1, float("nan"), True])
def test_real_bits_out_of_range(bits):
    with pytest.raises(ConfigError, match="bits must be 2 to 16"):
        emomc_values(np.ones(3), bits)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
def test_weights_that_cannot_be_quantised(bad):
    weights = np.ones((2, 3), np.float32)
    weights[1, 2] = bad
    with pytest.raises(NetworkError, match=r"weight \(1, 2\) is "):
        quantize(weights, 8)


@pytest.mark.parametrize(("symmetric", "code"), [(True, 8), (True, -8), (False, -1), (False, 16)])
def test_codes_beside_the_grid(symmetric, code):
    grid = UniformGrid.of_range(-1.0, 1.0, 4, symmetric)
    with pytest.raises(NetworkError, match=f"code {code} is none of an? a?symmetric grid of 4 bits"):
        UniformTensor(np.array([0, code], np.int32), grid)


def test_other_things_than_weights():
    with pytest.raises(DtypeError, match="floating-point array, got int64"):
        quantize(np.arange(3), 8)
    with pytest.raises(DtypeError, match="got list"):
        quantize([1.0, 2.0], 8)
    with pytest.raises(ShapeError, match="single number"):
        quantize(np.array(1.0), 8)
    with pytest.raises(ShapeError, match="grids for 2 channels do not fit"):
        quantize(np.ones((2, 3)), 8, per_channel=True).grid.codes(np.ones((3, 2)))
