"""The choice of a technique for a convolution."""

import pytest

from emoref_kernels.cpu.planner import DEPTHWISE, MAPS, MODES, SCATTER, plan_convolution, plan_input_grad

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
        ((64, 64, (8, 8)), {"kernel": (7, 5)}, "7x5"),
        ((3, 64, (8, 8)), {**SAME, "stride": (2, 2)}, "stride is 2x2"),
        ((64, 64, (8, 8)), {"kernel": (1, 1), "stride": (2, 2)}, "1x1"),
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


def test_wide_layers_of_5x5_use_winograd_unless_exact():
    layer = {"kernel": (5, 5), "padding": (0, 0)}
    assert plan_convolution(20, 50, (8, 8), **layer).outputs == 4
    assert plan_input_grad(20, 50, (12, 12), **layer).outputs == 4
    assert plan_convolution(20, 50, (8, 8), **layer, mode="exact").name == "direct"


@pytest.mark.parametrize(
    ("shape", "padding", "reason"),
    [
        ((1, 20, (24, 24)), (0, 0), "of the work"),
        ((64, 64, (8, 8)), (5, 2), "padding"),
        ((64, 64, (200, 200)), (2, 2), "too large"),
        ((512, 512, (8, 8)), (2, 2), "too large"),
    ],
)
def test_other_layers_of_5x5_are_direct_and_say_why(shape, padding, reason):
    technique = plan_convolution(*shape, kernel=(5, 5), padding=padding)
    assert technique.name == "direct"
    assert reason in technique.reason


@pytest.mark.parametrize("kernel", [(3, 3), (5, 4)])
def test_wide_layers_with_a_stride_are_convolved_as_maps(kernel):
    for plan in (plan_convolution, plan_input_grad):
        technique = plan(8, 32, (16, 16), kernel=kernel, stride=(1, 2), padding=(1, 1))
        assert technique == (MAPS, "the stride is 1x2", 0)
        assert plan(7, 32, (16, 16), kernel=kernel, stride=(1, 2), padding=(1, 1)).name != MAPS


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 16, (14, 14)), {"kernel": (5, 5)}),
        ((20, 50, (12, 12)), {"kernel": (5, 5), "mode": "exact"}),
        ((16, 120, (5, 5)), {"kernel": (5, 5)}),
        ((4, 32, (32, 32)), {**SAME, "stride": (2, 2)}),
    ],
)
def test_gradients_of_inputs_are_scattered_where_that_saves_work(shape, options):
    technique = plan_input_grad(*shape, **options)
    assert technique.name == SCATTER
    assert "of the direct work" in technique.reason


@pytest.mark.parametrize(
    ("shape", "options", "name"),
    [
        ((12, 12, (12, 12)), {"kernel": (4, 4), "padding": (3, 3)}, "direct"),  # more outputs than inputs
        ((4, 64, (400, 400)), {"kernel": (3, 3), "stride": (2, 2)}, "direct"),  # memory
        ((64, 64, (8, 8)), {"kernel": (1, 1)}, "direct"),  # as much work, and simpler
        ((8, 16, (9, 9)), {"kernel": (2, 2), "groups": 4}, "direct"),
        ((64, 64, (16, 16)), SAME, "winograd 4x4"),
    ],
)
def test_other_gradients_of_inputs_are_not(shape, options, name):
    assert plan_input_grad(*shape, **options).name == name
