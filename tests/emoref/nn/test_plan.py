"""The table of techniques."""

from emoref.networks import build
from emoref.nn.plan import convolution_plans


def test_every_convolution_is_listed_with_its_shape():
    net = build("mobilenet-v1")
    rows = convolution_plans(net)
    assert [row.layer for row in rows] == [node.name for node in net.nodes if node.op == "conv2d"]
    assert rows[1].shape.endswith("3x3, 32 groups")
    assert rows[1].forward == rows[1].input_grad == rows[1].weight_grad == "depthwise"
    assert any(", stride 2" in row.shape for row in rows)


def test_exact_mode_does_without_the_largest_tiles():
    net = build("vgg16")
    assert {row.forward for row in convolution_plans(net)} >= {"winograd 4x4", "direct"}
    assert {row.forward for row in convolution_plans(net, "exact")} == {"winograd 2x2", "direct"}
