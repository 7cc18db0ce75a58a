"""An experiment's configuration: TOML files, presets, ``--set`` overrides, and errors that name the field.

A configuration is a pydantic model. The sections that every system needs (data, base network, training,
engine) are defined here; a system derives its own model from :class:`ExperimentConfig` and adds its
sections. What a run stores as ``config.toml`` is complete: every default is written out, so that the file
means the same when a later version changes a default.
"""

import stat
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emoref.errors import ConfigError, suggest
from emoref.nn import TrainConfig

MAX_CONFIG_BYTES = 1_000_000

Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of a configuration file: unknown keys are errors, values are immutable.

    A key that is left out of a table has the value that it has where the whole table is left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @model_validator(mode="before")
    @classmethod
    def _fill_tables(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        return {
            name: _merged(defaults[name].model_dump(), value)
            if isinstance(value, dict) and isinstance(defaults.get(name), Section)
            else value
            for name, value in table.items()
        }


class DataSection(Section):
    """Which images, and how the official training set is split.

    The validation images are held out of the training set, stratified by class; every objective of a search
    is measured on them. The test set is used once, at the end.
    """

    name: str = "fashion-mnist-small"
    validation: PositiveInt = 1000
    train_limit: Annotated[int, Field(ge=0)] = 0  # 0: all training images
    split_seed: Annotated[int, Field(ge=-1, lt=2**63)] = -1  # of both choices; -1: the run's seed
    flip: bool = False
    crop_padding: Annotated[int, Field(ge=0)] = 0
    cutout: Annotated[int, Field(ge=0)] = 0  # side of the hidden square in pixels


class TrainSection(Section):
    """One training; the fields of :class:`emoref.nn.TrainConfig` that a file may set."""

    epochs: PositiveInt = 6
    batch_size: PositiveInt = 64
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    decay_norm_and_bias: bool = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    schedule: Literal["constant", "step", "cosine", "one-cycle"] = "one-cycle"
    milestones: tuple[PositiveInt, ...] = ()  # schedule "step": epochs after which lr is multiplied by gamma
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    lr_min: Annotated[float, Field(ge=0)] = 0.0  # schedule "cosine": where it ends
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3  # schedule "one-cycle"

    @model_validator(mode="after")
    def _engine_agrees(self) -> "TrainSection":
        try:
            self.to_train_config()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def to_train_config(self) -> TrainConfig:
        """Return the engine's own description of this training."""
        return TrainConfig(**self.model_dump())


class BaseSection(Section):
    """The network to compress: trained here, or read from a file of an earlier run."""

    network: str = "lenet"
    file: str = ""  # an emoref network file, or "bundled:NAME"; empty: train from scratch
    train: TrainSection = TrainSection()


class EngineSection(Section):
    """Which back end computes, how exactly, on which threads (0: all cores) and where; what is remembered.

    Results depend on `backend` and `exact` only.
    """

    backend: Literal["cpu", "reference", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=0)] = 0  # 0: all cores
    workers: Annotated[int, Field(ge=0, le=1024)] = 0  # processes that evaluate candidates; 0: this one does
    dask: str = ""  # address of a Dask scheduler whose workers evaluate candidates
    cache: bool = True  # whether counts of evaluated candidates are kept in the run folder
    exact: bool = False  # whether 3x3 convolutions do without the fastest technique, whose error is larger

    @property
    def table(self) -> str:
        """The back end and its mode, as :func:`emoref_kernels.load_backend` takes them."""
        return f"{self.backend}:exact" if self.exact and self.backend != "reference" else self.backend


class ExperimentConfig(Section):
    """What every experiment has, whatever its system."""

    system: str
    name: str = "experiment"
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    data: DataSection = DataSection()
    base: BaseSection = BaseSection()
    engine: EngineSection = EngineSection()

    @model_validator(mode="after")
    def _one_line_name(self) -> "ExperimentConfig":
        if not self.name or any(c in self.name for c in "\n\r/\\"):
            raise ValueError("name must be one line without slashes")
        return self


Config = TypeVar("Config", bound=ExperimentConfig)


def preset_names() -> list[str]:
    """Return the names of the experiments that ship with emoref, sorted."""
    files = resources.files("emoref.presets").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def read_table(source: str | Path) -> dict[str, Any]:
    """Read a configuration as plain nested dictionaries.

    Parameters
    ----------
    source : str or Path
        The path of a TOML file, or the name of a preset.

    Raises
    ------
    ConfigError
        If there is neither such a file nor such a preset (the nearest preset is suggested), or if the file
        is unreadable, larger than 1 MB, or not TOML.
    """
    path = Path(source)
    if str(source) in preset_names():
        text = resources.files("emoref.presets").joinpath(f"{source}.toml").read_text("utf-8")
        return tomllib.loads(text)
    try:
        if path.suffix != ".toml" and not path.exists():
            raise ConfigError(
                f"no preset and no file is called {_short(str(source))}{suggest(str(source), preset_names())}"
            )
        return tomllib.loads(_text(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{_short(str(path))}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # besides TOML's own errors: a number of too many digits, a NUL in the path
        raise ConfigError(f"{_short(str(path))}: not valid TOML: {error}") from None


def _text(path: Path) -> str:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path}: is a folder; expected a TOML file")
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: is a device or pipe; expected a TOML file")
    if status.st_size > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: {status.st_size:,} bytes is too large for a configuration (at most 1 MB)")
    return path.read_text("utf-8")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:100]}..."


def apply_overrides(table: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Return a copy of a configuration table with ``key=value`` settings applied.

    Parameters
    ----------
    table : dict
        Nested tables; not changed.
    overrides : list of str
        ``"search.generations=50"`` and the like. The value is read as TOML; what is not TOML is a string.

    Raises
    ------
    ConfigError
        If an entry has no ``=``, or names a table below something that is a value.
    """
    result = _deep_copy(table)
    for entry in overrides:
        key, equals, text = entry.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {entry!r}: write it as key=value, e.g. search.generations=50")
        *parents, leaf = key.strip().split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"--set {entry!r}: {parent!r} is a value, not a table")
        target[leaf] = _toml_value(text.strip())
    return result


def validate(model: type[Config], table: dict[str, Any], where: str) -> Config:
    """Check a configuration table against a system's model.

    Raises
    ------
    ConfigError
        One line for the first three problems: the field, what was found, what would be right; a misspelt
        key comes with the nearest known one.
    """
    try:
        return model.model_validate(table)
    except ValidationError as error:
        problems = [_explain(model, e) for e in error.errors()]
        more = f" (and {len(problems) - 2} more)" if len(problems) > 2 else ""
        raise ConfigError(f"{where}: " + "; ".join(problems[:2]) + more) from None


def to_toml(config: ExperimentConfig) -> str:
    """Return the complete configuration as TOML text."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _explain(model: type[BaseModel], error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    field = ".".join(location) or "the configuration"
    if error["type"] == "extra_forbidden":
        known = sorted(_fields_at(model, location[:-1]))
        return f"unknown key {field!r}{suggest(location[-1], known)}"
    if error["type"] == "missing":
        return f"{field!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    found = error.get("input")
    shown = "" if isinstance(found, dict | BaseModel) or not location else f", found {_short(found)}"
    return f"{field}: {message[0].lower()}{message[1:]}{shown}"


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        candidates = [annotation, *get_args(annotation)]
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # besides TOML's own errors: too many digits, nested too deeply
        return text


def _merged(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    result = {**defaults, **given}
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(defaults.get(name), dict):
            result[name] = _merged(defaults[name], value)
    return result


def _deep_copy(table: dict[str, Any]) -> dict[str, Any]:
    return {k: _deep_copy(v) if isinstance(v, dict) else v for k, v in table.items()}
