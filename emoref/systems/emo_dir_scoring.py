"""The settings of EMO-DIR's searches, and the images that their candidates are scored on."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from emoref.errors import ConfigError
from emoref.runs.config import PositiveInt, Probability, Section
from emoref.seeding import generator
from emoref.systems import steps
from emoref.systems.steps import Splits

__all__ = ["Judge", "MaskSearchSection", "Scoring", "scoring_images"]

Array = NDArray[Any]
Judge = Literal["detector", "features"]


class MaskSearchSection(Section):
    """NSGA-II over filter masks. None of it is published; these are emoref's settings."""

    population: Annotated[int, Field(ge=4)] = 30
    generations: PositiveInt = 50
    crossover_probability: Probability = 0.9
    mutation_probability: Probability = 0.0  # per bit; 0: 1 / number of bits
    initial_ratio: tuple[Probability, Probability] = (0.3, 1.0)  # of the initial individuals
    group: PositiveInt = 1  # neighbouring filters of a layer that share a bit
    images: Annotated[int, Field(ge=0)] = 0  # of the validation set, class-balanced; 0: all
    judge: Judge = "detector"  # of the stages' candidates; the whole network's are judged by their error
    feature_images: Annotated[int, Field(ge=2)] = 250  # training images of the judge "features"
    recalibration_batches: Annotated[int, Field(ge=0)] = 5  # of training images, for batch norm; 0: none
    recalibration_batch_size: Annotated[int, Field(ge=2)] = 100

    @model_validator(mode="after")
    def _ordered(self) -> "MaskSearchSection":
        low, high = self.initial_ratio
        if low > high:
            raise ValueError(f"initial_ratio must be [low, high] with low <= high, found [{low}, {high}]")
        return self


@dataclass(frozen=True, eq=False)
class Scoring:
    """The images that every candidate of a run is scored on.

    Attributes
    ----------
    images, labels
        Held-out images.
    recalibration : float array
        Training images for batch-norm statistics, augmented as in training; none where there are no batches.
    features : float array
        Training images, augmented likewise, on which features are compared; none for detectors.
    """

    images: Array
    labels: NDArray[np.int64]
    recalibration: Array
    features: Array


def scoring_images(splits: Splits, section: MaskSearchSection, seed: int) -> Scoring:
    """Return the images to score on.

    Raises
    ------
    ConfigError
        If there are not as many as asked for.
    """
    images, labels = steps.fitness_images(splits, section.images, seed)
    wanted = section.recalibration_batches * section.recalibration_batch_size
    batches = f"{section.recalibration_batches} batches of {section.recalibration_batch_size} need"
    compared = section.feature_images if section.judge == "features" else 0
    return Scoring(
        images,
        labels,
        _training_images(splits, wanted, f"search.recalibration_batches: {batches}", seed, "recalibration"),
        _training_images(splits, compared, "search.feature_images needs", seed, "features"),
    )


def _training_images(splits: Splits, count: int, who: str, seed: int, what: str) -> Array:
    if count > len(splits.train):
        raise ConfigError(f"{who} {count:,} training images, but there are {len(splits.train):,}")
    chosen = np.sort(generator(seed, f"emo-dir.{what}").permutation(len(splits.train))[:count])
    # Augmented, as all images were that the network was trained on: it meets others with other statistics.
    return splits.train.batch(chosen, generator(seed, f"emo-dir.{what}.augmentation"))[0]
