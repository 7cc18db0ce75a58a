"""Configuration: every preset is valid, every mistake is named, what is stored means the same again."""

import tomllib

import pytest

from emoref.errors import ConfigError
from emoref.runs import config as cfg
from emoref.systems import parse_config


def parse(text, *overrides):
    return parse_config(cfg.apply_overrides(tomllib.loads(text), list(overrides)), "test.toml")


@pytest.mark.parametrize("name", cfg.preset_names())
def test_presets_are_valid_and_described(name):
    config = parse_config(cfg.read_table(name), name)
    assert config.name == name
    assert len(config.description) > 20


def test_the_published_presets_are_there():
    assert {
        "wu2021-conv1-mnist",
        "wu2021-conv2-mnist",
        "wu2021-conv3-mnist",
        "wu2021-conv4-mnist",
        "wu2021-lenet-mnist",
        "wu2021-lenet-fashion",
        "wu2021-alexnet-cifar10",
    } <= set(cfg.preset_names())


def test_the_alexnet_preset_asks_for_the_published_ratio():
    config = parse_config(cfg.read_table("wu2021-alexnet-cifar10"), "x")
    filters = 64 + 192 + 384 + 256 + 256
    assert config.select.kept_filters == (368,)
    assert 368 / filters <= 1 - 0.68 < 369 / filters
    assert config.search.max_error == 1.0, "no bound on the error"
    assert (config.data.flip, config.data.crop_padding, config.data.validation) == (True, 4, 5000)


def test_the_mode_of_the_engine_is_part_of_the_configuration():
    assert parse('system = "emofp"').engine.table == "cpu"
    assert parse('system = "emofp"', "engine.exact=true").engine.table == "cpu:exact"
    assert (
        parse('system = "emofp"', "engine.exact=true", "engine.backend=reference").engine.table == "reference"
    )


def test_stored_config_is_complete_and_means_the_same():
    config = parse('system = "emofp"', "search.population=12", "name=tiny")
    table = tomllib.loads(cfg.to_toml(config))
    assert table["search"]["generations"] == 200, "defaults are written out"
    assert parse_config(table, "again") == config


def test_a_table_that_is_partly_given_keeps_its_own_defaults():
    whole, partly = parse('system = "emofp"'), parse('system = "emofp"', "finetune.lr=0.25")
    assert whole.finetune.epochs != whole.base.train.epochs
    assert partly.finetune == whole.finetune.model_copy(update={"lr": 0.25})


def test_overrides_are_typed_and_leave_the_table_alone():
    table = {"system": "emofp", "search": {"population": 10}}
    changed = cfg.apply_overrides(
        table, ["search.population=20", "select.kept_filters=[9, 6]", "base.network=conv1", "seed=7"]
    )
    assert table["search"]["population"] == 10
    config = parse_config(changed, "x")
    assert (config.search.population, config.seed, config.base.network) == (20, 7, "conv1")
    assert config.select.kept_filters == (9, 6)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.generatoins=5", "unknown key 'search.generatoins'; did you mean 'generations'?"),
        ("finetune.epochs=abc", "finetune.epochs"),
        ("finetune.epochs=0", "finetune.epochs: input should be greater than or equal to 1, found 0"),
        ("base.train.lr=-1", "base.train.lr"),
        ("base.train.schedule=onecycle", "base.train.schedule"),
        ("search.initial_ratio=[0.9, 0.1]", "initial_ratio must be [low, high]"),
        ("search.crossover_probability=1.5", "search.crossover_probability"),
        ("seed=-1", "seed"),
        (f"seed={2**63}", "seed"),
        ("seed=" + 5000 * "9", "seed"),
        ("seed=" + 5000 * "[", "seed"),
        ("select.count=0", "nothing would be fine-tuned"),
        ("name=a/b", "name must be one line without slashes"),
        ("engine.backend=gpu", "engine.backend"),
        ("system=emofb", "unknown system 'emofb'; did you mean 'emofp'?"),
    ],
)
def test_mistakes_are_named(override, expected):
    with pytest.raises(ConfigError) as caught:
        parse('system = "emofp"', override)
    assert expected in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("entry", ["population", "=3", "seed.x=1"])
def test_malformed_overrides(entry):
    with pytest.raises(ConfigError, match="--set"):
        cfg.apply_overrides({"seed": 1}, [entry])


def test_missing_system():
    with pytest.raises(ConfigError, match='"system" is missing'):
        parse("seed = 1")


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'wu2021-lenet-mnist'"):
        cfg.read_table("wu2021-lenet-mnits")


def test_unreadable_files(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("a = = 1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        cfg.read_table(broken)
    broken.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        cfg.read_table(broken)
    with pytest.raises(ConfigError, match="no such file"):
        cfg.read_table(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        cfg.read_table(tmp_path)
    broken.write_bytes(b"#" * (cfg.MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="too large"):
        cfg.read_table(broken)
