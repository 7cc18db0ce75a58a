"""Constants of the energy models: TOML files in which every number has a unit and an origin.

A file looks like this; which tables it must have, and in which unit, depends on the model::

    format = "emoref energy constants"
    version = 1
    model = "emomc"
    about = "one line for reports"

    [read]
    value = 7.28
    unit = "pJ/word"
    origin = "where the number comes from"

The files that ship with emoref are in ``emoref/compress/energy_constants``; a model also takes the path of
a file of your own. Every error names the file and the key.
"""

import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from emoref.errors import ConfigError, suggest

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "MODELS",
    "Constant",
    "Constants",
    "ConstantsSource",
    "constants_of",
    "load_constants",
]

FORMAT = "emoref energy constants"
FORMAT_VERSION = 1
MAX_BYTES = 1_000_000

_Schema = Mapping[str, tuple[str, bool]]
"""For each key its unit and whether the value may be zero."""

_SCHEMAS: dict[str, _Schema] = {
    "emomc": {
        "lut": ("pJ/LUT", True),
        "read": ("pJ/word", True),
        "write": ("pJ/word", True),
        "word": ("bit", False),
        "activation_mantissa": ("bit", False),
        "float32_mantissa": ("bit", False),
        "float32_word": ("bit", False),
        "reuse_limit": ("weights", True),
    },
    "eyeriss": {
        "mac": ("pJ", False),
        "dram": ("MAC/word", True),
        "buffer": ("MAC/word", True),
        "array": ("MAC/word", True),
        "register_file": ("MAC/word", True),
        "word": ("bit", False),
        "rows": ("PE", False),
        "columns": ("PE", False),
        "map_buffer": ("bit", False),
        "weight_buffer": ("bit", False),
    },
    "operations": {
        "int_add_8": ("pJ", False),
        "int_add_16": ("pJ", False),
        "int_add_32": ("pJ", False),
        "int_multiply_8": ("pJ", False),
        "int_multiply_32": ("pJ", False),
        "float_add_16": ("pJ", False),
        "float_add_32": ("pJ", False),
        "float_multiply_16": ("pJ", False),
        "float_multiply_32": ("pJ", False),
        "register_file": ("pJ/bit", True),
        "sram": ("pJ/bit", True),
        "dram": ("pJ/bit", True),
        "accumulator": ("bit", False),
    },
}
_FILES = {"emomc": "emomc.toml", "eyeriss": "eyeriss.toml", "operations": "horowitz45.toml"}
_ENTRIES = ("value", "unit", "origin")

MODELS = tuple(_SCHEMAS)
"""Names of the energy models."""


@dataclass(frozen=True)
class Constant:
    """One number of a file of constants.

    Attributes
    ----------
    value : float
        Finite, at least 0.
    unit : str
        What it is measured in.
    origin : str
        Where it comes from.
    """

    value: float
    unit: str
    origin: str


@dataclass(frozen=True, eq=False)
class Constants(Mapping[str, float]):
    """The constants of one model; indexing by a key gives the value.

    Attributes
    ----------
    model : str
        One of :data:`MODELS`.
    file : str
        Where they were read.
    about : str
        One line on what they describe.
    table : mapping of str to Constant
        Value, unit and origin of each.
    """

    model: str
    file: str
    about: str
    table: Mapping[str, Constant]

    def __getitem__(self, key: str) -> float:
        return self.table[key].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


def load_constants(model: str, file: str | Path | None = None) -> Constants:
    """Read the constants of an energy model and check every one of them.

    Parameters
    ----------
    model : str
        One of :data:`MODELS`.
    file : str or Path, optional
        A TOML file; left out, the one that ships with emoref.

    Returns
    -------
    Constants
        Complete: every constant of the model, with the unit that the model expects.

    Raises
    ------
    ConfigError
        If the model is unknown; if the file cannot be read, is no TOML, belongs to another model or is of a
        newer version; if a constant or one of its entries is missing, unknown, negative, not a finite number
        or in another unit. The text names the file and the key.

    Examples
    --------
    >>> from emoref.compress.energy import load_constants
    >>> constants = load_constants("emomc")
    >>> constants["read"], constants.table["read"].unit
    (7.28, 'pJ/word')
    """
    if model not in _SCHEMAS:
        raise ConfigError(f"unknown energy model {model!r}; known: {', '.join(MODELS)}")
    return _shipped(model) if file is None else _parse(model, str(file), _read(Path(file)))


ConstantsSource = Constants | str | Path | None
"""Constants, the file that they are in, or None for those that ship with emoref."""


def constants_of(model: str, source: ConstantsSource) -> Constants:
    """Return the constants of `model` that `source` stands for; raises ConfigError as load_constants."""
    if not isinstance(source, Constants):
        return load_constants(model, source)
    if source.model != model:
        raise ConfigError(f"{source.file}: constants of the model {source.model!r}; expected {model!r}")
    return source


@lru_cache
def _shipped(model: str) -> Constants:
    path = resources.files("emoref.compress").joinpath("energy_constants", _FILES[model])
    return _parse(model, _FILES[model], path.read_bytes())


def _read(path: Path) -> bytes:
    """Return the content of a file, of which at most :data:`MAX_BYTES` are ever read."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: is no plain file; expected a TOML file of energy constants")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: too large for energy constants (at most {MAX_BYTES:,} bytes)")
    return content


def _parse(model: str, file: str, content: bytes) -> Constants:
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    _check_header(model, file, document)
    schema = _SCHEMAS[model]
    for key in document:
        if key not in ("format", "version", "model", "about", *schema):
            raise ConfigError(f'{file}: key "{key}": unknown constant{suggest(key, schema)}')
    table = {key: _constant(file, key, document.get(key), *schema[key]) for key in schema}
    return Constants(model, file, document["about"], table)


def _check_header(model: str, file: str, document: Mapping[str, Any]) -> None:
    if document.get("format") != FORMAT:
        raise ConfigError(f'{file}: key "format": must be "{FORMAT}", found {document.get("format")!r}')
    version = document.get("version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ConfigError(
            f'{file}: key "version": this emoref reads versions 1 to {FORMAT_VERSION}, found {version!r}'
        )
    if document.get("model") != model:
        raise ConfigError(f'{file}: key "model": must be "{model}", found {document.get("model")!r}')
    if not isinstance(document.get("about"), str):
        raise ConfigError(f'{file}: key "about": must be a line of text, found {document.get("about")!r}')


def _constant(file: str, key: str, entry: Any, unit: str, zero_allowed: bool) -> Constant:
    if entry is None:
        raise ConfigError(f'{file}: key "{key}": missing; expected a table with value, unit "{unit}", origin')
    if not isinstance(entry, dict):
        raise ConfigError(f'{file}: key "{key}": needs a table with value, unit and origin, found {entry!r}')
    for name in entry:
        if name not in _ENTRIES:
            raise ConfigError(f'{file}: key "{key}.{name}": unknown entry{suggest(name, _ENTRIES)}')
    for name in _ENTRIES:
        if name not in entry:
            raise ConfigError(f'{file}: key "{key}.{name}": missing')
    value, found, origin = entry["value"], entry["unit"], entry["origin"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ConfigError(f'{file}: key "{key}.value": must be a finite number, found {value!r}')
    if value < 0 or (value == 0 and not zero_allowed):
        least = "at least 0" if zero_allowed else "above 0"
        raise ConfigError(f'{file}: key "{key}.value": must be {least}, found {value!r}')
    if found != unit:
        raise ConfigError(f'{file}: key "{key}.unit": must be "{unit}", found {found!r}')
    if not isinstance(origin, str) or not origin.strip():
        raise ConfigError(f'{file}: key "{key}.origin": must say where it comes from, found {origin!r}')
    return Constant(float(value), unit, origin)
