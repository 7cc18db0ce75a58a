"""A network prepared once predicts what it predicts anew."""

import numpy as np
import pytest

from emoref import networks, nn
from emoref.errors import NetworkError


@pytest.mark.parametrize("backend", ["cpu", "cpu:exact"])
def test_a_predictor_gives_the_same_bits_at_every_call(backend):
    net = networks.build("resnet20", input_shape=(3, 16, 16), classes=10)
    params = net.init(0)
    predictor = nn.Predictor(net, params, backend)
    images = np.random.default_rng(1).standard_normal((7, 3, 16, 16)).astype(np.float32)
    for some, batch_size in ((images, 250), (images[:2], 1), (images, 3)):
        wanted = nn.predict(net, params, some, backend)
        np.testing.assert_array_equal(predictor(some, batch_size), wanted)
    assert wanted.shape == (7, 10)


def test_a_predictor_without_compiled_passes():
    net = networks.build("lenet5")
    params = net.init(0)
    predictor = nn.Predictor(net, params, "reference")
    images = np.random.default_rng(2).standard_normal((3, *net.input_shape)).astype(np.float32)
    wanted = nn.predict(net, params, images, "reference")
    for _ in "12":
        np.testing.assert_array_equal(predictor(images), wanted)
    np.testing.assert_allclose(predictor(images, 2), wanted, rtol=1e-5, atol=1e-6)  # BLAS sums by shape


def test_images_of_another_shape_are_refused():
    net = networks.build("lenet5")
    with pytest.raises(NetworkError, match=r"\(N, 1, 32, 32\)"):
        nn.Predictor(net, net.init(0))(np.zeros((2, 1, 28, 27), np.float32))
