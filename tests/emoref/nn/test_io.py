import json
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from emoref import nn
from emoref.errors import FileFormatError, NetworkError
from emoref.networks import build


@pytest.fixture
def net():
    builder = nn.NetworkBuilder("small", (1, 6, 6))
    builder.conv("conv", 3, 3)
    builder.batch_norm("norm")
    builder.flatten("flat")
    builder.linear("fc", 4, bias=False)
    return builder.build()


@pytest.fixture
def path(net, tmp_path):
    nn.save(tmp_path / "model.h5", net, net.init(2), extra={"error": 0.25, "where": "Zürich"})
    return tmp_path / "model.h5"


def test_round_trip(net, path):
    again, params = nn.load(path)
    assert again == net
    assert list(params) == list(net.param_shapes())
    for name, value in net.init(2).items():
        assert (params[name] == value).all()
        assert params[name].dtype == np.float32
        assert params[name].flags.writeable
    assert nn.load_extra(path) == {"error": 0.25, "where": "Zürich"}


def test_float64_and_no_extra(net, tmp_path):
    params = {n: v.astype(np.float64) for n, v in net.init(0).items()}
    nn.save(tmp_path / "m.h5", net, params)
    assert all(v.dtype == np.float64 for v in nn.load(str(tmp_path / "m.h5"))[1].values())
    assert nn.load_extra(tmp_path / "m.h5") == {}


def test_the_file_describes_itself_to_plain_h5py(path, net):
    with h5py.File(path) as file:
        assert file.attrs["emoref_class"].decode() == "network"
        assert file.attrs["format_version"] == 1
        assert json.loads(file["architecture"][()]) == net.to_dict()
        assert file["parameters/conv.weight"].shape == (3, 1, 3, 3)
        names = file["parameters/conv.weight"].attrs["dimensions"]
        assert names.decode() == "filter, channel in group, row, column"


def test_equal_content_gives_equal_bytes(tmp_path):
    # Another process, a second later, another path: any time stamp, address or name would show.
    script = (
        "import sys; from emoref import networks, nn; net = networks.build('lenet5'); "
        "nn.save(sys.argv[1], net, net.init(4))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.h5")], check=True)
    time.sleep(1.1)
    lenet = build("lenet5")
    params = dict(reversed(lenet.init(4).items()))
    (tmp_path / "sub").mkdir()
    nn.save(tmp_path / "sub" / "b.h5", lenet, params)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "sub" / "b.h5").read_bytes()


def test_saving_checks_first_and_leaves_the_old_file(net, path, tmp_path):
    before = path.read_bytes()
    params = net.init(0)
    with pytest.raises(NetworkError, match=r'"fc.weight" must have shape'):
        nn.save(path, net, {**params, "fc.weight": params["fc.weight"].T})
    with pytest.raises(TypeError):
        nn.save(path, net, params, extra={"x": object()})
    with pytest.raises(FileFormatError, match="cannot be written"):
        nn.save(tmp_path / "none" / "m.h5", net, params)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]


def test_every_truncation_is_an_error(path, net):
    content = path.read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match=r"model\.h5: "):
            nn.load(path)


def test_damaged_bytes_never_raise_anything_else(path, net):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(150):
        damaged = bytearray(content)
        for position in rng.integers(len(content), size=8):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            nn.load(path)
        except FileFormatError as error:
            texts.append(str(error))
    assert len(texts) > 50
    assert max(len(text.splitlines()) for text in texts) <= 2


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace(file, name, **kwargs):
    del file[name]
    file.create_dataset(name, **kwargs)


def rewrite(file, **changes):
    data = json.loads(file["architecture"][()])
    data.update(changes)
    text = json.dumps(data).encode()
    replace(file, "architecture", data=np.bytes_(text))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.attrs.__setitem__("format_version", 2), "format version 2, this emoref reads up to 1"),
        (lambda f: f.attrs.__setitem__("format_version", "1"), "format_version must be a positive integer"),
        (lambda f: f.attrs.__setitem__("format_version", 0), "format_version must be a positive integer"),
        (lambda f: f.attrs.__setitem__("emoref_class", np.bytes_("search")), 'holds a "search"'),
        (lambda f: f.attrs.__setitem__("emoref_class", "network"), "not written by emoref"),
        (lambda f: f.attrs.__delitem__("emoref_class"), "not written by emoref"),
        (lambda f: f.__delitem__("architecture"), "/architecture: a JSON text is missing"),
        (lambda f: f.__delitem__("parameters"), "/parameters is missing"),
        (lambda f: f.__delitem__("parameters/fc.weight"), "/parameters/fc.weight is missing"),
        (lambda f: f.create_dataset("parameters/x.weight", data=1.0), '"x.weight" belongs to no node'),
        (
            lambda f: replace(f, "parameters/fc.weight", data=np.zeros((4, 47), "f4")),
            r"shape \(4, 47\), wanted \(4, 48\)",
        ),
        (lambda f: replace(f, "parameters/fc.weight", data=np.zeros((4, 48), int)), "data type int64"),
        (lambda f: replace(f, "parameters/fc.weight", data=np.zeros((4, 48), "f2")), "float32 or float64"),
        (lambda f: replace(f, "architecture", data=np.bytes_(b"{")), "is not JSON"),
        (lambda f: replace(f, "architecture", data=np.bytes_(b"[" * 100_000)), "is not JSON"),
        (lambda f: replace(f, "architecture", data=np.bytes_(b"\xff\xfe")), "is not JSON"),
        (lambda f: replace(f, "architecture", data=np.bytes_(b"[]")), "not a network description"),
        (lambda f: rewrite(f, version=9), "version 9"),
        (lambda f: rewrite(f, input_shape=[1, 7, 7]), "shape"),
        (lambda f: f.__setitem__("soft", h5py.SoftLink("/parameters")), "/soft is a soft or external link"),
        (
            lambda f: f.__setitem__("parameters/x", h5py.ExternalLink("other.h5", "/")),
            "/parameters/x is a soft or external link",
        ),
        (lambda f: f.__setitem__("again", f["parameters"]), "second name"),
        (lambda f: f.__setitem__("parameters/loop", f["parameters"]), "second name"),
        (lambda f: f.__setitem__("type", np.dtype("f4")), "no such object"),
        (lambda f: f.create_group("a/b/c/d/e/f/g/h/i"), "no such object"),
        (lambda f: f.create_dataset("text", data="variable"), "data type object"),
        (lambda f: f.create_dataset("none", data=h5py.Empty("f4")), "data type float32"),
        (
            lambda f: f.create_dataset("raw", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
            "data in another file",
        ),
        (
            lambda f: replace(f, "parameters/fc.weight", shape=(4, 48), dtype="f4", data=None),
            "claims 768 bytes",
        ),
        (
            lambda f: replace(f, "parameters/fc.weight", shape=(10**12, 48), chunks=(1, 48), dtype="f4"),
            "claims 192,000,000,000,000 bytes",
        ),
        (
            lambda f: f.create_dataset("huge", (10**9,), "f4", chunks=(10**6,), compression="gzip"),
            "claims 4,000,000,000 bytes",
        ),
        (lambda f: f.create_dataset("lzf", data=np.zeros(100), compression="lzf"), "filter 32000"),
    ],
)
def test_files_that_are_not_what_they_should_be(path, change, text):
    edit(path, change)
    with pytest.raises(FileFormatError, match=text) as caught:
        nn.load(path)
    assert str(caught.value).startswith(str(path))


def test_other_files(tmp_path):
    (tmp_path / "text.h5").write_text("hello, this is no HDF5")
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "dir.h5").mkdir()
    for name, text in (
        ("text", "not an HDF5"),
        ("empty", "is empty"),
        ("none", "no such file"),
        ("dir", "read"),
    ):
        with pytest.raises(FileFormatError, match=text):
            nn.load(tmp_path / f"{name}.h5")
