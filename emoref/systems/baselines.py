"""What a search is compared with: other methods at exactly the configuration of each selected network.

The comparison of Wu et al. (Sensors 21(17):5901, section 4): at equal filters in every layer, the errors of
the searched network and of the networks that other methods choose, before and after the same fine-tuning.
Which methods the paper compared with is not published in what we could read; emoref uses every importance
criterion of :data:`emoref.compress.CRITERIA` and training from scratch.

For a selected network ``kept-18``, each baseline is one file in ``baselines/kept-18/``:

================  =====================================================================================
``<criterion>``   the filters with the highest scores, as many in each layer as the selected network has
``scratch``       the same architecture from new weights, for the optimiser steps of a fine-tuning
``scratch-long``  the same, for the steps of the base network's training and a fine-tuning together
================  =====================================================================================
"""

import math
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator, model_validator

from emoref import compress
from emoref.errors import suggest
from emoref.nn import Network
from emoref.runs.config import BaseSection, EngineSection, PositiveInt, Section, TrainSection
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.search import FilterGenome
from emoref.seeding import child_seed, generator
from emoref.systems import steps
from emoref.systems.steps import Candidate, Params, Splits

Scores = dict[str, NDArray[np.float64]]


class BaselinesSection(Section):
    """Whether and with what the selected networks are compared; each baseline costs one fine-tuning."""

    enabled: bool = False
    criteria: tuple[str, ...] = compress.CRITERIA
    images: PositiveInt = 1000  # training images, class-balanced, for the criteria that need data
    scratch: bool = True  # also train the selected architectures from new weights
    tune: bool = True  # fine-tune what the criteria choose; else they are measured before it only

    @field_validator("criteria")
    @classmethod
    def _known_criteria(cls, criteria: tuple[str, ...]) -> tuple[str, ...]:
        for name in criteria:
            if name not in compress.CRITERIA:
                raise ValueError(f"unknown criterion {name!r}{suggest(name, compress.CRITERIA)}")
        if len(set(criteria)) < len(criteria):
            raise ValueError("each criterion can be named once")
        return criteria

    @model_validator(mode="after")
    def _something_to_compare(self) -> "BaselinesSection":
        if self.enabled and not self.criteria and not self.scratch:
            raise ValueError("enabled is true, but criteria is empty and scratch is false")
        return self


class ComparedConfig(Protocol):
    """The parts of a system's configuration that baselines need."""

    @property
    def seed(self) -> int:
        """The run's seed."""

    @property
    def engine(self) -> EngineSection:
        """The back end."""

    @property
    def base(self) -> BaseSection:
        """The base network and its training."""

    @property
    def finetune(self) -> TrainSection:
        """The fine-tuning, the same for all."""

    @property
    def baselines(self) -> BaselinesSection:
        """Which baselines."""


class Baselines:
    """The baselines of one run; with ``baselines.enabled = false`` there are none, and nothing is done.

    Parameters
    ----------
    config : ComparedConfig
        Which baselines, the fine-tuning, seed and back end.
    splits : Splits
        The images. Criteria that need data see class-balanced training images, never the validation images
        that the search looked at.

    Raises
    ------
    ConfigError
        If there are too few training images for ``baselines.images``.
    """

    def __init__(self, config: ComparedConfig, splits: Splits) -> None:
        section = config.baselines
        self.config, self.splits = config, splits
        self.criteria = section.criteria if section.enabled else ()
        self.scratch = section.enabled and section.scratch
        self._scores: dict[str, Scores] = {}
        if section.enabled:
            sample = steps.training_sample(splits, section.images, config.seed, "baselines.images")
            self._images, self._labels = sample

    def check(self, net: Network, params: Params) -> None:
        """Try every criterion on a few images: one that cannot score this network fails before the search.

        Raises
        ------
        NetworkError
            If a criterion is not defined for one of the layers.
        """
        for criterion in self.criteria:
            self._score(criterion, net, params, generator(self.config.seed, "baselines.check"), images=2)

    def run(
        self,
        index: int,
        name: str,
        bits: NDArray[np.bool_],
        base: tuple[Network, Params],
        genome: FilterGenome,
        folder: RunFolder,
        progress: Progress,
    ) -> None:
        """Make, train and store what is still missing of the baselines of one selected network.

        Every baseline is trained on the batches of the selected network's own fine-tuning, in the same order
        and with the same augmentation, so that errors differ by the filters alone.

        Parameters
        ----------
        index : int
            Place of the selected network in the selection.
        name : str
            Its name.
        bits : bool array, shape (n_bits,)
            Its genome.
        base : tuple (Network, Params)
            The trained network that was searched.
        genome : FilterGenome
            What the bits mean.
        folder : RunFolder
            Where the files go; those that exist are left alone.
        progress : Progress
            Told of every training.

        Raises
        ------
        TrainingDivergedError
            If the loss of a baseline became NaN or infinite.
        """
        seed, backend = child_seed(self.config.seed, "finetune", index), self.config.engine.table
        finetune = self.config.finetune if self.config.baselines.tune else None
        for criterion in self.criteria:
            if not folder.network_file(f"{name}/{criterion}").exists():
                candidate = self._by_criterion(criterion, name, bits, base, genome)
                steps.tune_and_store(candidate, self.splits, finetune, seed, backend, folder, progress)
        for variant, words, section in self._scratch_trainings():
            if not folder.network_file(f"{name}/{variant}").exists():
                candidate = self._from_scratch(variant, words, name, bits, base, genome)
                steps.tune_and_store(candidate, self.splits, section, seed, backend, folder, progress)

    def _by_criterion(
        self,
        criterion: str,
        name: str,
        bits: NDArray[np.bool_],
        base: tuple[Network, Params],
        genome: FilterGenome,
    ) -> Candidate:
        filters = int(genome.kept(bits[None]).sum())
        chosen = same_configuration(genome, self._scores_for(criterion, base, filters), bits)
        masks = genome.masks(chosen)
        return Candidate(
            f"{name}/{criterion}",
            f"{criterion} criterion, as many filters in each layer as {name}",
            *compress.slim(*base, masks),
            kept={layer: int(mask.sum()) for layer, mask in masks.items()},
            genome=[int(bit) for bit in np.flatnonzero(chosen)],
            filters_original=int(genome.sizes.sum()),
            role="baseline",
        )

    def _scores_for(self, criterion: str, base: tuple[Network, Params], filters: int) -> Scores:
        """Return the scores, computed once a run; random ones are drawn anew for each selected network."""
        if criterion == "random":
            return self._score(criterion, *base, generator(self.config.seed, "baselines.random", filters))
        if criterion not in self._scores:
            self._scores[criterion] = self._score(criterion, *base)
        return self._scores[criterion]

    def _score(
        self,
        criterion: str,
        net: Network,
        params: Params,
        rng: np.random.Generator | None = None,
        images: int | None = None,
    ) -> Scores:
        data = self._images[:images], self._labels[:images]
        backend = self.config.engine.table
        return compress.tied_importance(
            net, compress.filter_importance(criterion, net, params, data, rng, backend)
        )

    def _scratch_trainings(self) -> Iterator[tuple[str, str, TrainSection]]:
        """Return name, words and training of each variant."""
        if not self.scratch:
            return
        recipe, images = self.config.base.train, len(self.splits.train)
        tuning = optimiser_steps(self.config.finetune, images)
        whole = optimiser_steps(recipe, images) + tuning
        yield "scratch", "the steps of a fine-tuning", stretched(recipe, tuning, images)
        yield "scratch-long", "the steps of base training and fine-tuning", stretched(recipe, whole, images)

    def _from_scratch(
        self,
        variant: str,
        words: str,
        name: str,
        bits: NDArray[np.bool_],
        base: tuple[Network, Params],
        genome: FilterGenome,
    ) -> Candidate:
        masks = genome.masks(bits)
        net = compress.slim_network(base[0], masks)
        kept = {layer: int(mask.sum()) for layer, mask in masks.items()}
        return Candidate(
            f"{name}/{variant}",
            f"architecture of {name}, trained from scratch for {words}",
            net,
            steps.scratch_params(net, sum(kept.values()), self.config.seed),
            kept=kept,
            genome=[],
            filters_original=int(genome.sizes.sum()),
            role="baseline",
        )


def same_configuration(
    genome: FilterGenome, scores: Mapping[str, NDArray[np.float64]], bits: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the genome with the highest scores that keeps exactly as many filters in each layer as another.

    In a network without additions this is :func:`emoref.compress.masks_from_importance`. Where filters of
    several layers can only be removed together, they are ranked among those that belong to the same layers,
    so that the numbers agree in all of them.

    Parameters
    ----------
    genome : FilterGenome
        What the bits mean.
    scores : mapping of str to float64 array
        From :func:`emoref.compress.tied_importance`; higher is more important.
    bits : bool array, shape (n_bits,)
        The genome whose numbers are kept.

    Returns
    -------
    bool array, shape (n_bits,)
        Of equal scores the lower bit is kept.
    """
    score = genome.bit_scores(scores)
    member = np.zeros((genome.n_bits, len(genome.names)), dtype=bool)
    for layer, name in enumerate(genome.names):
        member[genome.index[name], layer] = True
    chosen = np.zeros(genome.n_bits, dtype=bool)
    for layers in np.unique(member, axis=0):
        rivals = np.flatnonzero((member == layers).all(axis=1))
        best = rivals[np.argsort(-score[rivals], kind="stable")]
        chosen[best[: np.count_nonzero(bits[rivals])]] = True
    return chosen


def optimiser_steps(section: TrainSection, images: int) -> int:
    """Return the number of optimiser steps of a training on that many images."""
    return section.epochs * math.ceil(images / section.batch_size)


def stretched(recipe: TrainSection, n_steps: int, images: int) -> TrainSection:
    """Return a training recipe with at least ``n_steps`` steps: whole epochs, milestones moved in proportion.

    Training from scratch follows the base network's recipe, which was made for new weights. Where base
    training and fine-tuning use one batch size, the number of steps is met exactly.
    """
    epochs = math.ceil(n_steps / math.ceil(images / recipe.batch_size))
    moved = {max(1, round(milestone * epochs / recipe.epochs)) for milestone in recipe.milestones}
    return recipe.model_copy(update={"epochs": epochs, "milestones": tuple(sorted(moved))})
