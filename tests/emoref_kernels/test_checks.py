"""Every bad argument is refused, alike by every back end, with its numbers in the message."""

from collections.abc import Callable

import numpy as np
import pytest

from emoref_kernels import Backend, DtypeError, ShapeError, load_backend
from emoref_kernels.checks import conv2d_output_shape, pair, pool2d_output_shape


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


X = zeros(2, 4, 5, 6)
BOOL = np.ones((2, 4, 5, 6), dtype=bool)

Call = Callable[[Backend], object]

# Each call, and pieces of text that its message must hold, in this order.
BAD_SHAPES: dict[str, tuple[Call, str]] = {
    "conv2d x 3-d": (lambda k: k.conv2d(zeros(4, 5, 6), zeros(3, 4, 1, 1)), r"\(4, 5, 6\).*4"),
    "conv2d w 2-d": (lambda k: k.conv2d(X, zeros(3, 4)), r"\(3, 4\).*4"),
    "conv2d channels": (lambda k: k.conv2d(X, zeros(3, 5, 1, 1)), r"\(3, 5, 1, 1\).*5.*must have 4"),
    "conv2d groups": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), groups=3), r"groups=3.*4 channels.*3 filters"),
    "conv2d groups 0": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), groups=0), r"groups is 0.*1"),
    "conv2d depthwise": (lambda k: k.conv2d(X, zeros(4, 2, 1, 1), groups=4), r"groups=4 it must have 1"),
    "conv2d kernel": (lambda k: k.conv2d(X, zeros(3, 4, 8, 1), padding=1), r"height 8.*5.*padding 1.*7"),
    "conv2d bias": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), zeros(4)), r"b has shape \(4,\).*\(3,\)"),
    "conv2d stride": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), stride=0), r"stride is 0.*1"),
    "conv2d stride 3": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), stride=(1, 2, 3)), r"stride is \(1, 2, 3\)"),
    "conv2d stride real": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), stride=1.5), r"stride is 1.5"),
    "conv2d padding": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), padding=(0, -1)), r"padding is \(0, -1\)"),
    "conv2d empty": (lambda k: k.conv2d(zeros(2, 0, 5, 6), zeros(3, 0, 1, 1)), r"\(2, 0, 5, 6\)"),
    "conv2d_input_grad dy": (
        lambda k: k.conv2d_input_grad(zeros(2, 3, 5, 5), zeros(3, 4, 1, 1), X.shape),
        r"dy has shape \(2, 3, 5, 5\).*\(2, 3, 5, 6\)",
    ),
    "conv2d_input_grad x_shape": (
        lambda k: k.conv2d_input_grad(zeros(2, 3, 5, 6), zeros(3, 4, 1, 1), (4, 5, 6)),
        r"\(4, 5, 6\).*4",
    ),
    "conv2d_weight_grad dy": (
        lambda k: k.conv2d_weight_grad(zeros(1, 3, 5, 6), X, (3, 4, 1, 1)),
        r"dy has shape \(1, 3, 5, 6\).*\(2, 3, 5, 6\)",
    ),
    "conv2d_weight_grad w_shape": (
        lambda k: k.conv2d_weight_grad(zeros(2, 3, 5, 6), X, (3, 2, 1, 1)),
        r"\(3, 2, 1, 1\).*must have 4",
    ),
    "conv2d_bias_grad": (lambda k: k.conv2d_bias_grad(zeros(2, 3)), r"\(2, 3\).*4"),
    "linear features": (lambda k: k.linear(zeros(2, 3), zeros(5, 4)), r"\(2, 3\).*3 features.*\(5, 4\).*4"),
    "linear x 4-d": (lambda k: k.linear(X, zeros(5, 4)), r"\(2, 4, 5, 6\).*2"),
    "linear bias": (lambda k: k.linear(zeros(2, 3), zeros(5, 3), zeros(3)), r"\(3,\).*\(5,\)"),
    "linear_input_grad": (lambda k: k.linear_input_grad(zeros(2, 3), zeros(4, 5)), r"\(2, 3\).*\(4, 5\)"),
    "linear_weight_grad": (lambda k: k.linear_weight_grad(zeros(2, 3), zeros(4, 5)), r"\(2, 3\).*\(4, 5\)"),
    "linear_bias_grad": (lambda k: k.linear_bias_grad(zeros(3)), r"\(3,\).*2"),
    "batch_norm x": (lambda k: k.batch_norm(zeros(2, 3, 4), *[zeros(3)] * 4), r"\(2, 3, 4\).*2 or 4"),
    "batch_norm gamma": (
        lambda k: k.batch_norm(X, zeros(3), zeros(4), zeros(4), zeros(4)),
        r"gamma has shape \(3,\).*\(4,\)",
    ),
    "batch_norm_train beta": (
        lambda k: k.batch_norm_train(X, zeros(4), zeros(1)),
        r"beta has shape \(1,\).*\(4,\)",
    ),
    "batch_norm_train empty": (lambda k: k.batch_norm_train(zeros(0, 4), zeros(4), zeros(4)), r"\(0, 4\)"),
    "batch_norm_train_grad dy": (
        lambda k: k.batch_norm_train_grad(zeros(2, 4), X, zeros(4), zeros(4), zeros(4)),
        r"dy has shape \(2, 4\).*\(2, 4, 5, 6\)",
    ),
    "batch_norm_grad var": (
        lambda k: k.batch_norm_grad(X, X, zeros(4), zeros(4), zeros(5)),
        r"var has shape \(5,\).*\(4,\)",
    ),
    "local_response_norm x": (lambda k: k.local_response_norm(zeros(2, 4)), r"\(2, 4\).*4"),
    "local_response_norm size": (lambda k: k.local_response_norm(X, 4), "size is 4.*odd"),
    "local_response_norm alpha": (lambda k: k.local_response_norm(X, alpha=-1), "alpha is -1.*at least 0"),
    "local_response_norm k": (lambda k: k.local_response_norm(X, k=0), "k is 0.*above 0"),
    "local_response_norm_grad": (
        lambda k: k.local_response_norm_grad(zeros(2, 4, 5, 5), X),
        r"dy has shape \(2, 4, 5, 5\).*\(2, 4, 5, 6\)",
    ),
    "relu_grad": (lambda k: k.relu_grad(zeros(2, 3), zeros(3, 2)), r"\(3, 2\).*\(2, 3\)"),
    "tanh_grad": (lambda k: k.tanh_grad(zeros(2, 3), zeros(3, 2)), r"\(3, 2\).*\(2, 3\)"),
    "add": (lambda k: k.add(zeros(2, 3), zeros(1, 3)), r"\(1, 3\).*\(2, 3\)"),
    "concat none": (lambda k: k.concat([]), "at least one"),
    "concat extents": (lambda k: k.concat([X, zeros(2, 4, 5, 5)]), r"\(2, 4, 5, 5\).*\(2, 4, 5, 6\)"),
    "concat dimensions": (lambda k: k.concat([X, zeros(2, 4)]), r"\(2, 4\).*\(2, 4, 5, 6\)"),
    "concat_grad": (lambda k: k.concat_grad(X, [1, 2]), r"\(1, 2\).*4.*\(2, 4, 5, 6\)"),
    "dropout keep": (lambda k: k.dropout(zeros(2, 4), BOOL, 0.5), r"\(2, 4, 5, 6\).*\(2, 4\)"),
    "dropout rate": (lambda k: k.dropout(X, BOOL, 1.0), r"rate is 1.0.*below 1"),
    "dropout_grad rate": (lambda k: k.dropout_grad(X, BOOL, -0.5), r"rate is -0.5"),
    "max_pool2d x": (lambda k: k.max_pool2d(zeros(4, 5, 6), 2), r"\(4, 5, 6\).*4"),
    "max_pool2d kernel": (lambda k: k.max_pool2d(X, 6), r"height 6.*5"),
    "max_pool2d kernel 0": (lambda k: k.max_pool2d(X, 0), r"kernel is 0.*1"),
    "max_pool2d stride": (lambda k: k.max_pool2d(X, 2, stride=0), r"stride is 0"),
    "max_pool2d padding": (lambda k: k.max_pool2d(X, (2, 3), padding=(1, 2)), r"\(1, 2\).*half.*\(2, 3\)"),
    "max_pool2d_grad": (lambda k: k.max_pool2d_grad(X, X, 2), r"\(2, 4, 5, 6\).*\(2, 4, 2, 3\)"),
    "avg_pool2d kernel": (lambda k: k.avg_pool2d(X, (1, 9), padding=(0, 1)), r"width 9.*6.*padding 1.*8"),
    "avg_pool2d_grad": (lambda k: k.avg_pool2d_grad(X, X.shape, 2), r"\(2, 4, 5, 6\).*\(2, 4, 2, 3\)"),
    "global_avg_pool2d": (lambda k: k.global_avg_pool2d(zeros(2, 3)), r"\(2, 3\).*4"),
    "global_avg_pool2d_grad": (
        lambda k: k.global_avg_pool2d_grad(zeros(2, 3), X.shape),
        r"\(2, 3\).*\(2, 4\)",
    ),
    "softmax": (lambda k: k.softmax(X), r"\(2, 4, 5, 6\).*2"),
    "softmax no class": (lambda k: k.softmax(zeros(2, 0)), r"\(2, 0\)"),
    "cross entropy labels": (
        lambda k: k.softmax_cross_entropy(zeros(2, 3), ints(0, 1, 2)),
        r"\(3,\).*\(2,\)",
    ),
    "cross entropy range": (
        lambda k: k.softmax_cross_entropy(zeros(2, 3), ints(0, 3)),
        r"from 0 to 3.*\(2, 3\).*0\.\.2",
    ),
    "cross entropy negative": (
        lambda k: k.softmax_cross_entropy_grad(zeros(2, 3), ints(-1, 1)),
        "from -1 to 1",
    ),
    "cross entropy empty": (lambda k: k.softmax_cross_entropy(zeros(0, 3), ints()), r"\(0, 3\)"),
    "cross entropy smoothing": (
        lambda k: k.softmax_cross_entropy(zeros(2, 3), ints(0, 1), 1.0),
        "smoothing is 1.0.*below 1",
    ),
    "distillation teacher": (
        lambda k: k.distillation_loss(zeros(2, 3), zeros(2, 4)),
        r"teacher_logits has shape \(2, 4\).*\(2, 3\)",
    ),
    "distillation temperature": (
        lambda k: k.distillation_loss_grad(zeros(2, 3), zeros(2, 3), 0.0),
        "temperature is 0.0.*above 0",
    ),
    "distillation empty": (lambda k: k.distillation_loss(zeros(0, 3), zeros(0, 3)), r"\(0, 3\)"),
    "sgd_update": (
        lambda k: k.sgd_update(zeros(3), zeros(4), zeros(3), 0.1, 0.9, 0.0, False),
        r"grad has shape \(4,\).*\(3,\)",
    ),
    "adam_update": (
        lambda k: k.adam_update(zeros(3), zeros(3), zeros(3), zeros(2), 1, 0.1),
        r"v has shape \(2,\).*\(3,\)",
    ),
    "adam_update step": (lambda k: k.adam_update(*[zeros(3)] * 4, 0, 0.1), "step is 0"),
}

BAD_DTYPES: dict[str, tuple[Call, str]] = {
    "mixed": (lambda k: k.add(zeros(2), np.zeros(2)), "b is float64 but a is float32"),
    "integer": (lambda k: k.relu(np.zeros(3, dtype=np.int32)), "x is int32.*float32"),
    "half": (lambda k: k.linear(zeros(2, 3).astype(np.float16), zeros(2, 3)), "x is float16"),
    "list": (lambda k: k.relu([1.0, 2.0]), "x is a list.*NumPy array"),
    "labels": (lambda k: k.softmax_cross_entropy(zeros(2, 3), zeros(2)), "labels is float32.*integers"),
    "keep": (lambda k: k.dropout(zeros(2), zeros(2), 0.5), "keep is float32.*bool"),
    "bias": (lambda k: k.conv2d(X, zeros(3, 4, 1, 1), np.zeros(3)), "b is float64 but x is float32"),
}


@pytest.mark.parametrize("backend_name", ["reference", "cpu"])
@pytest.mark.parametrize(("call", "text"), BAD_SHAPES.values(), ids=list(BAD_SHAPES))
def test_bad_shapes(call: Call, text: str, backend_name: str) -> None:
    with pytest.raises(ShapeError, match=text):
        call(load_backend(backend_name))


@pytest.mark.parametrize("backend_name", ["reference", "cpu"])
@pytest.mark.parametrize(("call", "text"), BAD_DTYPES.values(), ids=list(BAD_DTYPES))
def test_bad_dtypes(call: Call, text: str, backend_name: str) -> None:
    with pytest.raises(DtypeError, match=text):
        call(load_backend(backend_name))


@pytest.mark.parametrize("backend_name", ["reference", "cpu"])
def test_updates_refuse_read_only_arrays(backend_name: str) -> None:
    backend, frozen = load_backend(backend_name), zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(ShapeError, match="velocity is read-only"):
        backend.sgd_update(zeros(3), frozen, frozen, 0.1)


@pytest.mark.parametrize("backend_name", ["reference", "cpu"])
def test_an_empty_batch_gives_an_empty_result(backend_name: str) -> None:
    k, x = load_backend(backend_name), zeros(0, 4, 5, 6)
    assert k.conv2d(x, zeros(3, 4, 2, 2)).shape == (0, 3, 4, 5)
    assert k.linear(zeros(0, 4), zeros(3, 4)).shape == (0, 3)
    assert k.relu(x).shape == x.shape
    assert k.max_pool2d(x, 2).shape == (0, 4, 2, 3)
    assert k.avg_pool2d(x, 2).shape == (0, 4, 2, 3)
    assert k.global_avg_pool2d(x).shape == (0, 4)
    assert k.softmax(zeros(0, 4)).shape == (0, 4)
    assert k.local_response_norm(x).shape == x.shape
    assert k.batch_norm(x, *[zeros(4)] * 4).shape == x.shape


def test_pair() -> None:
    assert pair(3, "kernel") == (3, 3)
    assert pair((1, 2), "kernel") == (1, 2)
    assert pair(np.array([1, 2]), "kernel") == (1, 2)
    assert pair(np.int64(2), "kernel") == (2, 2)
    for bad in (None, "ab", True, (1, 2.0), (1, True), [1]):
        with pytest.raises(ShapeError, match="kernel is"):
            pair(bad, "kernel")


def test_output_shapes() -> None:
    assert conv2d_output_shape((64, 3, 224, 224), (96, 3, 11, 11), stride=4, padding=2) == (64, 96, 55, 55)
    assert conv2d_output_shape((1, 6, 5, 7), (6, 1, 3, 1), (2, 3), (0, 1), groups=6) == (1, 6, 2, 3)
    assert pool2d_output_shape((1, 2, 7, 8), 3, 2, 1) == (1, 2, 4, 4)
    assert pool2d_output_shape((1, 2, 7, 8), (2, 3)) == (1, 2, 3, 2)
