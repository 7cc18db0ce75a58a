"""Cases worked out by hand, ties, extremes and special values, on every back end."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from emoref_kernels import Backend, load_backend

INF, NAN = math.inf, math.nan


@pytest.fixture(params=["reference", "cpu"])
def k(request: pytest.FixtureRequest) -> Backend:
    return load_backend(request.param)


def f32(values: ArrayLike) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def plane(rows: ArrayLike) -> NDArray[np.float32]:
    """Return one image of one channel."""
    return f32(rows)[None, None]


# -------------------------------------------------------------------------------------------- convolution


def test_conv2d_is_a_cross_correlation(k: Backend) -> None:
    x, w = plane([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), plane([[1, 0], [2, -1]])
    np.testing.assert_allclose(k.conv2d(x, w, f32([10]))[0, 0], [[14, 16], [20, 22]], rtol=1e-6)


def test_groups_equal_separate_convolutions(k: Backend) -> None:
    rng = np.random.default_rng(0)
    x, w = f32(rng.standard_normal((2, 6, 7, 7))), f32(rng.standard_normal((4, 3, 3, 3)))
    whole = k.conv2d(x, w, None, 2, 1, groups=2)
    parts = [k.conv2d(x[:, 3 * g : 3 * g + 3], w[2 * g : 2 * g + 2], None, 2, 1) for g in range(2)]
    np.testing.assert_allclose(whole, np.concatenate(parts, axis=1), atol=1e-5)


def test_weight_gradient_sums_over_images(k: Backend) -> None:
    dy = np.ones((2, 1, 1, 1), dtype=np.float32)
    x = f32([[[[1, 2], [3, 4]]], [[[10, 20], [30, 40]]]])
    np.testing.assert_allclose(
        k.conv2d_weight_grad(dy, x, (1, 1, 2, 2))[0, 0], [[11, 22], [33, 44]], rtol=1e-6
    )
    np.testing.assert_array_equal(k.conv2d_bias_grad(dy), [2])


# ------------------------------------------------------------------------------------------------ pooling


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (2, None), ((2, 2), (2, 3))])
def test_the_first_of_equal_pixels_gets_the_gradient(k: Backend, kernel: object, stride: object) -> None:
    # All rows of four values from a set with ties, infinities and NaN: every case of the comparison.
    values = [-INF, -1.0, 2.0, INF, NAN]
    grid = np.stack(np.meshgrid(*[values] * 4, indexing="ij"), axis=-1).reshape(-1, 1, 2, 2)
    x = np.repeat(f32(grid), 3, axis=3)[..., [0, 3, 2]]
    x[..., 2] = 7.0
    dy = np.full((len(x), 1, 1, 1), 5.0, dtype=np.float32)
    dx = k.max_pool2d_grad(dy, x, kernel, stride)
    y = k.max_pool2d(x, kernel, stride)
    for index in range(len(x)):
        window = x[index, 0, :, :2].ravel().tolist()
        nans = [place for place, value in enumerate(window) if math.isnan(value)]
        winner = nans[0] if nans else window.index(max(window))
        expected = [0.0] * 4
        expected[winner] = 5.0
        assert dx[index, 0, :, :2].ravel().tolist() == expected, window
        assert dx[index, 0, :, 2].tolist() == [0.0, 0.0]
        np.testing.assert_array_equal(y[index, 0, 0, 0], window[winner])


@pytest.mark.parametrize("width", [2, 15, 16, 17, 34, 67])
def test_ties_along_a_row(k: Backend, width: int) -> None:
    x = np.random.default_rng(width).integers(0, 3, (3, 2, 6, width)).astype(np.float32)
    dy = np.arange(1, 3 * 2 * 3 * (width // 2) + 1, dtype=np.float32).reshape(3, 2, 3, width // 2)
    expected = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dy.shape):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        r, s = divmod(int(window.argmax()), 2)
        expected[n, c, 2 * i + r, 2 * j + s] = dy[n, c, i, j]
    np.testing.assert_array_equal(k.max_pool2d_grad(dy, x, 2), expected)


def test_padding_never_wins(k: Backend) -> None:
    lowest = np.full((1, 1, 3, 3), -INF, dtype=np.float32)
    assert np.all(k.max_pool2d(lowest, 3, 2, 1) == -INF)
    dx = k.max_pool2d_grad(np.ones((1, 1, 2, 2), dtype=np.float32), lowest, 3, 2, 1)
    np.testing.assert_array_equal(dx[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_padding_counts_as_zeros_in_the_mean(k: Backend) -> None:
    x = plane([[4, 8], [12, 16]])
    np.testing.assert_array_equal(k.avg_pool2d(x, 2, 2, 1)[0, 0], [[1, 2], [3, 4]])


def test_overlapping_windows_add_up(k: Backend) -> None:
    x = plane([[1, 9, 1]])
    np.testing.assert_array_equal(k.max_pool2d_grad(f32([[[[2, 3]]]]), x, (1, 2), 1)[0, 0], [[0, 5, 0]])
    np.testing.assert_array_equal(k.avg_pool2d_grad(f32([[[[2, 4]]]]), x.shape, (1, 2), 1)[0, 0], [[1, 3, 2]])


def test_windows_that_leave_out_the_border(k: Backend) -> None:
    x = np.arange(7 * 9, dtype=np.float32).reshape(1, 1, 7, 9)
    np.testing.assert_array_equal(k.max_pool2d(x, 2, 3)[0, 0], [[10, 13, 16], [37, 40, 43]])
    dx = k.avg_pool2d_grad(np.full((1, 1, 2, 3), 4, dtype=np.float32), x.shape, 2, 3)[0, 0]
    assert dx.sum() == 24
    assert np.all(dx[2] == 0)
    assert np.all(dx[:, 2] == 0)
    assert np.all(dx[5:] == 0)


# ------------------------------------------------------------------------------------------ value by value


def test_relu_of_special_values(k: Backend) -> None:
    x = f32([-INF, -1, 0, 1, INF, NAN])
    np.testing.assert_array_equal(k.relu(x), [0, 0, 0, 1, INF, NAN])
    np.testing.assert_array_equal(k.relu_grad(np.full(6, 3, dtype=np.float32), x), [0, 0, 0, 3, 3, 3])
    # The result has the same mask as the input.
    np.testing.assert_array_equal(k.relu_grad(np.full(6, 3, dtype=np.float32), k.relu(x)), [0, 0, 0, 3, 3, 3])


def test_tanh_over_its_whole_range(k: Backend) -> None:
    x = np.concatenate([np.linspace(-12, 12, 20001), 10.0 ** np.linspace(-44, 3, 2000)]).astype(np.float32)
    y, exact = k.tanh(x), np.tanh(x.astype(np.float64))
    # Two units in the last place, or of the smallest number at all.
    assert np.all(np.abs(y - exact) <= 2 * np.spacing(np.abs(exact).astype(np.float32)))
    assert np.abs(y).max() == 1.0
    np.testing.assert_array_equal(k.tanh(f32([-INF, -0.0, INF, NAN])), [-1, 0, 1, NAN])


def test_dropped_nan_stays(k: Backend) -> None:
    keep = np.array([True, False, False])
    np.testing.assert_array_equal(k.dropout(f32([1, 2, NAN]), keep, 0.5), [2, 0, NAN])


def test_concat_gradients_are_copies(k: Backend) -> None:
    dy = f32([[1, 2, 3]])
    first, second = k.concat_grad(dy, [1, 2])
    first[...] = 9
    second[...] = 9
    np.testing.assert_array_equal(dy, [[1, 2, 3]])


# ---------------------------------------------------------------------------------------------------- loss


def test_large_scores_do_not_overflow(k: Backend) -> None:
    logits = f32([[1e30, 0, -1e30], [1000, 1000, -1000]])
    np.testing.assert_allclose(k.softmax(logits), [[1, 0, 0], [0.5, 0.5, 0]], rtol=1e-6)
    assert k.softmax_cross_entropy(logits, np.array([0, 1])) == pytest.approx(math.log(2) / 2, rel=1e-6)
    assert k.softmax_cross_entropy(f32([[0, 1e30]]), np.array([0])) == pytest.approx(1e30, rel=1e-6)


def test_small_losses_are_not_rounded_to_zero(k: Backend) -> None:
    loss = k.softmax_cross_entropy(f32([[0, -25]]), np.array([0]))
    assert loss == pytest.approx(math.log1p(math.exp(-25)), rel=1e-4)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_bad_score_makes_the_loss_nan(k: Backend, bad: float) -> None:
    logits = f32([[0, 1], [bad, 0]])
    labels = np.array([0, 1])
    assert math.isnan(k.softmax_cross_entropy(logits, labels))
    gradient = k.softmax_cross_entropy_grad(logits, labels)
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(gradient[1]).any()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_labels_of_any_integer_dtype(k: Backend, dtype: str) -> None:
    logits = f32([[0, 0], [0, 0]])
    assert k.softmax_cross_entropy(logits, np.array([0, 1], dtype=dtype)) == pytest.approx(math.log(2))


def test_loss_is_a_python_float(k: Backend) -> None:
    assert type(k.softmax_cross_entropy(f32([[0, 0]]), np.array([0]))) is float


def test_label_smoothing_by_hand(k: Backend) -> None:
    # Probabilities 1/4 and 3/4; half of the target is spread over both: targets 3/4 and 1/4.
    logits, labels = f32([[0, math.log(3)]]), np.array([0])
    expected = 0.75 * math.log(4) + 0.25 * math.log(4 / 3)
    assert k.softmax_cross_entropy(logits, labels, 0.5) == pytest.approx(expected, rel=1e-6)
    gradient = k.softmax_cross_entropy_grad(logits, labels, 0.5)
    np.testing.assert_allclose(gradient, [[-0.5, 0.5]], rtol=1e-6)


def test_no_smoothing_is_the_plain_loss_even_beside_an_infinite_score(k: Backend) -> None:
    logits, labels = f32([[0, -INF, 0]]), np.array([0])
    assert k.softmax_cross_entropy(logits, labels, 0.0) == pytest.approx(math.log(2))
    assert k.softmax_cross_entropy(logits, labels, 0.1) == INF


def test_distillation_by_hand(k: Backend) -> None:
    # At temperature 2: student (1/2, 1/2), teacher (1/4, 3/4).
    student, teacher = f32([[5, 5]]), f32([[0, 2 * math.log(3)]])
    expected = 4 * (0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5))
    assert k.distillation_loss(student, teacher, 2.0) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(k.distillation_loss_grad(student, teacher, 2.0), [[0.5, -0.5]], rtol=1e-6)
    assert k.distillation_loss(teacher, teacher, 2.0) == pytest.approx(0, abs=1e-6)
    assert not k.distillation_loss_grad(teacher, teacher, 2.0).any()


# ---------------------------------------------------------------------------- local response normalisation


def test_local_response_by_hand(k: Backend) -> None:
    # Windows of three channels hold squares 1 + 4, 1 + 4 + 4 and 4 + 4; alpha / size is 1.
    x = f32([1, 2, 2]).reshape(1, 3, 1, 1)
    y = k.local_response_norm(x, size=3, alpha=3.0, beta=0.5, k=1.0)
    np.testing.assert_allclose(y.ravel(), [1 / math.sqrt(6), 2 / math.sqrt(10), 2 / 3], rtol=1e-6)


def test_local_response_of_the_paper(k: Backend) -> None:
    # Krizhevsky et al. 2012: n = 5, alpha = 1e-4 not divided by n, beta = 0.75, k = 2.
    x = f32(np.random.default_rng(0).standard_normal((2, 7, 3, 3)) * 50)
    expected = np.empty_like(x)
    for i in range(7):
        squares = np.square(x[:, max(0, i - 2) : min(6, i + 2) + 1], dtype=np.float64).sum(axis=1)
        expected[:, i] = x[:, i] / (2 + 1e-4 * squares) ** 0.75
    np.testing.assert_allclose(k.local_response_norm(x, 5, 5e-4, 0.75, 2.0), expected, rtol=1e-5)


# ----------------------------------------------------------------------------------- batch normalisation


def test_a_single_value_is_normalised_to_the_shift(k: Backend) -> None:
    y, mean, var = k.batch_norm_train(f32([[3]]), f32([2]), f32([0.5]))
    assert (y.item(), mean.item(), var.item()) == (0.5, 3.0, 0.0)
    dx, dgamma, dbeta = k.batch_norm_train_grad(f32([[4]]), f32([[3]]), f32([2]), mean, var)
    assert (dx.item(), dgamma.item(), dbeta.item()) == (0.0, 0.0, 4.0)


def test_a_large_mean_does_not_spoil_the_variance(k: Backend) -> None:
    x = np.random.default_rng(0).standard_normal((64, 2, 8, 8)) + 1000
    single = x.astype(np.float32)
    _, mean, var = k.batch_norm_train(single, f32([1, 1]), f32([0, 0]))
    exact = single.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2, 3)), rtol=1e-6)


def test_nan_spoils_its_own_channel_only(k: Backend) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32)
    x[2, 1, 3, 3] = NAN
    y, mean, var = k.batch_norm_train(x, np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.float32))
    np.testing.assert_array_equal(np.isnan(y).all(axis=(0, 2, 3)), [False, True, False])
    np.testing.assert_array_equal(np.isnan(y).any(axis=(0, 2, 3)), [False, True, False])
    np.testing.assert_array_equal(np.isnan(mean) & np.isnan(var), [False, True, False])


# ---------------------------------------------------------------------------------------------- optimisers


def test_sgd_two_steps_by_hand(k: Backend) -> None:
    param, velocity = f32([1.0]), f32([0.0])
    k.sgd_update(param, f32([2.0]), velocity, 0.1, 0.5, 0.0, False)
    assert (param.item(), velocity.item()) == (pytest.approx(0.8), 2.0)
    k.sgd_update(param, f32([1.0]), velocity, 0.1, 0.5, 0.0, True)
    # v = 0.5 * 2 + 1 = 2; step 0.1 * (1 + 0.5 * 2) = 0.2
    assert (param.item(), velocity.item()) == (pytest.approx(0.6), 2.0)


def test_adam_first_step_is_the_learning_rate(k: Backend) -> None:
    param, m, v = f32([1.0, 1.0]), f32([0, 0]), f32([0, 0])
    k.adam_update(param, f32([5.0, -0.01]), m, v, 1, 0.1)
    np.testing.assert_allclose(param, [0.9, 1.1], rtol=1e-5)
    np.testing.assert_allclose(m, [0.5, -0.001], rtol=1e-5)
    np.testing.assert_allclose(v, [0.025, 1e-7], rtol=1e-4)


def test_updates_write_into_arrays_with_gaps(k: Backend) -> None:
    rng = np.random.default_rng(0)
    arrays = [f32(rng.random((6, 8))) for _ in range(4)]
    views = [array[::2, 1::2] for array in arrays]
    dense = [np.ascontiguousarray(view) for view in views]
    untouched = [array[1::2].copy() for array in arrays]
    k.sgd_update(*views[:3], 0.1, 0.9, 0.01, True)
    k.sgd_update(*dense[:3], 0.1, 0.9, 0.01, True)
    k.adam_update(*views, 3, 0.1, 0.9, 0.999, 1e-8, 0.01)
    k.adam_update(*dense, 3, 0.1, 0.9, 0.999, 1e-8, 0.01)
    for view, copy, array, rest in zip(views, dense, arrays, untouched, strict=True):
        np.testing.assert_array_equal(view, copy)
        np.testing.assert_array_equal(array[1::2], rest)


def test_numpy_scalars_do_not_change_the_dtype() -> None:
    k = load_backend("reference")
    x, ones = f32([[1, 2], [3, 5]]), np.ones(2, dtype=np.float32)
    eps = np.float64(1e-5)
    assert k.batch_norm(x, ones, ones, ones, ones, eps).dtype == np.float32
    assert all(array.dtype == np.float32 for array in k.batch_norm_train_grad(x, x, ones, ones, ones, eps))
    assert k.dropout(x, x > 2, np.float64(0.5)).dtype == np.float32
