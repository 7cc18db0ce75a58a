"""Training of the sub-networks under constraints that reach across them.

EMO-DIR (arXiv 2303.16212) bridges its independent sub-tasks by training each sub-network with cross-network
constraints, and judges it by a feature detector; no formula is readable. emoref uses, for stage k of a
trained network N (the teacher, frozen),

    L_k = CE(D_k(S_k(z)), y) + lambda ||S_k(z) - S_k^T(x)||^2 / dim,

where x are the teacher's features that enter the stage, S_k^T is the teacher's stage, and z is x or, with a
given probability for each batch, what the trained stage before gives with some of its filters removed. The
detector D_k is the teacher's frozen tail, or a linear probe.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emoref import compress, nn
from emoref.compress import Division
from emoref.nn import Network, NetworkBuilder, Predictor, StepResult, TrainData
from emoref.nn.executor import count_wrong
from emoref.runs.config import Probability, Section, TrainSection
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.seeding import child_seed, generator
from emoref.systems import steps
from emoref.systems.steps import Params, Splits
from emoref_kernels import load_backend

__all__ = ["ConstraintSection", "Detector", "StageLoss", "detector_of", "probe_network", "train_stages"]

Array = NDArray[Any]
Pair = tuple[Network, Mapping[str, Array]]


class ConstraintSection(Section):
    """The sub-networks' training. None of it is published; these are emoref's settings.

    Ablations: ``feature_weight = 0`` leaves the feature loss out, ``predecessor_probability = 0`` feeds
    teacher features only, ``enabled = false`` searches the stages of the trained network as they are.
    """

    enabled: bool = True
    detector: Literal["tail", "probe"] = "tail"
    feature_weight: Annotated[float, Field(ge=0)] = 1.0  # lambda
    predecessor_probability: Probability = 0.5  # of a batch that the trained, perturbed stage before gives
    max_masked: Probability = 0.3  # of the filters of each of its layers, at most
    train: TrainSection = TrainSection(epochs=10, lr=0.01, schedule="cosine")
    probe: TrainSection = TrainSection(epochs=3, lr=0.05)


@dataclass(frozen=True, eq=False)
class Detector:
    """What judges the features that a stage gives: a frozen network from them to the logits."""

    net: Network
    params: Params


def probe_network(stage: Network, classes: int) -> Network:
    """Return the linear-probe detector of a stage: 1x1 convolution, mean over each map, linear layer.

    Not published; emoref keeps the number of channels in the convolution, and puts a ReLU behind it.
    """
    shape = stage.shapes[stage.output.name]
    b = NetworkBuilder(f"{stage.name}-probe", shape)
    b.conv("probe_conv", shape[0], 1)
    b.relu("probe_relu")
    b.global_avg_pool("probe_gap")
    b.linear("probe_fc", classes)
    return b.build()


@dataclass(frozen=True, eq=False)
class Features:
    """Training data as a part of a network sees it: what `before` gives for each batch of images."""

    images: TrainData
    before: Predictor

    def __len__(self) -> int:
        return len(self.images)

    def batch(
        self, indices: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> tuple[Array, NDArray[np.int64]]:
        """Return activations and labels at `indices`, of images augmented with `rng`."""
        images, labels = self.images.batch(indices, rng)
        return self.before(images), labels


def detector_of(
    stage: int,
    section: ConstraintSection,
    division: Division,
    params: Params,
    splits: Splits,
    seed: int,
    backend: str,
    folder: RunFolder,
    progress: Progress,
) -> Detector:
    """Return the detector of a stage, training a probe where that is asked for.

    Parameters
    ----------
    stage : int
        Counted from 0.
    section : ConstraintSection
        Which detector, and a probe's training.
    division : Division
        The teacher in parts.
    params : dict of str to ndarray
        The teacher's parameters.
    splits : Splits
        A probe is trained on the teacher's features of the training images.
    seed : int
        The run's seed.
    backend : str
        Which kernels compute.
    folder, progress
        Where a probe is kept, as ``stages/detector<stage>.h5``, and who is told of its training.
    """
    if section.detector == "tail":
        tail = division.after(stage)
        return Detector(tail, nn.split_params([tail], params)[0])
    path = folder.stages / f"detector{stage + 1}.h5"
    if path.exists():
        return Detector(*nn.load(path))
    until = nn.join(division.parts[: len(division.parts) - len(division.stages) + stage])
    before = Predictor(until, nn.split_params([until], params)[0], backend)
    net = probe_network(division.stages[stage], division.head.classes)
    trained = net.init(child_seed(seed, "emo-dir.probe.init", stage))
    curves = steps.train(
        f"detector {stage + 1}",
        net,
        trained,
        Splits(Features(splits.train, before), Features(splits.validation, before)),  # type: ignore[arg-type]
        section.probe,
        child_seed(seed, "emo-dir.probe.train", stage),
        backend,
        folder,
        progress,
    )
    # The teacher runs forward; the probe forward and backward, which counts three times.
    each = compress.count(until).macs + 3 * compress.count(net).macs
    macs = each * len(splits.train) * section.probe.epochs
    folder.make_folder(folder.stages)
    nn.save(path, net, trained, extra={"curves": curves, "training_macs": macs})
    return Detector(net, trained)


@dataclass(frozen=True, eq=False)
class StageLoss:
    """L_k and its gradient; called by :func:`emoref.nn.fit` for every batch.

    Attributes
    ----------
    stage : Network
        S_k.
    teacher : Predictor
        S_k^T.
    detector : Detector
        D_k; its batch norms use their running statistics.
    before : Predictor or None
        What leads from the images to the stage; None if nothing does.
    predecessor : tuple (Network, Params) or None
        The trained stage before; None for the first.
    predecessor_before : Predictor or None
        What leads from the images to the stage before.
    section : ConstraintSection
        Weight and probabilities.
    seed : int
        Of coins and masks.
    backend : str
        Which kernels compute.
    """

    stage: Network
    teacher: Predictor
    detector: Detector
    before: Predictor | None
    predecessor: Pair | None
    predecessor_before: Predictor | None
    section: ConstraintSection
    seed: int
    backend: str

    def __call__(
        self, params: Mapping[str, Array], images: Array, labels: NDArray[np.int64], epoch: int, step: int
    ) -> StepResult:
        """Return loss, wrong predictions of the detector, and the gradients of the stage's parameters."""
        k = load_backend(self.backend)
        x = images if self.before is None else self.before(images)
        target = self.teacher(x)
        rng = generator(self.seed, "emo-dir.predecessor", epoch, step)
        perturbed = self.predecessor is not None and rng.random() < self.section.predecessor_probability
        z = self._perturbed(images, rng) if perturbed else x

        dropout = generator(self.seed, "nn.dropout", epoch, step)
        tape = nn.forward(self.stage, params, z, mode="train", backend=k, rng=dropout)
        judged = nn.forward(self.detector.net, self.detector.params, tape.output, mode="eval", backend=k)
        logits, n = judged.output, len(images)
        difference = tape.output - target
        dim = difference.size // n
        weight = self.section.feature_weight
        loss = float(k.softmax_cross_entropy(logits, labels))
        loss += weight * float(np.square(difference, dtype=np.float64).sum()) / (dim * n)
        through = nn.backward(judged, k.softmax_cross_entropy_grad(logits, labels), (nn.INPUT,))[nn.INPUT]
        gradient = through + np.asarray(2 * weight / (dim * n), difference.dtype) * difference
        grads = nn.backward(tape, gradient)
        return StepResult(loss, count_wrong(logits, labels), grads, tape.buffer_updates)

    def _perturbed(self, images: Array, rng: np.random.Generator) -> Array:
        """Return what the stage before gives without a random share of the filters of each of its layers.

        Its batch norms use the batch's statistics: those of a pruned stage are measured anew before it is
        scored, and the next stage meets it like that.
        """
        assert self.predecessor is not None
        net, params = self.predecessor
        share = rng.random() * self.section.max_masked
        masks = {}
        for name, filters in compress.prunable_layers(net).items():
            masks[name] = rng.permutation(filters) >= min(int(share * filters), filters - 1)
        small = compress.slim(net, params, masks)
        values = images if self.predecessor_before is None else self.predecessor_before(images)
        return nn.forward(*small, values, mode="train", backend=self.backend, rng=rng).output

    def macs_of_image(self) -> int:
        """Return the multiply-accumulates of one step for one image.

        The teacher runs forward; stage and detector forward and backward, which counts three times; the stage
        before, at its full size, as often as it is expected to.
        """
        count = compress.count
        teacher = count(self.stage).macs + (0 if self.before is None else count(self.before.net).macs)
        expected = 0.0
        if self.predecessor is not None:
            ahead = (
                0 if self.predecessor_before is None else count(self.predecessor_before.net).macs
            ) + count(self.predecessor[0]).macs
            expected = self.section.predecessor_probability * ahead
        return teacher + 3 * (count(self.stage).macs + count(self.detector.net).macs) + round(expected)


def train_stages(
    section: ConstraintSection,
    division: Division,
    params: Params,
    detectors: list[Detector],
    splits: Splits,
    seed: int,
    backend: str,
    folder: RunFolder,
    progress: Progress,
) -> list[Params]:
    """Train every stage, one after the other, and return their parameters.

    Each begins with the teacher's. Without training (``enabled = false``) they are the teacher's.

    Parameters
    ----------
    section : ConstraintSection
        Loss and training.
    division : Division
        The teacher in parts.
    params : dict of str to ndarray
        The teacher's parameters.
    detectors : list of Detector
        One for each stage.
    splits : Splits
        Training images.
    seed : int
        The run's seed.
    backend : str
        Which kernels compute.
    folder, progress
        Where the stages are kept, as ``stages/stage<k>.h5``, and who is told of every epoch.
    """
    own = nn.split_params(division.stages, params)
    if not section.enabled:
        return own
    trained: list[Params] = []
    for k, net in enumerate(division.stages):
        path = folder.stages / f"stage{k + 1}.h5"
        if not path.exists():
            loss = StageLoss(
                net,
                Predictor(net, own[k], backend),
                detectors[k],
                _predictor(division.before(k), params, backend),
                (division.stages[k - 1], trained[k - 1]) if k else None,
                _predictor(division.before(k - 1), params, backend) if k else None,
                section,
                child_seed(seed, "emo-dir.stage", k),
                backend,
            )
            start = {name: value.copy() for name, value in own[k].items()}
            curves = steps.train(
                f"stage {k + 1}",
                net,
                start,
                splits,
                section.train,
                child_seed(seed, "emo-dir.stage.train", k),
                backend,
                folder,
                progress,
                functools.partial(_fit, loss),
            )
            macs = loss.macs_of_image() * len(splits.train) * section.train.epochs
            folder.make_folder(folder.stages)
            nn.save(path, net, start, extra={"curves": curves, "training_macs": macs})
        trained.append(nn.load(path)[1])
    return trained


def _predictor(net: Network | None, params: Params, backend: str) -> Predictor | None:
    return None if net is None else Predictor(net, nn.split_params([net], params)[0], backend)


def _fit(
    loss: StageLoss,
    net: Network,
    params: Params,
    data: TrainData,
    config: nn.TrainConfig,
    *,
    validation: Any,
    **others: Any,
) -> nn.History:
    """Train one stage; a stage is no classifier, so nothing is evaluated after an epoch."""
    return nn.fit(net, params, data, config, gradients=loss, **others)
