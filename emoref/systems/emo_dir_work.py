"""The settings of an EMO-DIR run, and what its steps have in common: networks, images, files, workers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from emoref import compress, nn
from emoref.compress import Division, Stages
from emoref.errors import ProblemError
from emoref.nn import Network, TrainConfig
from emoref.runs.config import ExperimentConfig, Probability, Section, TrainSection
from emoref.runs.executors import spread, workers_of
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.store import SearchStore, front_rows
from emoref.search import FilterGenome
from emoref.seeding import child_seed
from emoref.systems import steps
from emoref.systems.emo_dir_joint import INTACT
from emoref.systems.emo_dir_scoring import Judge, MaskSearchSection, Scoring
from emoref.systems.emo_dir_search import (
    StageTask,
    count_rows,
    masks_of,
    run_search,
    search_stage,
    stage_tasks,
)
from emoref.systems.emo_dir_training import ConstraintSection, detector_of, train_stages
from emoref.systems.steps import Params, Splits

__all__ = [
    "EmoDirBaselinesSection",
    "EmoDirConfig",
    "JointSection",
    "Method",
    "SplitSection",
    "TuneSection",
    "Work",
    "chosen_stages",
]

Masks = Mapping[str, NDArray[np.bool_]]
Method = Literal["random", "equal-rate", "whole", "whole-features"]


class SplitSection(Section):
    """Where the network is cut; left out, where the size of its maps changes."""

    stem: str = ""  # the last node before the first stage; empty with stages given: they begin at the images
    stages: tuple[str, ...] = ()  # the last node of each stage

    @model_validator(mode="after")
    def _both(self) -> "SplitSection":
        if self.stem and not self.stages:
            raise ValueError("stem is given, but stages is empty: name the last node of each stage too")
        return self


class JointSection(Section):
    """Which joint schemes are fine-tuned."""

    targets: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5,)  # shares of the MACs to be saved
    count: Annotated[int, Field(ge=0)] = 0  # and so many of the front of schemes, evenly spaced

    @model_validator(mode="after")
    def _something(self) -> "JointSection":
        if not self.targets and not self.count:
            raise ValueError("targets is empty and count is 0: nothing would be joined")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("targets: each can be named once")
        return self


class TuneSection(TrainSection):
    """Fine-tuning, with the original network as teacher if asked for."""

    distill: bool = False
    temperature: Annotated[float, Field(gt=0)] = 4.0
    alpha: Probability = 0.5  # weight of the teacher's soft targets

    def to_train_config(self) -> TrainConfig:
        """Return the engine's own description of this training."""
        return TrainConfig(**self.model_dump(exclude={"distill"}))


class EmoDirBaselinesSection(Section):
    """Whether and with what the selected schemes are compared, at the same saving."""

    enabled: bool = False
    methods: tuple[Method, ...] = ("random", "equal-rate", "whole")
    # The searches over the whole network go on for so many times the cost of the joint schemes. What they
    # offer is what they have at once that cost; more shows how much is needed for the schemes' hypervolume.
    whole_budget: Annotated[float, Field(ge=1, le=1000)] = 1.0
    tune: bool = True  # fine-tune them too; else they are measured before it only


class EmoDirConfig(ExperimentConfig):
    """An EMO-DIR experiment."""

    system: Literal["emo-dir"] = "emo-dir"
    split: SplitSection = SplitSection()
    constraint: ConstraintSection = ConstraintSection()
    search: MaskSearchSection = MaskSearchSection()
    joint: JointSection = JointSection()
    finetune: TuneSection = TuneSection(epochs=40, lr=0.01, schedule="cosine")
    baselines: EmoDirBaselinesSection = EmoDirBaselinesSection()

    @model_validator(mode="after")
    def _one_judge(self) -> "EmoDirConfig":
        if "whole-features" in self.baselines.methods and self.search.judge != "features":
            raise ValueError(
                'baselines.methods: "whole-features" is for stages that are judged likewise; set '
                'search.judge = "features", or leave it out'
            )
        return self


def chosen_stages(section: SplitSection, net: Network) -> Stages:
    """Return where a network is cut."""
    return Stages(section.stem, section.stages) if section.stages else compress.find_stages(net)


class Work:
    """What the steps of one run have in common."""

    def __init__(
        self,
        config: EmoDirConfig,
        base: tuple[Network, Params],
        splits: Splits,
        scoring: Scoring,
        folder: RunFolder,
        progress: Progress,
    ) -> None:
        self.config, self.splits, self.scoring = config, splits, scoring
        self.folder, self.progress, self.backend = folder, progress, config.engine.table
        self.net, self.params = base
        self.division: Division = compress.divide(self.net, chosen_stages(config.split, self.net))
        self.layers = tuple(
            name for stage in self.division.stages for name in compress.prunable_layers(stage)
        )
        self.genome = FilterGenome(self.net, self.layers, floor_ratio=0.0)
        self.workers = workers_of(config.engine)
        self.report = steps.reporter(folder, progress)
        self.joined: Params = {}

    def train(self) -> None:
        """Train the stages, and join them to the intact network N'."""
        fixed = (self.splits, self.config.seed, self.backend, self.folder, self.progress)
        section = self.config.constraint
        self.detectors = [
            detector_of(k, section, self.division, self.params, *fixed)
            for k in range(len(self.division.stages))
        ]
        self.trained = train_stages(section, self.division, self.params, self.detectors, *fixed)
        self.joined = {**self.params, **nn.join_params(self.trained)}
        path = self.folder.stages / "joint.h5"
        if not path.exists():
            self.folder.make_folder(self.folder.stages)
            record = steps.describe(
                self.net, self.joined, "joint", "trained stages joined", self.splits, self.backend, {}
            )
            nn.save(path, self.net, self.joined, extra={"record": record.to_dict()})

    def search(self) -> list[SearchStore]:
        """Search every stage, side by side on workers where there are any."""
        section, stages = self.config.search, range(len(self.division.stages))
        # Features are compared where the ranking puts a member in: within N'.
        around = self.joined if section.judge == "features" else self.params
        self.folder.make_folder(self.folder.searches)
        seeds = [child_seed(self.config.seed, "emo-dir.search", k) for k in stages]

        def tasks(wanted: list[int]) -> list[StageTask]:
            return stage_tasks(
                self.division, around, self.trained, self.detectors, self.scoring, section, seeds,
                self.backend, wanted,
            )  # fmt: skip

        if self.workers is None:
            # One after the other, so that the activations of one stage are in memory at a time.
            return [self.search_here(task) for k in stages for task in tasks([k])]
        pairs = [(task, self.folder.search_file(task.name)) for task in tasks(list(stages))]
        self.progress.stage("search stages", len(pairs))
        stores = []
        for store in spread(search_stage, pairs, self.workers, lambda pair: pair[0].name, self.report):
            stores.append(store)
            self.progress.step(len(stores), f"{store.path.stem}: {len(store.generations) - 1} generations")
        return stores

    def search_here(self, task: StageTask) -> SearchStore:
        """Do a search, or what is left of it, in this process; one with a budget is told of in per cent."""
        budget = task.budget_macs
        self.progress.stage(f"search {task.name}", 100 if budget else task.section.generations)

        def on_generation(store: SearchStore, text: str) -> None:
            done = len(store.generations) - 1
            self.folder.log("generation", search=task.name, generation=done, text=text)
            spent = int(store.state["macs_executed"][-1])
            self.progress.step(min(100, 100 * spent // budget) if budget else done, text)

        return run_search(task, self.folder.search_file(task.name), on_generation)

    def whole(self, budget_macs: int = 0, judge: Judge = "detector") -> StageTask:
        """Return the search over the whole network N'; its evaluator also measures joint schemes.

        Its "features" are the logits.
        """
        name, images, recalibration = "whole", self.scoring.images, self.scoring.recalibration
        if judge == "features":
            name, images, recalibration = "whole-features", self.scoring.features, self.scoring.features
        return StageTask(
            name, self.net, self.joined, self.net, self.layers, images, self.scoring.labels, recalibration, 0,
            self.config.search, child_seed(self.config.seed, "emo-dir.whole"), self.backend, budget_macs,
            judge,
        )  # fmt: skip

    def count(self, parts: Sequence[NDArray[np.bool_]]) -> tuple[list[list[int]], int]:
        """Count wrong predictions of genomes in several parts; return them and what they took."""
        task = self.whole()
        pairs = [(task, rows) for rows in parts]
        found = list(
            spread(count_rows, pairs, self.workers, lambda pair: f"{len(pair[1])} networks", self.report)
        )
        return [wrong for wrong, _ in found], sum(macs for _, macs in found)

    def pruned(self, bits: NDArray[np.bool_]) -> tuple[Network, Params]:
        """Return the slim network of a genome, joined from slim stages, its statistics measured anew.

        Raises
        ------
        ProblemError
            If its multiply-accumulates are not those of the unpruned parts less what the stages save.
        """
        masks = self.genome.masks(bits)
        parts, params = [], []
        saved = 0
        for part, own in zip(
            self.division.parts, nn.split_params(self.division.parts, self.joined), strict=True
        ):
            chosen = {name: masks[name] for name in part_layers(part, masks)}
            small, small_params = compress.slim(part, own, chosen)
            saved += compress.count(part).macs - compress.count(small).macs
            parts.append(small)
            params.append(small_params)
        net, joined = nn.join(parts), nn.join_params(params)
        counted, predicted = compress.count(net).macs, compress.count(self.net).macs - saved
        if counted != predicted:
            raise ProblemError(f"{net.name}: {counted} multiply-accumulates counted, {predicted} predicted")
        recalibration = self.whole().recalibrated()
        return net, joined if recalibration is None else recalibration(net, joined)

    def member_masks(self, stage: int, store: SearchStore, index: int) -> Masks:
        """Return the masks of a member of a stage's front."""
        net = self.division.stages[stage]
        row = store.generations[-1].genomes[front_rows(store.generations[-1])[index]]
        return masks_of(net, tuple(compress.prunable_layers(net)), self.config.search.group, row)

    def bits(self, stores: Sequence[SearchStore], choice: Sequence[int]) -> NDArray[np.bool_]:
        """Return the genome, a bit a filter of the whole network, of a joint scheme."""
        masks: dict[str, NDArray[np.bool_]] = {}
        for stage, index in enumerate(choice):
            if index != INTACT:
                masks |= self.member_masks(stage, stores[stage], index)
        return self.genome.genome(masks)


def part_layers(part: Network, masks: Masks) -> list[str]:
    """Return the layers of a part of a network that masks name."""
    names = {node.name for node in part.nodes}
    return [name for name in masks if name in names]
