"""Files of energy constants: what ships with emoref, files of one's own, and every way to get one wrong."""

import re
import tomllib

import pytest
import tomli_w

from emoref.compress.energy import (
    MODELS,
    Constants,
    emomc_energy,
    eyeriss_energy,
    load_constants,
    operation_energy,
)
from emoref.compress.energy import constants as module
from emoref.errors import ConfigError
from emoref.networks import build

USES = {"emomc": emomc_energy, "eyeriss": eyeriss_energy, "operations": operation_energy}


def document(model="emomc"):
    """The shipped constants as a table that a test can spoil."""
    constants = load_constants(model)
    header = {"format": module.FORMAT, "version": 1, "model": model, "about": constants.about}
    entries = {k: {"value": c.value, "unit": c.unit, "origin": c.origin} for k, c in constants.table.items()}
    return header | entries


@pytest.fixture
def refused(tmp_path):
    """Write a table or text and return the error that reading it as EMOMC's constants gives."""

    def refuse(content):
        path = tmp_path / "mine.toml"
        if isinstance(content, dict):
            content = tomli_w.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigError) as caught:
            load_constants("emomc", path)
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value).removeprefix(f"{path}: ")

    return refuse


@pytest.mark.parametrize("model", MODELS)
def test_shipped_constants_have_units_and_origins(model):
    constants = load_constants(model)
    assert isinstance(constants, Constants)
    assert constants.model == model
    assert constants.about
    assert len(constants) == len(list(constants)) > 5
    for key, constant in constants.table.items():
        assert constants[key] == constant.value >= 0
        assert constant.unit
        assert len(constant.origin) > 20


def test_published_values():
    c = load_constants("emomc")
    assert (c["read"], c["write"], c["lut"] * 5, c["reuse_limit"]) == (7.28, 4.47, pytest.approx(1.02), 24)
    c = load_constants("eyeriss")
    assert [c[k] for k in ("dram", "buffer", "array", "register_file", "rows", "columns")] == [
        200,
        6,
        2,
        1,
        12,
        14,
    ]
    assert c["map_buffer"] + c["weight_buffer"] == 108 * 1024 * 8
    c = load_constants("operations")
    assert [c[k] for k in ("int_add_8", "int_add_16", "int_add_32")] == [0.03, 0.05, 0.1]
    assert [c[k] for k in ("int_multiply_8", "int_multiply_32")] == [0.2, 3.1]
    assert [c[f"float_{k}"] for k in ("add_16", "add_32", "multiply_16", "multiply_32")] == [
        0.4,
        0.9,
        1.1,
        3.7,
    ]
    assert [32 * c[k] for k in ("register_file", "sram", "dram")] == [1, 5, 640]


@pytest.mark.parametrize("model", MODELS)
def test_a_file_of_ones_own(model, tmp_path):
    """All energies doubled: the result doubles."""
    table = document(model)
    for key in table:
        if isinstance(table[key], dict) and table[key]["unit"].startswith("pJ"):
            table[key]["value"] *= 2
    path = tmp_path / "double.toml"
    path.write_text(tomli_w.dumps(table), "utf-8")
    net, arguments = build("lenet5"), {"dataflow": "X:Y"} if model != "operations" else {}
    plain = USES[model](net, **arguments).energy_pj
    for constants in (path, str(path), load_constants(model, path)):
        assert USES[model](net, **arguments, constants=constants).energy_pj == pytest.approx(2 * plain)


def test_constants_of_another_model_are_refused():
    with pytest.raises(
        ConfigError, match=r"eyeriss.toml: constants of the model 'eyeriss'; expected 'emomc'"
    ):
        emomc_energy(build("lenet5"), "X:Y", constants=load_constants("eyeriss"))
    with pytest.raises(ConfigError, match="unknown energy model 'tpu'; known: emomc, eyeriss, operations"):
        load_constants("tpu")


@pytest.mark.parametrize("key", ["read", "word", "reuse_limit"])
def test_a_missing_constant(refused, key):
    table = document()
    del table[key]
    assert refused(table).startswith(f'key "{key}": missing; expected a table with value, unit "')


@pytest.mark.parametrize("entry", ["value", "unit", "origin"])
def test_a_missing_entry(refused, entry):
    table = document()
    del table["write"][entry]
    assert refused(table) == f'key "write.{entry}": missing'


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("value", -1.0, "must be at least 0, found -1.0"),
        ("value", "7.28", "must be a finite number, found '7.28'"),
        ("value", True, "must be a finite number, found True"),
        ("value", float("nan"), "must be a finite number, found nan"),
        ("value", float("inf"), "must be a finite number, found inf"),
        ("value", 10**400, f"must be a finite number, found {10**400}"),
        ("unit", "nJ/word", "must be \"pJ/word\", found 'nJ/word'"),
        ("unit", "", "must be \"pJ/word\", found ''"),
        ("unit", 3, 'must be "pJ/word", found 3'),
        ("origin", " ", "must say where it comes from, found ' '"),
        ("origin", 2016, "must say where it comes from, found 2016"),
    ],
)
def test_a_bad_entry(refused, entry, value, message):
    table = document()
    table["read"][entry] = value
    assert refused(table) == f'key "read.{entry}": {message}'


def test_what_divides_must_not_be_zero(refused):
    table = document()
    table["word"]["value"] = 0
    assert refused(table) == 'key "word.value": must be above 0, found 0'
    table = document()
    table["read"]["value"] = 0
    table["origin"] = "x"
    assert refused(table).startswith('key "origin": unknown constant')


def test_unknown_keys_suggest_the_nearest(refused):
    assert refused(document() | {"reed": {}}) == "key \"reed\": unknown constant; did you mean 'read'?"
    table = document()
    table["read"]["units"] = "pJ"
    assert refused(table) == "key \"read.units\": unknown entry; did you mean 'unit'?"
    assert (
        refused(document() | {"read": 7.28})
        == 'key "read": needs a table with value, unit and origin, found 7.28'
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "json", "must be \"emoref energy constants\", found 'json'"),
        ("version", 2, "this emoref reads versions 1 to 1, found 2"),
        ("version", "1", "this emoref reads versions 1 to 1, found '1'"),
        ("model", "eyeriss", "must be \"emomc\", found 'eyeriss'"),
        ("about", 1, "must be a line of text, found 1"),
    ],
)
def test_a_bad_header(refused, key, value, message):
    assert refused(document() | {key: value}) == f'key "{key}": {message}'
    table = document()
    del table[key]
    assert refused(table).startswith(f'key "{key}": ')


@pytest.mark.parametrize("content", ["not = = toml", b"\xff\xfe", "x = " + "[" * 100_000])
def test_no_toml(refused, content):
    assert refused(content).startswith("not valid TOML: ")


def test_files_that_cannot_be_read(tmp_path):
    for path, message in ((tmp_path / "none.toml", "No such file"), (tmp_path, "is no plain file")):
        with pytest.raises(ConfigError, match=f"{re.escape(str(path))}: .*{message}"):
            load_constants("emomc", path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_constants("emomc", "a\0b")
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (module.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="too large for energy constants"):
        load_constants("emomc", path)


def test_the_files_in_the_package_are_what_the_loader_reads():
    from importlib import resources

    folder = resources.files("emoref.compress").joinpath("energy_constants")
    models = [
        tomllib.loads(f.read_text("utf-8"))["model"] for f in folder.iterdir() if f.name.endswith(".toml")
    ]
    assert sorted(models) == sorted(MODELS)
