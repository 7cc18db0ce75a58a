import os
import subprocess
import sys

import numpy as np
import pytest

from emoref.data import catalog, make_bundled
from emoref.data.idx import read_idx, write_idx

FILES = [f"{p}-{k}-ubyte.xz" for p in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]


@pytest.fixture
def source(tmp_path):
    """A small stand-in for Fashion-MNIST whose first pixels number the images."""
    folder = tmp_path / "source"
    folder.mkdir()
    for prefix, n in (("train", 40), ("t10k", 30)):
        images = np.zeros((n, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(n)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", (np.arange(n) % 10).astype(np.uint8))
    return folder


def test_build_is_reproducible_and_balanced(source, tmp_path, monkeypatch):
    monkeypatch.setattr(make_bundled, "IMAGES", {"train": 20, "t10k": 10})
    for out in ("one", "two"):
        written = make_bundled.build(source, tmp_path / out)
        assert [path.name for path in written] == FILES
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    chosen = read_idx(tmp_path / "one" / FILES[0])[:, 0, 0]
    labels = read_idx(tmp_path / "one" / FILES[1])
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, chosen % 10)
    assert np.bincount(labels).tolist() == [2] * 10


def test_command_line(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_bundled, "IMAGES", {"train": 20, "t10k": 10})
    assert make_bundled.main([str(source), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("bytes") == 4
    assert make_bundled.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m emoref.data.make_bundled")
    assert make_bundled.main([str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert make_bundled.main([str(source), str(source / "t10k-labels-idx1-ubyte.gz")]) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_too_small_a_source(source, tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "emoref.data.make_bundled", str(source), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "a balanced subset of 6000 needs 600 images" in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_the_embedded_files_are_what_the_builder_makes(tmp_path):
    if not os.environ.get("EMOREF_DATA"):
        pytest.skip("EMOREF_DATA is not set; fashion-mnist is needed")
    folder, embedded = catalog.locate("fashion-mnist"), catalog.locate("fashion-mnist-small")
    if folder is None or not (folder / "train-images-idx3-ubyte.gz").exists():
        pytest.skip("fashion-mnist's .gz files are in no folder of EMOREF_DATA")
    make_bundled.build(folder, tmp_path)
    for name in FILES:
        np.testing.assert_array_equal(read_idx(tmp_path / name), read_idx(embedded / name))
