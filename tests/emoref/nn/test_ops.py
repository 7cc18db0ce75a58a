import numpy as np
import pytest

from emoref import nn
from emoref.nn.ops import OPS, Context
from emoref_kernels import load_backend

BACKENDS = ["reference", "cpu"]


def run(node, x, backend="reference"):
    """Return an operation's result and a function that hands a gradient back through it."""
    k, ctx = load_backend(backend), Context()
    y = node.kind.forward(k, node, {}, [x], ctx)
    return y, lambda dy: node.kind.backward(k, node, {}, dy, ctx)[0][0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 0), (0, 3), (1, 2)])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3)])
def test_pad_channels_against_numpy(before, after, shape, backend):
    node = nn.Node("pad", "pad_channels", ("input",), {"before": before, "after": after})
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    wanted = np.pad(x, [(0, 0), (before, after)] + [(0, 0)] * (len(shape) - 2))
    y, back = run(node, x, backend)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, wanted)
    assert OPS["pad_channels"].infer_shape(node, [shape[1:]]) == wanted.shape[1:]
    dy = rng.normal(size=wanted.shape).astype(np.float32)
    np.testing.assert_array_equal(back(dy), dy[:, before : before + 3])


@pytest.mark.parametrize("backend", BACKENDS)
def test_shortcut_without_parameters_against_torch(backend):
    torch = pytest.importorskip("torch")
    b = nn.NetworkBuilder("shortcut", (4, 7, 6))
    b.avg_pool("every-second", 1, stride=2)
    b.pad_channels("wider", before=1, after=3)
    net = b.build()
    x = np.random.default_rng(1).normal(size=(2, 4, 7, 6)).astype(np.float32)
    t = torch.tensor(x, requires_grad=True)
    other = torch.nn.functional.pad(t[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3))
    tape = nn.forward(net, {}, x, backend=backend)
    np.testing.assert_array_equal(tape.output, other.detach().numpy())
    dy = np.random.default_rng(2).normal(size=tape.output.shape).astype(np.float32)
    other.backward(torch.tensor(dy))
    np.testing.assert_array_equal(nn.backward(tape, dy, ["input"])["input"], t.grad.numpy())


def test_local_response_norm_is_the_kernel():
    node = nn.Node("n", "local_response_norm", ("input",), {"size": 3, "alpha": 0.3, "beta": 1, "k": 2})
    x = np.random.default_rng(3).normal(size=(2, 5, 3, 3))
    k = load_backend("reference")
    y, back = run(node, x)
    np.testing.assert_array_equal(y, k.local_response_norm(x, 3, 0.3, 1.0, 2.0))
    np.testing.assert_array_equal(back(y), k.local_response_norm_grad(y, x, 3, 0.3, 1.0, 2.0))
