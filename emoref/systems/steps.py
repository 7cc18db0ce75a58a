"""The steps that every system shares: split the data, train with checkpoints, measure."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref import compress, networks, nn
from emoref.data import Augmentation, Dataset, class_balanced_subset, load, stratified_split
from emoref.errors import ConfigError, DataError, NetworkError
from emoref.nn import Network
from emoref.runs.config import DataSection, ExperimentConfig, TrainSection
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.record import NetworkRecord, Outcome, baseline_names, read_network_record, selected_names
from emoref.search import (
    FilterGenome,
    MaskedEvaluator,
    PopulationEvaluator,
    QuantizedEvaluator,
    SpreadEvaluator,
)
from emoref.seeding import child_seed

Params = dict[str, NDArray[np.float32]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The official training set in two parts; the test set is loaded by :func:`measure_on_test` alone."""

    train: Dataset
    validation: Dataset


def load_splits(config: ExperimentConfig) -> Splits:
    """Load the training set and hold the validation images out of it, stratified by class.

    Raises
    ------
    DataError
        If the data set is missing or damaged.
    ConfigError
        If it has too few images for the split.
    """
    return split(load(config.data.name, "train"), config.data, config.seed)


def split(dataset: Dataset, section: DataSection, seed: int) -> Splits:
    """Hold the validation images out of a training set; the rest is limited and augmented as `section` says.

    `seed` is the run's, and chooses the images where `section` has no seed of its own.

    Raises
    ------
    ConfigError
        If it has too few images for the split.
    """
    wanted = section.validation + max(section.train_limit, 1)
    if wanted > len(dataset):
        raise ConfigError(
            f"data.validation + data.train_limit: at least {wanted:,} images asked for, "
            f"but the training set of {dataset.name!r} has {len(dataset):,}"
        )
    seed = split_seed(section, seed)
    train, validation = stratified_split(dataset, section.validation, seed)
    if section.train_limit:
        train = class_balanced_subset(train, section.train_limit, seed)
    if section.flip or section.crop_padding or section.cutout:
        train = train.with_augmentation(Augmentation(section.flip, section.crop_padding, section.cutout))
    return Splits(train, validation)


def split_seed(section: DataSection, seed: int) -> int:
    """Return what chooses the validation images in a run with that seed."""
    return seed if section.split_seed < 0 else section.split_seed


def held_out(data: str, section: DataSection, seed: int) -> dict[str, Any]:
    """Describe which images of a data set are kept from training, for the file of a base network."""
    return {"data": data, "validation": section.validation, "seed": split_seed(section, seed)}


def origin(file: Path, held: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Say where a base network that is read from a file comes from, and what its training did not see.

    A network that has seen images that this run holds out makes too few errors on them; that is warned of.
    Where the file does not say what was held out, nothing is known.

    Parameters
    ----------
    file : Path
        The network's file.
    held : mapping
        From :func:`held_out`: what this run holds out.

    Returns
    -------
    choice : str
        For the network's record.
    held : dict
        What the network's training held out, as far as it is known, to be kept with the network.
    """
    name, known = file.name, nn.load_extra(file).get("held_out")
    if not isinstance(known, dict) or known.keys() != held.keys():
        return f"read from {name}", {}
    fewer = known["seed"] == held["seed"] and held["validation"] <= known["validation"]
    if fewer or known["data"] != held["data"]:
        return f"read from {name}", known
    _log.warning(
        "%s was trained on images that this run holds out (it held out %s images by seed %s, this run %s by "
        "seed %s), so errors on them are too low; data.split_seed = %s and data.validation = %s hold out the "
        "same ones",
        name,
        *(known["validation"], known["seed"], held["validation"], held["seed"]),
        *(known["seed"], known["validation"]),
    )
    return f"read from {name}, trained on images that are held out here", known


def fitness_images(splits: Splits, count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the normalised validation images and labels that a search measures errors on.

    ``count`` images, class-balanced; 0 means all of them.

    Raises
    ------
    ConfigError
        If more are asked for than were held out.
    """
    if count > len(splits.validation):
        raise ConfigError(
            f"search.images: {count} asked for, but data.validation holds out {len(splits.validation)}"
        )
    chosen = class_balanced_subset(splits.validation, count, seed) if count else splits.validation
    return chosen.arrays()


def training_sample(
    splits: Splits, count: int, seed: int, what: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return class-balanced, normalised training images and labels for the importance criteria.

    Parameters
    ----------
    splits : Splits
        The images.
    count : int
        How many.
    seed : int
        The run's seed.
    what : str
        The setting that asks, such as ``"baselines.images"``; it names the draw, and the error.

    Raises
    ------
    ConfigError
        If there are too few training images.
    """
    try:
        return class_balanced_subset(splits.train, count, child_seed(seed, what)).arrays()
    except DataError as error:
        raise ConfigError(f"{what}: {error}") from None


def reporter(folder: RunFolder, progress: Progress) -> Callable[[str], None]:
    """Return what writes a line about a worker's failure into the log and shows it."""

    def report(text: str) -> None:
        folder.log("worker", text=text)
        progress.note(f"worker: {text}")

    return report


def keep_counts(
    evaluator: PopulationEvaluator | QuantizedEvaluator | MaskedEvaluator | SpreadEvaluator,
    config: ExperimentConfig,
    folder: RunFolder,
    name: str,
) -> None:
    """Let an evaluator keep its counts in the run folder under a name, unless ``engine.cache`` is off.

    Raises
    ------
    RunFolderError
        If the folder of these files cannot be made.
    """
    if config.engine.cache:
        folder.make_folder(folder.cache)
        evaluator.keep_counts(folder.counts_file(name))


def base_network(
    config: ExperimentConfig, splits: Splits, folder: RunFolder, progress: Progress
) -> tuple[Network, Params]:
    """Return the trained network that is to be compressed, and keep it as ``base.h5``.

    Taken from the run folder where it is there already, else from ``base.file``, else trained.

    Raises
    ------
    NetworkError
        If the network does not fit the images or classes.
    TrainingDivergedError
        If the loss became NaN or infinite.
    """
    if folder.base.exists():
        return nn.load(folder.base)
    shape = tuple(splits.train.images.shape[1:])
    classes = len(splits.train.classes)
    held = held_out(config.data.name, config.data, config.seed)
    if config.base.file:
        file = networks.trained_file(config.base.file)
        net, params = nn.load(file)
        (choice, held), curves = origin(file, held), {}
    else:
        net = networks.build(config.base.network, input_shape=shape, classes=classes)
        choice = "trained from scratch"
        params = net.init(child_seed(config.seed, "base.init"))
    check_fit(net, shape, classes, config.data.name)
    if not config.base.file:
        seed = child_seed(config.seed, "base.train")
        curves = train(
            "base network",
            net,
            params,
            splits,
            config.base.train,
            seed,
            config.engine.table,
            folder,
            progress,
        )
    record = describe(net, params, "base", choice, splits, config.engine.table, curves)
    nn.save(folder.base, net, params, extra={"record": record.to_dict(), "held_out": held})
    folder.log("base", error=record.validation.error_after)
    progress.note(f"base network: {record.validation.error_after:.2%} validation error")
    return net, params


def check_fit(net: Network, shape: tuple[int, ...], classes: int, data: str) -> None:
    """Raise NetworkError unless a network takes images of that shape and tells that many classes apart."""
    if net.input_shape != shape:
        raise NetworkError(
            f"network {net.name!r}, layer {net.nodes[0].name!r}: takes images of shape {net.input_shape}, "
            f"but {data!r} has {shape}"
        )
    if net.classes != classes:
        raise NetworkError(
            f"network {net.name!r}, layer {net.output.name!r}: tells {net.classes} classes apart, "
            f"but {data!r} has {classes}"
        )


def checkpoint_file(folder: RunFolder, title: str) -> Path:
    """Return where the training called `title` keeps its state."""
    return folder.checkpoints / f"{title.replace(' ', '-').replace('/', '-')}.h5"


def train(
    title: str,
    net: Network,
    params: Params,
    splits: Splits,
    section: TrainSection,
    seed: int,
    backend: str,
    folder: RunFolder,
    progress: Progress,
    fit: Callable[..., nn.History] = nn.fit,
) -> dict[str, list[float]]:
    """Train in place with a checkpoint after every epoch; return the curves.

    An interrupted training goes on from its last checkpoint and ends with the same bits. `fit` is what
    trains, with the arguments of :func:`emoref.nn.fit`.
    """
    checkpoint = checkpoint_file(folder, title)
    state = nn.load_state(checkpoint) if checkpoint.exists() else None
    progress.stage(title, section.epochs)

    def after_epoch(state: nn.TrainingState) -> None:
        folder.make_folder(folder.checkpoints)
        nn.save_state(checkpoint, state)
        text = _epoch_line(state.history)
        folder.log("epoch", training=title, epoch=state.epoch, text=text)
        progress.step(state.epoch, text)

    history = fit(
        net,
        params,
        splits.train,
        section.to_train_config(),
        validation=splits.validation,
        backend=backend,
        seed=seed,
        on_epoch=after_epoch,
        resume=state,
    )
    return {name: curve for name, curve in vars(history).items() if curve}


def describe(
    net: Network,
    params: Params,
    name: str,
    choice: str,
    splits: Splits,
    backend: str,
    curves: dict[str, list[float]],
) -> NetworkRecord:
    """Return the figures of an uncompressed network."""
    evaluation = nn.evaluate(net, params, *splits.validation.arrays(), backend=backend)
    count = compress.count(net)
    layers = compress.prunable_layers(net)
    filters = sum(layers.values())
    return NetworkRecord(
        name=name,
        role="base",
        choice=choice,
        kept=layers,
        filters=filters,
        filters_original=filters,
        macs=count.macs,
        params=count.params,
        validation=Outcome(evaluation.total, evaluation.wrong, evaluation.wrong),
        curves=curves,
    )


@dataclass(frozen=True)
class Candidate:
    """A slim network before its fine-tuning, and where it comes from.

    A baseline's name is ``<selected network>/<method>``. An empty genome stands for a network whose
    parameters are not the base network's but those of :func:`scratch_params`.
    """

    name: str
    choice: str
    net: Network
    params: Params
    kept: dict[str, int]
    genome: list[int]
    filters_original: int
    role: str = "selected"


def scratch_params(net: Network, filters: int, seed: int) -> Params:
    """Return what a slim network of that many filters begins with when it is trained from scratch."""
    return net.init(child_seed(seed, "scratch.init", filters))


def tune_and_store(
    candidate: Candidate,
    splits: Splits,
    section: TrainSection | None,
    seed: int,
    backend: str,
    folder: RunFolder,
    progress: Progress,
    fit: Callable[..., nn.History] = nn.fit,
) -> None:
    """Fine-tune a slim network (with a section; else leave it as it is) and keep it, with its figures.

    `fit` is what trains, as for :func:`train`.
    """
    net, params = candidate.net, candidate.params
    validation = splits.validation.arrays()
    before = after = nn.evaluate(net, params, *validation, backend=backend)
    curves: dict[str, list[float]] = {}
    if section is not None:
        title = f"{'fine-tune' if candidate.genome else 'train'} {candidate.name}"
        curves = train(title, net, params, splits, section, seed, backend, folder, progress, fit)
        after = nn.evaluate(net, params, *validation, backend=backend)
    count = compress.count(net)
    record = NetworkRecord(
        name=candidate.name,
        role=candidate.role,
        choice=candidate.choice,
        kept=candidate.kept,
        filters=sum(candidate.kept.values()),
        filters_original=candidate.filters_original,
        macs=count.macs,
        params=count.params,
        validation=Outcome(before.total, before.wrong, after.wrong),
        curves=curves,
        genome=candidate.genome,
    )
    path = folder.network_file(candidate.name)
    folder.make_folder(path.parent)
    nn.save(path, net, params, extra={"record": record.to_dict()})
    event = "measured" if section is None else "fine-tuned"
    folder.log(event, network=candidate.name, error=record.validation.error_after)


def measure_on_test(
    config: ExperimentConfig,
    base: tuple[Network, Params],
    genome: FilterGenome,
    folder: RunFolder,
    progress: Progress,
    pruned: Callable[[NDArray[np.bool_]], tuple[Network, Params]] | None = None,
) -> None:
    """Measure the base and every stored network on the test set: the only place that touches it.

    The error before fine-tuning is that of the base network with the same filters removed (or of the network
    that `pruned` makes of a genome), or of the untrained network where it was trained from scratch. What has
    been measured is not measured again.
    """
    make = pruned or (lambda bits: compress.slim(*base, genome.masks(bits)))
    selected = selected_names(folder)
    rivals = [name for network in selected for name in baseline_names(folder, network)]
    records = [read_network_record(folder, name) for name in ("base", *selected, *rivals)]
    if not all(record.test for record in records):
        test = load(config.data.name, "test").arrays()
        progress.stage("test set", len(records))
        for done, record in enumerate(records, start=1):
            outcome = record.test or _test_outcome(record, test, config, make, genome, folder)
            progress.step(done, f"{record.name}: {outcome.error_after:.2%} test error")
    remove_checkpoints(folder)


def remove_checkpoints(folder: RunFolder) -> None:
    """Delete the states of finished trainings; a finished run does not need them."""
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def _test_outcome(
    record: NetworkRecord,
    test: tuple[NDArray[np.float32], NDArray[np.int64]],
    config: ExperimentConfig,
    pruned: Callable[[NDArray[np.bool_]], tuple[Network, Params]],
    genome: FilterGenome,
    folder: RunFolder,
) -> Outcome:
    """Measure one network before and after fine-tuning, and store the outcome in its file."""
    path, backend = folder.network_file(record.name), config.engine.table
    net, params = nn.load(path)
    after = before = nn.evaluate(net, params, *test, backend=backend)
    if record.genome:
        bits = np.zeros(genome.n_bits, dtype=bool)
        bits[record.genome] = True
        before = nn.evaluate(*pruned(bits), *test, backend=backend)
    elif record.role != "base":
        untrained = scratch_params(net, record.filters, config.seed)
        before = nn.evaluate(net, untrained, *test, backend=backend)
    outcome = Outcome(after.total, before.wrong, after.wrong)
    measured = replace(record, test=outcome, size_bytes=0)
    nn.save(path, net, params, extra={**nn.load_extra(path), "record": measured.to_dict()})
    folder.log("tested", network=record.name, wrong=after.wrong, images=after.total)
    return outcome


def _epoch_line(history: nn.History) -> str:
    text = f"loss {history.train_loss[-1]:.4f}, training error {history.train_error[-1]:.2%}"
    if history.validation_error:
        text += f", validation error {history.validation_error[-1]:.2%}"
    return text
