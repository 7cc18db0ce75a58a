import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from emoref.data import catalog, channel_statistics, classes
from emoref.data.cifar import CIFAR10_FILES
from emoref.data.idx import write_idx
from emoref.errors import DataError

IDX_NAMES = {"train": 4, "t10k": 2}


@pytest.fixture
def roots(tmp_path, monkeypatch) -> list[Path]:
    """Two folders in EMOREF_DATA and an empty cache."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("EMOREF_DATA", os.pathsep.join(map(str, folders)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folders


def fake_idx(folder: Path, joint: str = "-", suffix: str = "", size: int = 28) -> Path:
    folder.mkdir(parents=True)
    for prefix, n in IDX_NAMES.items():
        images = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((n, size, size), np.uint8)
        write_idx(folder / f"{prefix}-images{joint}idx3-ubyte{suffix}", images)
        write_idx(folder / f"{prefix}-labels{joint}idx1-ubyte{suffix}", np.arange(n, dtype=np.uint8))
    return folder


def fake_cifar(folder: Path, names: list[str], labels: list[int]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(bytes(labels) + bytes(3072))
    return folder


@pytest.mark.parametrize("joint", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_every_spelling_of_idx_files(roots, name, joint, suffix):
    folder = fake_idx(roots[1] / name, joint, suffix)
    assert catalog.locate(name) == folder
    train, test = catalog.load(name), catalog.load(name, "test")
    assert (len(train), len(test)) == (4, 2)
    assert train.name == name
    assert train.images[:, 0, 0, 0].tolist() == train.labels.tolist() == [0, 1, 2, 3]


def test_cifar(roots):
    names = [*CIFAR10_FILES["train"], *CIFAR10_FILES["test"]]
    folder = fake_cifar(roots[0] / "cifar-10-batches-bin", names, [7])
    assert catalog.locate("cifar10") == folder
    assert catalog.load("cifar10").labels.tolist() == [7] * 5
    assert catalog.load("cifar10", "test").image_shape == (3, 32, 32)
    fake_cifar(roots[0] / "cifar-100-binary", ["train.bin", "test.bin"], [19, 99])
    assert catalog.load("cifar100").labels.tolist() == [99]
    assert len(catalog.load("cifar100").classes) == 100


def test_the_first_complete_folder_wins(roots, tmp_path):
    in_cache = fake_idx(tmp_path / "cache" / "emoref" / "data" / "mnist")
    assert catalog.locate("mnist") == in_cache
    second = fake_idx(roots[1] / "mnist")
    assert catalog.locate("mnist") == second
    first = fake_idx(roots[0] / "mnist")
    assert catalog.locate("mnist") == first
    (first / "t10k-labels-idx1-ubyte").unlink()
    assert catalog.locate("mnist") == second


def test_cache_without_the_variables(monkeypatch, tmp_path):
    monkeypatch.delenv("EMOREF_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = fake_idx(tmp_path / ".cache" / "emoref" / "data" / "mnist")
    assert catalog.locate("mnist") == folder


def test_not_found_says_where_and_what(roots):
    assert catalog.locate("mnist") is None
    fake_idx(roots[1] / "mnist")
    (roots[1] / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError) as caught:
        catalog.load("mnist")
    text = str(caught.value)
    assert len(text.splitlines()) == 2
    for part in (
        f"{roots[0] / 'mnist'} (no such folder)",
        f"{roots[1] / 'mnist'} (lacks t10k-labels-idx1-ubyte)",
        "cache",
        "EMOREF_DATA",
        "{train,t10k}-images-idx3-ubyte",
    ):
        assert part in text
    assert "http" not in text


@pytest.mark.parametrize(("name", "part"), [("cifar10", "data_batch_1.bin"), ("cifar100", "train.bin")])
def test_cifar_not_found(roots, name, part):
    with pytest.raises(DataError, match="not found") as caught:
        catalog.load(name)
    assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("mnits", "'mnist'"),
        ("Fashion_MNIST", "'fashion-mnist'"),
        ("cifar-10", "'cifar10'"),
        ("imagenet", None),
    ],
)
def test_unknown_name_suggests_the_nearest(name, suggestion):
    for use in (catalog.load, catalog.locate):
        with pytest.raises(DataError, match="unknown data set") as caught:
            use(name)
        text = str(caught.value)
        assert "cifar100" in text
        assert ("did you mean" in text) == (suggestion is not None)
        assert suggestion is None or f"did you mean {suggestion}" in text


def test_unknown_part():
    with pytest.raises(DataError, match="no part 'validation'; expected 'train' or 'test'"):
        catalog.load("fashion-mnist-small", "validation")


def test_a_damaged_file_is_named(roots):
    folder = fake_idx(roots[0] / "mnist", suffix=".gz")
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cut short") as caught:
        catalog.load("mnist")
    assert str(path) in str(caught.value)


def test_files_swapped(roots):
    folder = fake_idx(roots[0] / "mnist")
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    content = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(content)
    with pytest.raises(DataError, match="a label file; expected images"):
        catalog.load("mnist")


def test_images_of_another_size(roots):
    fake_idx(roots[0] / "mnist", size=20)
    with pytest.raises(DataError, match="20 x 20 pixels; those of mnist have 28 x 28"):
        catalog.load("mnist")


def test_describe(roots):
    folder = fake_idx(roots[0] / "mnist")
    entries = {entry.name: entry for entry in catalog.describe()}
    assert tuple(entries) == catalog.names()
    assert entries["mnist"].found == folder
    assert entries["cifar10"].found is None
    assert "EMOREF_DATA" in entries["cifar10"].how_to_get
    assert entries["cifar100"].classes == 100
    assert entries["cifar10"].image_shape == (3, 32, 32)
    assert (entries["mnist"].train_images, entries["mnist"].test_images) == (60000, 10000)
    small = entries["fashion-mnist-small"]
    assert small.found is not None
    assert (small.train_images, small.test_images) == (6000, 1000)


def test_class_names():
    assert [len(names) for names in (classes.MNIST, classes.FASHION_MNIST, classes.CIFAR10)] == [10, 10, 10]
    assert len(classes.CIFAR100) == len(set(classes.CIFAR100)) == 100
    assert list(classes.CIFAR100) == sorted(classes.CIFAR100)


@pytest.mark.parametrize(("part", "each"), [("train", 600), ("test", 100)])
def test_embedded_set_needs_no_folder(roots, part, each):
    data = catalog.load("fashion-mnist-small", part)
    assert data.images.shape == (10 * each, 1, 28, 28)
    assert data.class_counts().tolist() == [each] * 10
    mean, std = channel_statistics(data.images)
    # A subset's own statistics lie near those of the 60,000.
    assert mean[0] == pytest.approx(data.mean[0], abs=0.005)
    assert std[0] == pytest.approx(data.std[0], abs=0.005)


def test_embedded_files_are_small_and_name_their_origin(roots):
    folder = catalog.locate("fashion-mnist-small")
    assert folder is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    origin = (folder / "ORIGIN.md").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE" in origin
    assert "WITHOUT WARRANTY OF ANY KIND" in origin


def published(name: str, part: str = "train"):
    """Load real data, or skip where this machine does not have it."""
    if not os.environ.get("EMOREF_DATA"):
        pytest.skip(f"EMOREF_DATA is not set; {name} is needed")
    if catalog.locate(name) is None:
        pytest.skip(f"{name} is in no folder of EMOREF_DATA")
    return catalog.load(name, part)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_constants_are_those_of_the_published_training_set(name):
    data = published(name)
    assert len(data) == 60000
    mean, std = channel_statistics(data.images)
    assert (round(mean[0], 4),) == data.mean
    assert (round(std[0], 4),) == data.std


def test_published_class_counts():
    # MNIST's table of digits; Fashion-MNIST is balanced.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert published("mnist").class_counts().tolist() == counts
    assert published("mnist", "test").class_counts().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert published("fashion-mnist").class_counts().tolist() == [6000] * 10
    assert published("fashion-mnist", "test").class_counts().tolist() == [1000] * 10


def test_published_first_labels():
    assert published("mnist").labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert published("fashion-mnist").labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_constants_of_cifar(name):
    data = published(name)
    assert len(data) == 50000
    mean, std = channel_statistics(data.images)
    # Copies that went through JPEG have slightly flatter pixels than the originals.
    np.testing.assert_allclose(mean, data.mean, atol=1e-3)
    np.testing.assert_allclose(std, data.std, atol=3e-3)
    assert data.class_counts().tolist() == [50000 // len(data.classes)] * len(data.classes)


def test_gz_files_of_the_published_sets_hold_nothing_but_their_images():
    folder = published("mnist", "test") and catalog.locate("mnist")
    path = folder / "t10k-images-idx3-ubyte.gz"
    if not path.exists():
        pytest.skip("mnist is stored in another form than .gz")
    assert len(gzip.decompress(path.read_bytes())) == 16 + 10000 * 784
