import numpy as np
import pytest

from emoref import nn
from emoref_kernels import load_backend

K = load_backend("reference")


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(6, 4)) * 2, rng.integers(4, size=6), rng.normal(size=(6, 4)) * 3


LOSSES = [nn.Loss(), nn.Loss(0.2), nn.Loss(0.1, 3.0, 0.7), nn.Loss(0.0, 1.0, 1.0), nn.Loss(0.0, 4.0, 0.0)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("taught", [False, True])
def test_gradient_is_the_derivative(loss, taught):
    logits, labels, teacher = batch()
    extra = (teacher,) if taught else ()
    direction = np.random.default_rng(1).normal(size=logits.shape)
    numeric = [loss.value(K, logits + t * direction, labels, *extra) for t in (1e-6, -1e-6)]
    exact = (loss.gradient(K, logits, labels, *extra) * direction).sum()
    assert (numeric[0] - numeric[1]) / 2e-6 == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_against_torch(loss):
    torch = pytest.importorskip("torch")
    logits, labels, teacher = batch(2)
    z, t = torch.tensor(logits, requires_grad=True), torch.tensor(teacher)
    hard = torch.nn.functional.cross_entropy(z, torch.tensor(labels), label_smoothing=loss.label_smoothing)
    soft = torch.nn.functional.kl_div(
        torch.log_softmax(z / loss.temperature, 1),
        torch.softmax(t / loss.temperature, 1),
        reduction="batchmean",
    )
    whole = (1 - loss.alpha) * hard + loss.alpha * loss.temperature**2 * soft
    assert loss.value(K, logits, labels) == pytest.approx(hard.item(), rel=1e-12)
    assert loss.value(K, logits, labels, teacher) == pytest.approx(whole.item(), rel=1e-12)
    whole.backward()
    np.testing.assert_allclose(loss.gradient(K, logits, labels, teacher), z.grad.numpy(), atol=1e-14)


def test_hard_targets_alone_are_the_cross_entropy_and_a_hot_teacher_is_a_matching_of_logits():
    logits, labels, teacher = batch(3)
    plain = K.softmax_cross_entropy(logits, labels)
    assert nn.Loss().value(K, logits, labels) == plain
    assert nn.Loss(alpha=0.0).value(K, logits, labels, teacher) == plain
    # Hinton et al. 2015, eq. 4: for a high temperature and logits of mean zero the gradient is (z - v) / K.
    z, v = (x - x.mean(axis=1, keepdims=True) for x in (logits, teacher))
    hot = nn.Loss(temperature=1e4, alpha=1.0).gradient(K, z, labels, v)
    np.testing.assert_allclose(hot, (z - v) / 4 / len(z), atol=1e-3)


def test_float32_stays_float32():
    logits, labels, teacher = batch()
    for name in ("reference", "cpu"):
        k = load_backend(name)
        single, other = logits.astype(np.float32), teacher.astype(np.float32)
        gradient = nn.Loss(0.1, 3.0, 0.7).gradient(k, single, labels, other)
        assert gradient.dtype == np.float32
