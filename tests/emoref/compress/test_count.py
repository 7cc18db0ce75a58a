import numpy as np
import pytest

from emoref.compress import count, slim
from emoref.errors import NetworkError
from emoref.nn import NetworkBuilder


def test_lenet_by_hand(lenet):
    counted = count(lenet)
    macs = {row.name: row.macs for row in counted.layers if row.macs}
    assert macs == {"conv1": 288_000, "conv2": 1_600_000, "fc1": 400_000, "fc2": 5_000}
    assert counted.macs == 2_293_000
    assert counted.flops == 4_586_000
    assert counted.params == 431_080
    assert counted.weights == 431_080 - 20 - 50 - 500 - 10
    assert counted.filters == 70
    assert counted.size_bits() == 32 * 431_080
    assert counted.size_bits(8) == 8 * 431_080
    assert counted.layers[0].output_shape == (20, 24, 24)
    assert counted.layers[0].flops == 576_000


def test_batch_norm_depthwise_and_missing_bias_by_hand():
    b = NetworkBuilder("small", (3, 8, 8))
    b.conv("a", 4, 3, stride=2, padding=1, bias=False)  # 4*4 places, 4*3*9 weights
    b.batch_norm("bn")
    b.conv("dw", 8, 3, padding=1, groups=4)  # 4*4 places, 8*1*9 weights
    b.global_avg_pool("gap")
    b.linear("fc", 2, bias=False)
    rows = {row.name: row for row in count(b.build()).layers}
    assert (rows["a"].macs, rows["a"].params, rows["a"].weights, rows["a"].filters) == (1728, 108, 108, 4)
    assert (rows["bn"].macs, rows["bn"].params, rows["bn"].weights, rows["bn"].filters) == (0, 8, 0, 0)
    assert (rows["dw"].macs, rows["dw"].params, rows["dw"].weights, rows["dw"].filters) == (1152, 80, 72, 8)
    assert (rows["fc"].macs, rows["fc"].params, rows["fc"].weights) == (16, 16, 16)


def test_params_agree_with_the_arrays_of_a_slimmed_network(lenet):
    masks = {"conv1": np.arange(20) < 3, "conv2": np.arange(50) < 4}
    net, params = slim(lenet, lenet.init(0), masks)
    assert count(net).params == sum(value.size for value in params.values())
    # conv2 reads 3 channels and has 4 filters; fc1 reads 4 maps of 4*4 pixels.
    assert [row.macs for row in count(net).layers if row.macs] == [43_200, 19_200, 32_000, 5_000]


def test_bits_must_be_positive(lenet):
    with pytest.raises(NetworkError, match="at least 1 bit, got 0"):
        count(lenet).size_bits(0)
