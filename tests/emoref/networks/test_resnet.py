import numpy as np
import pytest

from emoref import nn
from emoref.compress import count
from emoref.errors import NetworkError
from emoref.networks import build


@pytest.mark.parametrize(
    ("name", "layers", "params"),
    [
        ("resnet20", 20, 269_722),
        ("resnet32", 32, 464_154),
        ("resnet56", 56, 853_018),
        ("resnet110", 110, 1_727_962),
    ],
)
def test_cifar_counts(name, layers, params):
    net = build(name)
    counted = count(net)
    assert counted.params == params
    assert sum(1 for layer in counted.layers if layer.weights) == layers
    assert [net.shapes[n] for n in ("s1b1_relu", "s2b1_relu", "s3b1_relu")] == [
        (16, 32, 32),
        (32, 16, 16),
        (64, 8, 8),
    ]


@pytest.mark.parametrize(
    ("name", "shape", "classes", "params"),
    [
        ("resnet50", (3, 224, 224), 1000, 25_557_032),
        ("resnet18", (3, 224, 224), 1000, 11_689_512),
        ("resnet18", (3, 32, 32), 10, 11_173_962),
        ("resnet50", (3, 32, 32), 10, 23_520_842),
    ],
)
def test_counts_with_projections(name, shape, classes, params):
    net = build(name, shape, classes)
    assert count(net).params == params
    assert net.shapes["s4b1_add"][1:] == ((7, 7) if shape[1] == 224 else (4, 4))


def test_resnet50_is_version_1_5():
    net = build("resnet50")
    assert net.input_shape == (3, 224, 224)
    for stage in (2, 3, 4):
        strides = [net.node(f"s{stage}b1_conv{i}").attrs["stride"] for i in (1, 2, 3)]
        assert strides == [1, 2, 1]
        assert net.node(f"s{stage}b1_skip_conv").attrs["stride"] == 2
    assert sum(node.name.endswith("skip_conv") for node in net.nodes) == 4
    assert count(build("resnet50", classes=1000)).macs == 4_089_184_256


@pytest.mark.parametrize(
    ("shape", "stem"), [((3, 32, 32), "small"), ((3, 64, 64), "small"), ((3, 96, 96), "large")]
)
def test_stem_by_size_and_by_option(shape, stem):
    net = build("resnet18", shape, widths=(2, 2, 2, 2))
    assert net == build("resnet18", shape, widths=(2, 2, 2, 2), stem=stem)
    assert net.node("conv").attrs["kernel"] == (7 if stem == "large" else 3)
    assert any(n.op == "max_pool2d" for n in net.nodes) == (stem == "large")
    other = build("resnet18", shape, widths=(2, 2, 2, 2), stem="small" if stem == "large" else "large")
    assert other != net


def torch_basic_resnet(torch, net, params):
    """Return what the CIFAR ResNet computes, written with PyTorch's functions as the paper describes it."""
    f = torch.nn.functional
    p = {name: torch.tensor(value) for name, value in params.items()}

    def conv_bn(x, conv, bn, stride=1):
        x = f.conv2d(x, p[f"{conv}.weight"], stride=stride, padding=1)
        names = ("running_mean", "running_var", "gamma", "beta")
        return f.batch_norm(x, *(p[f"{bn}.{name}"] for name in names))

    def run(images):
        x = f.relu(conv_bn(torch.tensor(images), "conv", "bn"))
        for stage in (1, 2, 3):
            for block in (1, 2, 3):
                at, stride = f"s{stage}b{block}", 2 if stage > 1 and block == 1 else 1
                y = f.relu(conv_bn(x, f"{at}_conv1", f"{at}_bn1", stride))
                y = conv_bn(y, f"{at}_conv2", f"{at}_bn2")
                x = x[:, :, ::stride, ::stride]
                x = f.relu(y + f.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])))
        return x.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]

    return run


def test_resnet20_against_torch():
    torch = pytest.importorskip("torch")
    net = build("resnet20", widths=(4, 6, 9))
    rng = np.random.default_rng(0)
    params = {n: v + rng.uniform(0, 0.3, v.shape) for n, v in net.init(0).items()}
    images = rng.normal(size=(2, 3, 32, 32))
    wanted = torch_basic_resnet(torch, net, params)(images).numpy()
    np.testing.assert_allclose(nn.predict(net, params, images, "reference"), wanted, rtol=1e-9)


def test_projections_by_option():
    plain, projected = build("resnet20"), build("resnet20", shortcut="B")
    assert count(projected).params - count(plain).params == 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert build("resnet20", widths=(8, 8, 4), shortcut="B").shapes["gap"] == (4,)
    equal = build("resnet20", widths=(8, 8, 8))
    assert not any(n.op == "pad_channels" for n in equal.nodes)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("resnet56", {"widths": (16, 32)}, "'resnet56' has 3 stages"),
        ("resnet56", {"widths": (32, 16, 64)}, "'resnet56': widths must not fall with shortcut 'A'"),
        ("resnet20", {"shortcut": "C"}, "'resnet20': shortcut must be 'A' or 'B', got 'C'"),
        ("resnet18", {"stem": "tiny"}, "'resnet18': stem must be 'auto', 'small' or 'large', got 'tiny'"),
        ("resnet50", {"widths": (1, 2, 3)}, "'resnet50' has 4 stages"),
        ("resnet50", {"shortcut": "A"}, "no option 'shortcut'"),
    ],
)
def test_errors(name, options, text):
    with pytest.raises(NetworkError, match=text):
        build(name, **options)
