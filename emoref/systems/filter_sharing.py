"""Multi-task pruning by filter index sharing, as a many-objective problem.

H. Cheng, Z. Wang, L. Ma, X. Liu, Z. Wei: *Multi-task Pruning via Filter Index Sharing: A Many-Objective
Optimization Approach*, Cognitive Computation 13(4):1070-1084, 2021.

The method, step by step, and the functions that do it:

1. T networks of one architecture, trained apart             :func:`emoref.systems.tasks.base_networks`
2. a common order of their filters (if asked for)            :func:`in_common_order`
3. three importance criteria for every filter                :func:`emoref.systems.layer_slots.rank_filters`
4. a many-objective search for every layer                   :func:`emoref.systems.layer_slots.search_layers`
5. the index matrix: shared, private and removed slots       :class:`emoref.compress.IndexMatrix`
6. pruning and merging, then multi-task training under it    :func:`share_and_train`
7. other methods at equal stored parameters (if asked for)   :func:`compare`
8. one plain slim network for each task                      ``exports/<network>/<task>.h5``

The paper's full text was not available to us. Published are: simultaneous pruning and merging of filters, a
many-objective algorithm with three criteria as objectives, an index matrix that keeps the structure and
regulates sharing during multi-task training, adaptive or pre-specified pruning rates, single-task and
multi-task use. Everything else is emoref's definition; docs/filter-sharing.md says what and why.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from emoref import compress, nn
from emoref.compress import IndexMatrix, LayerSlots
from emoref.errors import suggest
from emoref.nn import Network
from emoref.runs.config import PositiveInt, Probability, Section, TrainSection
from emoref.runs.executors import workers_of
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.shared_record import (
    SharedRecord,
    TaskFigures,
    read_shared_records,
    shared_file,
)
from emoref.search import SlotSearch
from emoref.seeding import child_seed
from emoref.systems import layer_slots, steps, tasks
from emoref.systems.layer_slots import Ranking
from emoref.systems.steps import Params
from emoref.systems.tasks import Task, TasksConfig

Variant = Literal["unshared", "index", "aligned-filters", "aligned-activations", "common"]
Method = Literal["l1", "geometric-median", "unshared"]

_VARIANTS: dict[str, str] = {
    "unshared": "pruned by the search, nothing shared",
    "index": "shared by index",
    "aligned-filters": "shared after aligning filters by their weights",
    "aligned-activations": "shared after aligning filters by their activations",
    "common": "shared by index after a common start",
}


class SharingSearchSection(Section):
    """Importance criteria and the search of every layer. None of it is published; these are emoref's."""

    criteria: tuple[str, ...] = ("l1", "geometric-median", "taylor")
    images: PositiveInt = 1000  # training images of each task, class-balanced, for criteria and alignment
    generations: PositiveInt = 100
    crossover_probability: Probability = 0.9
    mutation_probability: Probability = 0.0  # per bit; 0: 1 / number of bits
    divisions: Annotated[int, Field(ge=0)] = 0  # of the reference points; 0: 7 for 4 objectives, 5 for 5
    min_kept_ratio: Probability = 0.05  # adaptive rate: every task keeps at least that share of a layer

    @field_validator("criteria")
    @classmethod
    def _known_criteria(cls, criteria: tuple[str, ...]) -> tuple[str, ...]:
        for name in criteria:
            if name not in compress.CRITERIA:
                raise ValueError(f"unknown criterion {name!r}{suggest(name, compress.CRITERIA)}")
        if not criteria or len(set(criteria)) < len(criteria):
            raise ValueError("name at least one criterion, and each once")
        return criteria


class SharingSelectSection(Section):
    """Which networks are made: every variant at every rate."""

    variants: tuple[Variant, ...] = ("index", "aligned-filters")
    adaptive: bool = True  # one network whose rate the search finds
    rates: tuple[Probability, ...] = ()  # and one for each pre-specified pruning rate

    @model_validator(mode="after")
    def _something(self) -> "SharingSelectSection":
        if not self.variants or not (self.adaptive or self.rates):
            raise ValueError("no variant, or neither an adaptive nor a pre-specified rate: nothing to make")
        for name, values in (("variants", self.variants), ("rates", self.rates)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: each can be named once")
        return self


class SharingBaselinesSection(Section):
    """What every selected network is compared with, at equal stored parameters; one joint training each."""

    enabled: bool = False
    methods: tuple[Method, ...] = ("l1", "geometric-median", "unshared")


class FilterSharingConfig(TasksConfig):
    """An experiment with filter index sharing."""

    system: Literal["filter-sharing"] = "filter-sharing"
    search: SharingSearchSection = SharingSearchSection()
    select: SharingSelectSection = SharingSelectSection()
    finetune: TrainSection = TrainSection(epochs=20, lr=0.01)
    baselines: SharingBaselinesSection = SharingBaselinesSection()

    @model_validator(mode="after")
    def _common_start_is_possible(self) -> "FilterSharingConfig":
        given = [task.name for task in self.data.tasks if task.file]
        if "common" in self.variants and given:
            raise ValueError(
                "select.variants: a common start needs networks that are trained here, but task "
                f"{given[0]!r} has a file"
            )
        return self

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants to make: with one task there is nothing to share, only to prune."""
        return self.select.variants if len(self.data.tasks) > 1 else ("unshared",)

    @property
    def rates(self) -> tuple[float | None, ...]:
        """The rates to make; None is the adaptive one."""
        return (*((None,) if self.select.adaptive else ()), *self.select.rates)


@dataclass(frozen=True, eq=False)
class Trunks:
    """The tasks' unpruned networks in one variant's order of filters, and how they rank."""

    nets: tuple[Network, ...]
    params: tuple[Params, ...]
    ranking: Ranking


def run(config: FilterSharingConfig, folder: RunFolder, progress: Progress) -> None:
    """Do one experiment, or what is left of it.

    Every stage first looks at what the folder already holds, so the same call starts, resumes and completes.
    """
    applications = tasks.load_tasks(config)
    sample = tasks.training_sample(
        applications, config.search.images, child_seed(config.seed, "sharing.images")
    )
    nets = tasks.build_networks(config, applications)
    layer_slots.check_rates(nets[0], config.select.rates)
    work = _Work(config, applications, sample, folder, progress)
    for variant in config.variants:
        for number, rate in enumerate(config.rates):
            name = network_name(variant, rate)
            if not shared_file(folder, name).exists():
                trunks = work.trunks(variant)
                layers = work.search(name, trunks, number, rate, variant != "unshared")
                text = f"{_VARIANTS[variant]}, {_rate_words(rate)}"
                work.share_and_train(name, "selected", variant, text, rate, number, trunks, layers)
            compare(work, name, number, rate)
    measure_on_test(config, applications, folder, progress)


def network_name(variant: str, rate: float | None) -> str:
    """Return the name of a selected network, e.g. ``index-50`` for a pruning rate of 0.5."""
    return f"{variant}-{'adaptive' if rate is None else f'{100 * rate:g}'.replace('.', '_')}"


def _rate_words(rate: float | None) -> str:
    return "adaptive rate" if rate is None else f"pruning rate {rate:g}"


class _Work:
    """What the steps of one run have in common."""

    def __init__(
        self,
        config: FilterSharingConfig,
        applications: Sequence[Task],
        sample: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        folder: RunFolder,
        progress: Progress,
    ) -> None:
        self.config, self.tasks, self.sample = config, applications, sample
        self.folder, self.progress = folder, progress
        self.backend = config.engine.table
        self.names = tuple(task.name for task in applications)
        self._trunks: dict[str, Trunks] = {}

    def trunks(self, variant: str) -> Trunks:
        """Return the trained networks, in a common order where the variant asks for one, and rank them."""
        key = "index" if variant == "unshared" else variant
        if key not in self._trunks:
            self._trunks[key] = self._make_trunks(key)
        return self._trunks[key]

    def _make_trunks(self, variant: str) -> Trunks:
        start: tasks.Start = "common" if variant == "common" else "apart"
        pairs = tasks.base_networks(self.config, self.tasks, self.folder, self.progress, start)
        nets, params = tuple(net for net, _ in pairs), [params for _, params in pairs]
        if variant.startswith("aligned-"):
            params = in_common_order(
                nets, params, variant.removeprefix("aligned-"), [x for x, _ in self.sample], self.backend
            )
        return Trunks(nets, tuple(params), self.rank(nets, params, self.config.search.criteria))

    def rank(self, nets: Sequence[Network], params: Sequence[Params], criteria: Sequence[str]) -> Ranking:
        """Score the filters by criteria."""
        seed = child_seed(self.config.seed, "sharing.rank")
        return layer_slots.rank_filters(nets, params, criteria, self.sample, seed, self.backend)

    def search(
        self,
        name: str,
        trunks: Trunks,
        number: int,
        rate: float | None,
        sharing: bool,
        kept: dict[str, int] | None = None,
    ) -> dict[str, LayerSlots]:
        """Choose the slots of every layer: at a rate, or with given numbers of them."""
        groups, section = trunks.ranking.groups, self.config.search
        if kept is None and rate is not None:
            kept = {g.layers[0]: layer_slots.kept_at_rate(g.size, rate) for g in groups}
        settings = [
            SlotSearch(
                section.generations,
                section.crossover_probability,
                section.mutation_probability,
                section.divisions,
                # Equal for all variants of a rate: they differ by what is searched, not by luck.
                child_seed(self.config.seed, "sharing.search", number, place),
            )
            for place in range(len(groups))
        ]
        self.progress.stage(f"search {name}", len(groups))

        def on_layer(done: int, text: str) -> None:
            self.folder.log("layer", network=name, layer=done, text=text)
            self.progress.step(done, text)

        return layer_slots.search_layers(
            name,
            trunks.ranking,
            kept,
            section.min_kept_ratio,
            sharing,
            settings,
            workers_of(self.config.engine),
            self.folder,
            on_layer,
            steps.reporter(self.folder, self.progress),
        )

    def share_and_train(
        self,
        name: str,
        role: str,
        variant: str,
        choice: str,
        rate: float | None,
        number: int,
        trunks: Trunks,
        layers: dict[str, LayerSlots],
    ) -> None:
        """Prune and merge the filters, train all tasks together, and keep the result and its exports."""
        index = IndexMatrix(self.names, layers)
        shared, store = compress.share_filters(
            trunks.nets, trunks.params, index, trunks.ranking.mean_importance()
        )
        held_out = [task.splits.validation for task in self.tasks]
        before = tasks.evaluate_shared(shared.multi, store, held_out, self.backend)
        curves = tasks.train_jointly(
            f"train {name}",
            shared.multi,
            store,
            self.tasks,
            self.config.finetune,
            child_seed(self.config.seed, "finetune", number),
            self.backend,
            self.folder,
            self.progress,
        )
        after = tasks.evaluate_shared(shared.multi, store, held_out, self.backend)
        originals = tasks.evaluate_each(trunks.nets, trunks.params, held_out, self.backend)
        record = describe(
            name,
            role,
            variant,
            choice,
            rate,
            shared,
            curves,
            list(zip(originals, before, after, strict=True)),
        )
        self.export(name, shared, store)
        path = shared_file(self.folder, name)
        self.folder.make_folder(path.parent)
        compress.save_shared(path, shared, store, extra={"record": record.to_dict()})
        self.folder.log("shared", network=name, stored=record.stored_total)
        self.progress.note(
            f"{name}: {record.stored_ratio:.1%} of the parameters, mean validation error "
            f"{record.mean_error('after'):.2%}"
        )

    def export(self, name: str, shared: compress.SharedNetwork, store: Params) -> None:
        """Write each task's plain slim network."""
        place = self.folder.make_folder(self.folder.exports / name)
        for t, task in enumerate(self.tasks):
            classes = list(task.splits.train.classes)
            extra = {"task": task.name, "classes": classes}
            nn.save(place / f"{task.name}.h5", *shared.multi.export(store, t), extra=extra)


def in_common_order(
    nets: Sequence[Network],
    params: Sequence[Params],
    similarity: str,
    images: Sequence[NDArray[Any]],
    backend: str,
) -> list[Params]:
    """Bring the filters of all networks into the order of the first one; see :func:`emoref.compress.align`.

    Activations are compared on the images of all tasks together.
    """
    joined = np.concatenate(images)
    return [params[0]] + [
        compress.align(own, params[0], some, similarity, joined, backend)
        for some, own in zip(params[1:], nets[1:], strict=True)
    ]


def describe(
    name: str,
    role: str,
    variant: str,
    choice: str,
    rate: float | None,
    shared: compress.SharedNetwork,
    curves: dict[str, list[float]],
    evaluations: Sequence[tuple[nn.Evaluation, nn.Evaluation, nn.Evaluation]],
) -> SharedRecord:
    """Return the figures of a shared network; `evaluations` are original, before and after, task by task."""
    stored = shared.stored_parameters()
    originals = [compress.count(net) for net in shared.nets]
    figures = []
    for t, (original, before, after) in enumerate(evaluations):
        count = compress.count(shared.multi.networks[t])
        figures.append(
            TaskFigures(
                shared.index.tasks[t],
                count.macs,
                count.params,
                originals[t].macs,
                originals[t].params,
                original.total,
                original.wrong,
                before.wrong,
                after.wrong,
            )
        )
    layers = shared.index.layers
    return SharedRecord(
        name=name,
        role=role,
        variant=variant,
        choice=choice,
        rate=rate,
        stored={kind: getattr(stored, kind) for kind in ("shared", "private", "heads", "norms")},
        stored_original=sum(count.params for count in originals),
        slots={layer: slots.size for layer, slots in layers.items()},
        kept={layer: [int(n) for n in slots.kept.sum(axis=1)] for layer, slots in layers.items()},
        shared={layer: int(slots.shared.sum()) for layer, slots in layers.items()},
        sharing_ratio=shared.index.sharing_ratio,
        tasks=figures,
        curves=curves,
    )


def compare(work: _Work, name: str, number: int, rate: float | None) -> None:
    """Make the baselines of a selected network: other methods with no more stored parameters than it has.

    ``l1`` and ``geometric-median`` keep each task's own strongest filters; ``unshared`` is the search without
    sharing. All keep the same number of filters in a layer, in the proportions of the selected network, and
    are trained with the same recipe on the same batches.

    Parameters
    ----------
    work : _Work
        The run.
    name : str
        The selected network, already stored.
    number : int
        Place of its rate.
    rate : float or None
        Its rate.
    """
    section = work.config.baselines
    methods = section.methods if section.enabled else ()
    missing = [m for m in methods if not shared_file(work.folder, f"{name}--{m}").exists()]
    if not missing:
        return
    selected, _ = compress.load_shared(shared_file(work.folder, name))
    budget = selected.stored_parameters().total
    trunks = work.trunks("unshared")
    kept = layer_slots.equal_storage(trunks.nets, work.names, selected.index, budget)
    for method in missing:
        rival = f"{name}--{method}"
        if method == "unshared":
            layers = work.search(rival, trunks, number, rate, False, kept)
        else:
            ranking = work.rank(trunks.nets, trunks.params, (method,))
            layers = layer_slots.strongest_slots(ranking, method, kept)
        text = f"{method}, private filters, no more stored than {name}"
        work.share_and_train(rival, "baseline", method, text, rate, number, trunks, layers)


def measure_on_test(
    config: FilterSharingConfig, applications: Sequence[Task], folder: RunFolder, progress: Progress
) -> None:
    """Measure the unpruned and every stored network on the test sets: the only place that touches them."""
    records = read_shared_records(folder)
    if not all(task.test_images for record in records for task in record.tasks):
        images = [tasks.load_test_images(config, index) for index in range(len(applications))]
        originals: dict[str, list[int]] = {}
        progress.stage("test set", len(records))
        for done, record in enumerate(records, start=1):
            start: tasks.Start = "common" if record.selected.startswith("common-") else "apart"
            if record.role == "baseline":
                start = "apart"
            if start not in originals:
                originals[start] = _test_originals(applications, images, folder, start, config.engine.table)
            if not all(task.test_images for task in record.tasks):
                record = _measure(record, images, originals[start], folder, config.engine.table)
            progress.step(done, f"{record.name}: mean test error {record.mean_error('after', 'test'):.2%}")
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def _test_originals(
    applications: Sequence[Task], images: Sequence[Any], folder: RunFolder, start: tasks.Start, backend: str
) -> list[int]:
    pairs = [
        nn.load(tasks.base_file(folder, task, start if index else "apart"))
        for index, task in enumerate(applications)
    ]
    evaluations = tasks.evaluate_each([n for n, _ in pairs], [p for _, p in pairs], images, backend)
    return [one.wrong for one in evaluations]


def _measure(
    record: SharedRecord, images: Sequence[Any], originals: Sequence[int], folder: RunFolder, backend: str
) -> SharedRecord:
    path = shared_file(folder, record.name)
    shared, store = compress.load_shared(path)
    after = tasks.evaluate_shared(shared.multi, store, images, backend)
    figures = [
        replace(task, test_images=one.total, test_wrong_original=originals[t], test_wrong_after=one.wrong)
        for t, (task, one) in enumerate(zip(record.tasks, after, strict=True))
    ]
    measured = replace(record, tasks=figures, size_bytes=0)
    compress.save_shared(path, shared, store, extra={"record": measured.to_dict()})
    folder.log("tested", network=record.name, wrong=[one.wrong for one in after])
    return measured
