"""Which images a run holds out, and that a base network from elsewhere has not been trained on them."""

import tomllib

import numpy as np
import pytest

from emoref import networks, nn
from emoref.runs.config import apply_overrides
from emoref.runs.record import read_network_record, read_run
from emoref.systems import load_run_config, parse_config, steps

HELD = {"data": "fashion-mnist-small", "validation": 200, "seed": 3}


def splits_of(toml, *overrides):
    return steps.load_splits(parse_config(apply_overrides(tomllib.loads(toml), list(overrides)), "tiny"))


def test_a_split_seed_takes_the_place_of_the_runs_seed(tiny_toml):
    own, other = splits_of(tiny_toml), splits_of(tiny_toml, "seed=8")
    given = splits_of(tiny_toml, "seed=8", "data.split_seed=3")
    assert (given.validation.images == own.validation.images).all()
    assert (given.train.images == own.train.images).all()
    assert (other.validation.images != own.validation.images).any()


def test_fewer_images_of_the_same_seed_were_all_held_out(tiny_toml):
    many, few = splits_of(tiny_toml), splits_of(tiny_toml, "data.validation=100")
    held_out = {image.tobytes() for image in np.ascontiguousarray(many.validation.images)}
    assert {image.tobytes() for image in np.ascontiguousarray(few.validation.images)} <= held_out


@pytest.mark.parametrize(
    ("known", "warned"),
    [
        (HELD, False),
        ({**HELD, "validation": 300}, False),
        ({**HELD, "validation": 199}, True),
        ({**HELD, "seed": 4}, True),
        ({**HELD, "data": "mnist", "seed": 4}, False),
        ({}, False),
        (None, False),
        ({"seed": 4}, False),
        ("nonsense", False),
    ],
)
def test_a_network_that_has_seen_the_images_is_warned_of(tmp_path, caplog, known, warned):
    net = networks.build("lenet")
    path = tmp_path / "base.h5"
    nn.save(path, net, net.init(0), extra={"held_out": known})
    choice, kept = steps.origin(path, HELD)
    assert choice == ("read from base.h5" + ", trained on images that are held out here" * warned)
    assert kept == (known if isinstance(known, dict) and len(known) == 3 else {})
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == warned
    for message in messages:
        assert f"held out {known['validation']} images by seed {known['seed']}, this run 200 by" in message
        assert f"data.split_seed = {known['seed']} and data.validation = {known['validation']}" in message


def test_a_run_says_so_and_the_next_one_still_knows(tiny_run, run_tiny, tmp_path):
    """The second run warns. The third has the second's copy of the network, and the first's images."""
    second = run_tiny(tmp_path / "second", f'base.file="{tiny_run.base}"', "seed=8", "search.generations=1")
    assert read_network_record(second, "base").choice.endswith("trained on images that are held out here")
    events = read_run(second, load_run_config(second).model_dump()).events
    assert any("data.split_seed = 3" in e["message"] for e in events if e["event"] == "warning")
    assert nn.load_extra(second.base)["held_out"] == HELD
    overrides = ("seed=8", "data.split_seed=3", "search.generations=1")
    third = run_tiny(tmp_path / "third", f'base.file="{second.base}"', *overrides)
    assert read_network_record(third, "base").choice == "read from base.h5"
    assert (
        read_network_record(third, "base").validation.wrong_before
        == read_network_record(tiny_run, "base").validation.wrong_before
    )
