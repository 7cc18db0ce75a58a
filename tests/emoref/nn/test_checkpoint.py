import json

import h5py
import numpy as np
import pytest

from emoref import nn
from emoref.errors import FileFormatError
from emoref.networks import build


@pytest.fixture
def state():
    net = build("mlp", input_shape=(4,), hidden=(3,), classes=2)
    rng = np.random.default_rng(0)
    data = nn.ArrayData(rng.normal(size=(12, 4)).astype(np.float32), rng.integers(2, size=12))
    config = nn.TrainConfig(epochs=2, batch_size=4, optimizer="adam", milestones=(1,))
    states = []
    nn.fit(net, net.init(0), data, config, data, "reference", 7, on_epoch=lambda s: states.append(s.copy()))
    return states[0]


def test_round_trip_and_equal_bytes(state, tmp_path):
    nn.save_state(tmp_path / "a.h5", state)
    again = nn.load_state(tmp_path / "a.h5")
    for name in ("net", "config", "seed", "images", "epoch", "steps", "history"):
        assert getattr(again, name) == getattr(state, name)
    assert (again.seed, again.images, again.epoch, again.steps) == (7, 12, 1, 3)
    for name, value in state.params.items():
        assert (again.params[name] == value).all()
    for slot in ("m", "v"):
        for name, value in state.slots[slot].items():
            assert (again.slots[slot][name] == value).all()
            assert value.any()
    nn.save_state(tmp_path / "b.h5", again)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_state_written_before_there_were_teachers(state, tmp_path):
    path = tmp_path / "state.h5"
    nn.save_state(path, state)
    with h5py.File(path, "r+") as file:
        entries = json.loads(file["training"][()])
        assert entries.pop("teacher") == 0
        for name in ("label_smoothing", "temperature", "alpha"):
            del entries["config"][name]
        del file["training"]
        file.create_dataset("training", data=np.bytes_(json.dumps(entries).encode()))
    again = nn.load_state(path)
    assert again.teacher == 0
    assert again.config == state.config


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.attrs.__setitem__("emoref_class", np.bytes_("network")), 'holds a "network"'),
        (lambda f: f.attrs.__setitem__("format_version", 7), "format version 7"),
        (lambda f: f.__delitem__("training"), "JSON text is missing"),
        (lambda f: f.__delitem__("optimizer/m"), "optimizer/m/fc1.weight is missing"),
        (lambda f: f.__delitem__("history"), "history/lr is missing"),
        (
            lambda f: (f.__delitem__("history/lr"), f.create_dataset("history/lr", data=[1.0, 2.0])),
            "2 epochs",
        ),
        (
            lambda f: (
                f.__delitem__("training"),
                f.create_dataset("training", data=np.bytes_(b'{"seed": 1}')),
            ),
            "/training is damaged",
        ),
    ],
)
def test_damaged_states(state, tmp_path, change, text):
    path = tmp_path / "state.h5"
    nn.save_state(path, state)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(FileFormatError, match=text):
        nn.load_state(path)
