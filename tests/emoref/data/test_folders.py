"""Folders of images: what is read, what is refused, and that pixels are those that Pillow gives."""

import builtins
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest

from emoref import nn
from emoref.data import IMAGENET_MEAN, IMAGENET_STD, ImageFolder, stratified_split
from emoref.data.folders import random_window, resized_shape
from emoref.errors import DataError, MissingDependencyError

Image = pytest.importorskip("PIL.Image")


def picture(path, width=40, height=30, colour=None, mode="RGB", seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if colour is not None:
        image = Image.new(mode, (width, height), colour)
    else:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert(mode)
    image.save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """Three classes of 2, 3 and 4 images in files of different kinds and shapes."""
    root = tmp_path / "images"
    for label, (name, count) in enumerate((("ant", 2), ("bee", 3), ("cat", 4))):
        for i in range(count):
            suffix = ("png", "JPEG", "bmp")[i % 3]
            picture(root / name / f"{i}.{suffix}", 30 + 7 * i, 50 - 9 * i, seed=10 * label + i)
    (root / "labels.txt").write_text("beside the class folders")
    (root / ".cache").mkdir()
    (root / "ant" / ".hidden").write_text("x")
    return root


def test_classes_are_the_sorted_folders(root):
    folder = ImageFolder(root, size=16)
    assert folder.classes == ("ant", "bee", "cat")
    assert folder.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert folder.files[:3] == ("ant/0.png", "ant/1.JPEG", "bee/0.png")
    assert (len(folder), folder.image_shape) == (9, (3, 16, 16))
    assert folder.class_counts().tolist() == [2, 3, 4]
    assert repr(folder) == "<ImageFolder 'images': 9 images of 3 x 16 x 16, 3 classes>"
    assert folder.skipped == ()
    images, labels = folder.batch([8, 0, 8])
    assert (images.shape, images.dtype, labels.tolist()) == ((3, 3, 16, 16), np.float32, [2, 0, 2])
    assert (images[0] == images[2]).all()
    assert folder.batch([])[0].shape == (0, 3, 16, 16)


def test_a_plain_colour_is_normalised_with_the_constants(tmp_path):
    picture(tmp_path / "a" / "x.png", colour=(255, 0, 128))
    (image,), _ = ImageFolder(tmp_path, size=8).batch([0])
    expected = (np.array([255, 0, 128]) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(image, np.broadcast_to(expected[:, None, None], (3, 8, 8)), rtol=1e-5)


def test_evaluation_resizes_the_shorter_side_and_cuts_the_centre(tmp_path):
    path = picture(tmp_path / "a" / "x.png", 60, 40)
    folder = ImageFolder(tmp_path, size=16, resize=20, mean=(0, 0, 0), std=(1 / 255,) * 3)
    (image,), _ = folder.batch([0])
    resized = Image.open(path).resize((30, 20), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[2:18, 7:23].transpose(2, 0, 1)
    np.testing.assert_allclose(image, expected, atol=1e-4)
    assert ImageFolder(tmp_path).resize == 256


def test_resized_shape():
    assert resized_shape(40, 60, 20) == (20, 30)
    assert resized_shape(60, 40, 20) == (30, 20)
    assert resized_shape(5, 5, 7) == (7, 7)
    assert resized_shape(100, 333, 50) == (50, 166), "rounded down"


def test_random_window_by_hand():
    # First trial: a quarter of the area, aspect ratio 1, in the upper left corner.
    draws = np.zeros(22)
    draws[0], draws[10] = (0.25 - 0.08) / 0.92, 0.5
    assert random_window(100, 100, draws) == (0, 0, 50, 50)
    draws[20:] = 0.999
    assert random_window(100, 100, draws) == (50, 50, 50, 50), "places 0 .. 50"
    draws[:10] = 0.99999  # nothing of nearly all the area fits into a long strip: its largest centre part
    draws[10:20] = 0.5
    assert random_window(10, 100, draws) == (0, 43, 10, 13)
    assert random_window(100, 10, draws) == (43, 0, 13, 10)
    assert random_window(1, 1, draws) == (0, 0, 1, 1)


def test_random_windows_stay_inside_and_within_the_bounds():
    rng = np.random.default_rng(1)
    areas = []
    for height, width in ((50, 200), (333, 500), (7, 3), (1, 40)):
        for _ in range(300):
            top, left, h, w = random_window(height, width, rng.random(22))
            assert 0 <= top <= height - h
            assert 0 <= left <= width - w
            assert h >= 1
            assert w >= 1
            if height == 333:
                areas.append(h * w / (height * width))
    assert 0.075 < min(areas) < 0.2
    assert 0.75 < max(areas) <= 0.889, "333 x 444 pixels is the largest with an aspect ratio of 4/3"


def test_augmentation_draws_alike_for_all_and_needs_a_generator(root):
    folder = ImageFolder(root, size=16)
    plain, _ = folder.batch([0, 1])
    assert (folder.batch([0, 1])[0] == plain).all()
    rng = np.random.default_rng(3)
    first, _ = folder.batch([0, 1, 2], rng)
    assert not (first[:2] == plain).all()
    assert (folder.batch([0, 1, 2], np.random.default_rng(3))[0] == first).all()
    other = np.random.default_rng(3)
    other.random((3, 23))
    assert rng.random() == other.random(), "23 numbers an image"
    still = folder.with_augmentation(False)
    untouched = np.random.default_rng(3)
    assert (still.batch([0, 1], untouched)[0] == plain).all()
    assert untouched.random() == np.random.default_rng(3).random()


def test_half_of_the_images_are_mirrored(tmp_path):
    path = tmp_path / "a" / "x.png"
    path.parent.mkdir()
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255
    Image.fromarray(half).save(path)
    folder = ImageFolder(tmp_path, size=8, mean=(0, 0, 0), std=(1, 1, 1))
    images, _ = folder.batch([0] * 200, np.random.default_rng(0))
    left_brighter = images[:, 0, :, 0].mean(1) > images[:, 0, :, -1].mean(1)
    right_brighter = images[:, 0, :, 0].mean(1) < images[:, 0, :, -1].mean(1)
    assert 40 < left_brighter.sum() < 120
    assert 40 < right_brighter.sum() < 120


@pytest.mark.parametrize(
    ("mode", "suffix", "options"),
    [
        ("L", "png", {}),
        ("1", "png", {}),
        ("P", "png", {}),
        ("P", "gif", {"transparency": 0}),
        ("P", "png", {"transparency": bytes(range(256))}),
        ("RGBA", "png", {}),
        ("LA", "png", {}),
        ("CMYK", "jpg", {}),
        ("YCbCr", "jpg", {}),
        ("RGB", "webp", {"lossless": True}),
        ("RGB", "ppm", {}),
        ("RGB", "tiff", {}),
    ],
)
def test_every_kind_of_8_bit_image_becomes_rgb(tmp_path, mode, suffix, options):
    picture(tmp_path / "a" / f"x.{suffix}", mode=mode, **options)
    images, _ = ImageFolder(tmp_path, size=8).batch([0])
    assert images.shape == (1, 3, 8, 8)
    assert np.isfinite(images).all()


# What is refused


def png_claiming(width, height):
    """Build the header of a PNG file of absurd size."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


def spoil(root, kind):
    path = root / "bee" / "zz.png"
    if kind == "text":
        path.write_text("this is not an image")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(root / "absent")
    elif kind == "bomb":
        path.write_bytes(png_claiming(20_000, 8_000))
    elif kind == "huge bomb":
        path.write_bytes(png_claiming(2**30, 2**30))
    elif kind == "16 bits":
        Image.fromarray(np.zeros((9, 9), np.uint16)).save(path)
    elif kind == "postscript":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    return path


KINDS = {
    "text": "no image of a known kind",
    "empty": "empty file",
    "folder": "is a folder",
    "dangling link": "dangling link",
    "bomb": "20,000 x 8,000 pixels; expected 1 to 100,000,000 pixels",
    "huge bomb": "not a readable image",
    "16 bits": "expected 8 bits a channel",
    "postscript": "no image of a known kind",
}


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_files_are_named_or_left_out(root, kind):
    path = spoil(root, kind)
    with pytest.raises(DataError) as caught:
        ImageFolder(root, size=16)
    assert str(caught.value).startswith(f"{path}: ")
    assert KINDS[kind] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    folder = ImageFolder(root, size=16, skip_unreadable=True)
    assert len(folder) == 9
    ((file, reason),) = folder.skipped
    assert file == "bee/zz.png"
    assert KINDS[kind] in reason


def test_damage_behind_the_header(root):
    path = root / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:400])
    folder = ImageFolder(root, size=16)
    with pytest.raises(DataError, match=r"cat/0\.png: damaged image"):
        folder.batch(np.arange(len(folder)))
    with pytest.raises(DataError, match=r"cat/0\.png: damaged image"):
        ImageFolder(root, size=16, decode=True)
    assert [file for file, _ in ImageFolder(root, decode=True, skip_unreadable=True).skipped] == ["cat/0.png"]


def test_a_file_that_goes_away(root):
    folder = ImageFolder(root, size=16)
    (root / "ant" / "0.png").unlink()
    with pytest.raises(DataError, match=r"ant/0\.png: not a readable image \(No such file"):
        folder.batch([0])


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_raises_nothing_else(tmp_path, seed):
    rng = np.random.default_rng(seed)
    suffix = ("png", "jpg", "gif", "webp", "tiff", "bmp")[seed % 6]
    path = picture(tmp_path / "a" / f"x.{suffix}", seed=seed)
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, min(len(content), 200 if seed % 2 else 10**6), 6):
        content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content[: rng.integers(1, len(content) + 1)] if seed % 3 == 0 else content)
    try:
        images, _ = ImageFolder(tmp_path, size=8).batch([0], rng)
        assert np.isfinite(images).all()
    except DataError as error:
        message = str(error)
    else:
        return
    assert str(path) in message


def test_folders_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        ImageFolder(tmp_path / "absent")
    with pytest.raises(DataError, match="no class folders"):
        ImageFolder(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file; expected a folder"):
        ImageFolder(tmp_path / "file")
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"/a: class folder without images \(no file\)"):
        ImageFolder(tmp_path)
    (tmp_path / "a" / "x.txt").write_text("x")
    with pytest.raises(DataError, match=r"/a: class folder without images \(1 unreadable"):
        ImageFolder(tmp_path, skip_unreadable=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 2.5}, "size is 2.5"),
        ({"size": 16, "resize": 8}, "resize is 8; expected a whole number of pixels, at least 16"),
        ({"mean": (0.5,)}, "three finite numbers"),
        ({"std": (0.2, 0.0, 0.2)}, "numbers above 0"),
    ],
)
def test_impossible_settings(root, options, says):
    with pytest.raises(DataError, match=says):
        ImageFolder(root, **options)


@pytest.mark.parametrize("indices", [[9], [-1], [0.5], [[0]], ["a"]])
def test_impossible_indices(root, indices):
    with pytest.raises(DataError, match="'images'"):
        ImageFolder(root, size=16).batch(indices)


def test_without_pillow(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'emoref\[data\]'"):
        ImageFolder(root)


def test_the_package_itself_does_not_import_pillow(monkeypatch):
    import importlib

    real = builtins.__import__

    def without(name, *args, **kwargs):
        assert name.partition(".")[0] != "PIL"
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    import emoref.data.folders

    spec = importlib.util.find_spec(emoref.data.folders.__name__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


# As training data


def test_subset_and_split(root):
    folder = ImageFolder(root, size=16)
    part = folder.subset([8, 0])
    assert part.labels.tolist() == [2, 0]
    assert (part.batch([0])[0] == folder.batch([8])[0]).all()
    with pytest.raises(DataError, match="at least one image"):
        folder.subset([])
    training, validation = stratified_split(folder, 3, seed=0)
    assert sorted([*training.files, *validation.files]) == sorted(folder.files)
    assert training.augment
    assert not validation.augment


def test_trains_and_evaluates(tmp_path):
    for name, colour in (("dark", (40, 40, 60)), ("light", (220, 200, 210))):
        for i in range(8):
            shade = tuple(c + i for c in colour)
            picture(tmp_path / name / f"{i}.png", 20 + i, 30 - i, colour=shade)
    folder = ImageFolder(tmp_path, size=8)
    builder = nn.NetworkBuilder("tiny", folder.image_shape)
    builder.conv("conv1", 4, 3)
    builder.relu("relu1")
    builder.global_avg_pool("pool")
    builder.linear("fc", 2)
    net = builder.build()
    params = net.init(seed=0)
    nn.fit(net, params, folder, nn.TrainConfig(epochs=5, batch_size=4, lr=0.1), backend="reference")
    assert nn.evaluate_data(net, params, folder, backend="reference", batch_size=5).wrong == 0


def test_memory_does_not_grow_with_the_collection(tmp_path):
    picture(tmp_path / "a" / "0.png", 64, 64)
    content = (tmp_path / "a" / "0.png").read_bytes()
    for i in range(1, 150):
        (tmp_path / "a" / f"{i}.png").write_bytes(content)
    tracemalloc.start()
    folder = ImageFolder(tmp_path, size=64)
    for start in range(0, 150, 10):
        folder.batch(np.arange(start, start + 10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 10 * 12 * 64 * 64, "far less than the 150 images of 48 kB"
