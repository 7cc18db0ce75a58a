"""Stage I of EMOMC: from one trained network to a library of pruned ones, each pruned gradually.

Z. Wang et al. 2021, pp. 16-18: for every remaining ratio of a grid the training starts again from the trained
network and prunes step by step, so that stage II only has to look models up. The paper's library has 61
models of 32 epochs each (100 in its text); ``library.ratios`` and ``library.train`` say how many here.
"""

import functools
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from emoref import compress, nn
from emoref.compress import Library, PrunedModel, network_checksum
from emoref.compress.library import library_notes
from emoref.errors import ConfigError, NetworkError
from emoref.nn import Network
from emoref.runs.config import ExperimentConfig, Section, TrainSection
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.seeding import child_seed
from emoref.systems import steps
from emoref.systems.steps import Params, Splits

Ratio = Annotated[float, Field(gt=0, le=1)]


class LibrarySection(Section):
    """Which pruned models there are, and how each is trained."""

    ratios: tuple[Ratio, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # kept weights / weights, every layer
    file: str = ""  # a library of an earlier run of the same base network; empty: train one
    steps: Annotated[int, Field(ge=0)] = 0  # S, of pruning; 0: as many as there are epochs
    regrow: bool = False  # whether cut weights may come back while training goes on
    rounded_bits: Annotated[int, Field(ge=0, le=16)] = 0  # train with weights rounded to them; 0: not rounded
    train: TrainSection = TrainSection(epochs=6, lr=0.02)

    @field_validator("ratios")
    @classmethod
    def _different(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        if not ratios or len(set(ratios)) < len(ratios):
            raise ValueError("at least one remaining ratio is needed, and each can be named once")
        return tuple(sorted(ratios))

    @field_validator("rounded_bits")
    @classmethod
    def _a_grid(cls, bits: int) -> int:
        if bits == 1:
            raise ValueError("must be 0 or 2 to 16: one bit has no symmetric grid")
        return bits

    @model_validator(mode="after")
    def _enough_epochs(self) -> "LibrarySection":
        if self.steps > self.train.epochs:
            raise ValueError(
                f"steps is {self.steps}, but train.epochs is {self.train.epochs}: a step takes an epoch"
            )
        return self


def check_library_file(section: LibrarySection) -> None:
    """Refuse, before anything is trained, a ``library.file`` that lacks a model; its weights are not read.

    Parameters
    ----------
    section : LibrarySection
        The file and the ratios.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged or no library.
    ConfigError
        If a ratio is missing; lists those that there are.
    """
    known = [notes["remaining_ratio"] for notes in library_notes(section.file)]
    for ratio in section.ratios:
        if ratio not in known:
            found = ", ".join(f"{r:g}" for r in known) or "none"
            raise ConfigError(
                f"library.file: {section.file} has no model with remaining ratio {ratio:g}; it has {found}"
            )


def build_library(
    config: ExperimentConfig,
    section: LibrarySection,
    base: tuple[Network, Params],
    splits: Splits,
    folder: RunFolder,
    progress: Progress,
) -> Library:
    """Return the library of the run, training what is still missing of it.

    Every model starts from the trained network, with a seed of its own that depends on its ratio alone, so
    that further ratios do not change the models that there are.

    Parameters
    ----------
    config : ExperimentConfig
        Seed and back end.
    section : LibrarySection
        The grid of ratios and the training.
    base : tuple (Network, Params)
        The trained network.
    splits : Splits
        Images; validation images are looked at for the curves alone.
    folder : RunFolder
        Where ``library.h5`` goes, replaced after each model; a training under way keeps a checkpoint.
    progress : Progress
        Told of every epoch.

    Raises
    ------
    NetworkError
        If a stored library belongs to another network, or lacks a ratio.
    TrainingDivergedError
        If the loss became NaN or infinite.
    """
    net, params = base
    checksum = network_checksum(net, params)
    library = Library(net, checksum)
    if folder.library.exists():
        library = _of_this_network(Library.load(folder.library), checksum, str(folder.library))
    elif section.file:
        hint = "; give the trained network of that library's run as base.file"
        found = Library.load(section.file)
        found = _of_this_network(found, checksum, f"library.file: {section.file}", hint)
        library = found.with_ratios(section.ratios)
        library.save(folder.library)
    for ratio in section.ratios:
        if ratio not in library.ratios:
            library = library.with_model(_train(ratio, config, section, base, splits, folder, progress))
            library.save(folder.library)
            folder.log("library", ratio=ratio, error=library.with_ratios([ratio]).models[0].notes["error"])
            steps.checkpoint_file(folder, _title(ratio)).unlink(missing_ok=True)
    return library.with_ratios(section.ratios)


def _of_this_network(library: Library, checksum: str, where: str, hint: str = "") -> Library:
    if library.base != checksum:
        raise NetworkError(
            f"{where} belongs to another network: its models were pruned from a network with checksum "
            f"{library.base}, the base network here has {checksum}{hint}"
        )
    return library


def _title(ratio: float) -> str:
    return f"library {ratio:g}"


def _train(
    ratio: float,
    config: ExperimentConfig,
    section: LibrarySection,
    base: tuple[Network, Params],
    splits: Splits,
    folder: RunFolder,
    progress: Progress,
) -> PrunedModel:
    net, params = base[0], {name: value.copy() for name, value in base[1].items()}
    curves = steps.train(
        _title(ratio),
        net,
        params,
        splits,
        section.train,
        child_seed(config.seed, "library.train", round(ratio * 1e6)),
        config.engine.table,
        folder,
        progress,
        fit=functools.partial(_prune, ratio, section),
    )
    found = nn.evaluate(net, params, *splits.validation.arrays(), backend=config.engine.table)
    notes = {"images": found.total, "wrong": found.wrong, "error": found.error, "curves": curves}
    return PrunedModel.of(net, params, ratio, notes)


def _prune(
    ratio: float,
    section: LibrarySection,
    net: Network,
    params: Params,
    data: nn.TrainData,
    config: nn.TrainConfig,
    *,
    backend: str,
    **others: Any,
) -> nn.History:
    """Prune gradually; with ``rounded_bits`` the training sees rounded weights (beyond the paper)."""
    bits = section.rounded_bits
    k: Any = compress.straight_through_backend(net, params, bits, backend=backend) if bits else backend
    gradual = {"steps": section.steps or None, "regrow": section.regrow, **others}
    return compress.prune_gradually(net, params, data, config, ratio, backend=k, **gradual)
