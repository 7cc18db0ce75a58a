"""The choice of a technique for a convolution."""

import pytest

from emoref_kernels.cpu.planner import DEPTHWISE, MODES, plan_convolution

SAME = {"kernel": (3, 3), "padding": (1, 1)}


@pytest.mark.parametrize(
    "shape", [(64, 64, (32, 32)), (192, 384, (8, 8)), (512, 512, (4, 4)), (32, 32, (16, 16))]
)
def test_wide_layers_of_3x3_use_winograd(shape):
    assert plan_convolution(*shape, **SAME).outputs == 4
    assert plan_convolution(*shape, **SAME, mode="exact").outputs == 2


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((64, 64, (8, 8)), {"kernel": (5, 5)}, "5x5"),
        ((64, 64, (8, 8)), {**SAME, "stride": (2, 2)}, "stride is 2x2"),
        ((64, 64, (8, 8)), {**SAME, "groups": 32}, "32 groups"),
        ((64, 64, (8, 8)), {**SAME, "groups": 64, "stride": (3, 3)}, "64 groups"),
        ((3, 64, (8, 8)), SAME, "fewer than 16 channels"),
        ((64, 10, (8, 8)), SAME, "fewer than 16 filters"),
        ((64, 64, (8, 8)), {"kernel": (3, 3), "padding": (1, 3)}, "padding"),
        ((64, 64, (1, 1)), SAME, "of the work"),
    ],
)
def test_other_layers_are_direct_and_say_why(shape, options, reason):
    for mode in MODES:
        technique = plan_convolution(*shape, **options, mode=mode)
        assert technique.name == "direct"
        assert technique.outputs == 0
        assert reason in technique.reason


def test_a_map_of_two_by_two_takes_small_tiles():
    assert plan_convolution(512, 512, (2, 2), **SAME).outputs == 2


def test_reason_tells_the_share_of_the_work():
    assert plan_convolution(512, 512, (32, 32), **SAME).reason == "26% of the direct work"


def test_filters_of_one_channel_each_are_depthwise():
    for stride in ((1, 1), (2, 2)):
        technique = plan_convolution(8, 8, (5, 5), **SAME, stride=stride, groups=8)
        assert technique.name == DEPTHWISE
    assert plan_convolution(8, 16, (5, 5), **SAME, groups=8).name == "direct"
