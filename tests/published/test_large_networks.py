"""ResNet-50 and VGG-16 for 224 x 224: a forward pass and a training step on a small folder of images."""

import numpy as np
import pytest

from emoref import networks, nn
from emoref.data import ImageFolder

NARROW = {
    "resnet50": {"widths": (4, 4, 4, 4)},
    "vgg16": {"widths": (4,) * 13, "hidden": (8, 8)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of two images of different sizes, as JPEG and PNG."""
    image = pytest.importorskip("PIL.Image")
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir()
        for i, (size, kind) in enumerate((((260, 300), "jpg"), ((240, 230), "png"))):
            pixels = rng.integers(100 * label, 100 * label + 100, (*size, 3)).astype(np.uint8)
            image.fromarray(pixels).save(root / name / f"{i}.{kind}")
    return root


def train_one_step(net, folder, backend="cpu"):
    params, data = net.init(0), ImageFolder(folder, size=224)
    before = {name: value.copy() for name, value in params.items()}
    history = nn.fit(
        net, params, data, nn.TrainConfig(epochs=1, batch_size=len(data), lr=0.01), backend=backend
    )
    assert np.isfinite(history.train_loss[0])
    assert all((params[name] != before[name]).any() for name in net.trainable() if name.endswith("weight"))
    found = nn.evaluate_data(net, params, data, backend, batch_size=2)
    assert found.total == 4
    assert np.isfinite(found.loss)


@pytest.mark.parametrize("name", sorted(NARROW))
def test_narrow_versions_learn_from_a_folder(name, folder):
    net = networks.build(name, input_shape=(3, 224, 224), classes=2, **NARROW[name])
    train_one_step(net, folder, "reference")


@pytest.mark.gates
@pytest.mark.parametrize("name", sorted(NARROW))
def test_the_whole_networks_learn_from_a_folder(name, folder):
    train_one_step(networks.build(name, input_shape=(3, 224, 224), classes=2), folder)
