import pytest

from emoref.compress import count
from emoref.errors import NetworkError
from emoref.networks import build


def test_counts_for_small_images():
    net = build("mobilenet-v1")
    counted = count(net)
    assert counted.weights == 3_195_328
    assert counted.macs == 46_354_432
    assert sum(1 for layer in counted.layers if layer.weights) == 28
    assert net.shapes["pw13_relu"] == (1024, 2, 2)


def test_counts_for_large_images():
    net = build("mobilenet-v1", (3, 224, 224), 1000)
    assert count(net).params == 4_231_976
    assert count(net).macs == 568_740_352
    assert net.shapes["pw13_relu"] == (1024, 7, 7)


@pytest.mark.parametrize(
    ("multiplier", "first", "last"), [(0.5, 16, 512), (0.25, 8, 256), (2, 64, 2048), (0.001, 1, 1)]
)
def test_width_multiplier(multiplier, first, last):
    net = build("mobilenet-v1", width_multiplier=multiplier)
    assert net.node("conv").attrs["filters"] == net.node("dw1").attrs["groups"] == first
    assert net.node("pw13").attrs["filters"] == last
    # Published for 224x224 and 1000 classes: 0.5 has 1.3 million parameters, 0.25 has 0.5 million.
    if multiplier < 1:
        published = {0.5: 1.3e6, 0.25: 0.5e6}.get(multiplier)
        large = count(build("mobilenet-v1", (3, 224, 224), 1000, width_multiplier=multiplier)).params
        assert published is None or large == pytest.approx(published, rel=0.07)


@pytest.mark.parametrize("multiplier", [0, -1, float("nan"), float("inf")])
def test_errors(multiplier):
    with pytest.raises(NetworkError, match="'mobilenet-v1': width_multiplier must be above 0"):
        build("mobilenet-v1", width_multiplier=multiplier)
