"""Pruning single weights: masks of the largest ones, and training that keeps the others at zero.

What Wang et al. 2021 (EMOMC, IEEE CIM 16(3), pp. 16-18) call pruning: in every convolution and linear layer
the same share of the weights is set to zero, those of least magnitude, step by step from a trained network.
Biases and batch norm are left alone. Nothing gets smaller by that: arrays keep their shapes. Sparsity pays
where zeros are not stored (:mod:`emoref.compress.coding`) or not computed with
(:mod:`emoref.compress.energy`); to remove whole filters use :func:`emoref.compress.slim`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import ConfigError, NetworkError, ShapeError, suggest
from emoref.nn import History, Network, StepReport, TrainConfig, TrainData, TrainingState, check_params, fit

__all__ = [
    "LayerDensity",
    "apply_weight_masks",
    "geometric_ratios",
    "keep_weights",
    "kept_weights",
    "magnitude_masks",
    "prune_gradually",
    "weight_density",
    "weighted_layers",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class LayerDensity:
    """How many weights of a layer are not zero.

    Attributes
    ----------
    name : str
        The layer.
    weights : int
        Number of its weights.
    nonzero : int
        Those that are not zero.
    """

    name: str
    weights: int
    nonzero: int

    @property
    def remaining_ratio(self) -> float:
        """Non-zero weights / all weights."""
        return self.nonzero / self.weights


def weighted_layers(net: Network) -> tuple[str, ...]:
    """Return the convolutions and linear layers of `net`, depthwise ones included, in topological order."""
    return tuple(node.name for node in net.nodes if node.op in ("conv2d", "linear"))


def kept_weights(weights: ArrayLike, remaining_ratio: ArrayLike) -> NDArray[np.float64]:
    """Return how many weights a layer keeps.

    Parameters
    ----------
    weights : int or array
        n, weights of the layer.
    remaining_ratio : float or array
        p, above 0 and at most 1.

    Returns
    -------
    float64 array
        ``n - round(n * (1 - p))``, halves to even, as in the authors' code; but at least 1 (not published;
        emoref lets no layer die).
    """
    n = np.asarray(weights, dtype=np.float64)
    return np.maximum(1.0, n - np.rint(n * (1.0 - np.asarray(remaining_ratio, dtype=np.float64))))


def magnitude_masks(
    net: Network, params: Mapping[str, Array], remaining_ratio: float | Mapping[str, float]
) -> dict[str, NDArray[np.bool_]]:
    """Return masks that keep the weights of largest magnitude in every layer.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to array
        Its parameters.
    remaining_ratio : float or mapping of str to float
        Kept weights / all weights, for all layers or by layer, above 0 and at most 1. Layers that a mapping
        does not name get no mask. See :func:`kept_weights` for the rounding.

    Returns
    -------
    dict of str to bool array
        For each layer True for the weights to keep, in the shape of its weight. Of equal magnitudes the
        lower index is kept, so that masks of smaller ratios lie within those of larger ones.

    Raises
    ------
    ConfigError
        If a ratio is out of range.
    NetworkError
        If a name is no convolution or linear layer of the network.
    """
    layers = weighted_layers(net)
    if not isinstance(remaining_ratio, Mapping):
        remaining_ratio = dict.fromkeys(layers, remaining_ratio)
    for name, ratio in remaining_ratio.items():
        if name not in layers:
            raise NetworkError(f"no convolution or linear layer is called {name!r}{suggest(name, layers)}")
        if not 0 < ratio <= 1:
            raise ConfigError(f"remaining_ratio of {name!r} must be above 0 and at most 1, found {ratio!r}")
    return {name: _largest(params[f"{name}.weight"], ratio) for name, ratio in remaining_ratio.items()}


def _largest(weight: Array, ratio: float) -> NDArray[np.bool_]:
    kept = int(kept_weights(weight.size, ratio))
    if kept == weight.size:
        return np.ones(weight.shape, dtype=bool)
    magnitude = np.abs(weight).ravel()
    threshold = np.partition(magnitude, weight.size - kept)[weight.size - kept]
    mask = magnitude > threshold
    ties = np.flatnonzero(magnitude == threshold)
    mask[ties[: kept - np.count_nonzero(mask)]] = True
    return mask.reshape(weight.shape)


def apply_weight_masks(
    net: Network, params: Mapping[str, Array], masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Array]:
    """Return the parameters with the masked weights set to zero.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to array
        Its parameters; not changed.
    masks : mapping of str to bool array
        For layers by name, True for the weights to keep.

    Returns
    -------
    dict of str to array
        All parameters; new arrays.

    Raises
    ------
    NetworkError
        If a mask belongs to no convolution or linear layer.
    ShapeError
        If a mask has another shape than its weight, or is not boolean.
    """
    _check_masks(net, masks)
    pruned = {name: value.copy() for name, value in params.items()}
    for name, mask in masks.items():
        pruned[f"{name}.weight"][~mask] = 0
    return pruned


def _check_masks(net: Network, masks: Mapping[str, NDArray[np.bool_]]) -> None:
    layers, shapes = weighted_layers(net), net.param_shapes()
    for name, mask in masks.items():
        if name not in layers:
            raise NetworkError(
                f"mask of {name!r}: no such convolution or linear layer{suggest(name, layers)}"
            )
        wanted = shapes[f"{name}.weight"]
        array = np.asarray(mask)
        if array.dtype != bool or array.shape != wanted:
            raise ShapeError(
                f"mask of layer {name!r}: expected booleans of shape {wanted}, "
                f"got {array.dtype} of shape {array.shape}"
            )


def weight_density(net: Network, params: Mapping[str, Array]) -> tuple[LayerDensity, ...]:
    """Count the weights that are not zero.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to array
        Its parameters.

    Returns
    -------
    tuple of LayerDensity
        One row for each convolution and linear layer. ``{row.name: row.remaining_ratio for row in ...}`` is
        what the energy and size models take; a layer of zeros alone has ratio 0, which they refuse.
    """
    weights = {name: params[f"{name}.weight"] for name in weighted_layers(net)}
    return tuple(LayerDensity(name, w.size, int(np.count_nonzero(w))) for name, w in weights.items())


def keep_weights(
    net: Network, params: dict[str, Array], masks: Mapping[str, NDArray[np.bool_]]
) -> Callable[[StepReport], None]:
    """Prune now, and return what keeps the pruned weights at zero while the network is trained.

    Parameters
    ----------
    net : Network
        The network.
    params : dict of str to array
        The parameters that will be trained; the masked weights are set to zero in place.
    masks : mapping of str to bool array
        For layers by name, True for the weights to keep.

    Returns
    -------
    callable
        For ``on_step`` of :func:`emoref.nn.fit`: sets the masked weights to zero again after every step. The
        other weights get the very updates that they would get if the masked ones did not exist.

    Raises
    ------
    NetworkError, ShapeError
        As :func:`apply_weight_masks`.
    """
    _check_masks(net, masks)
    pruned = {f"{name}.weight": ~mask for name, mask in masks.items()}

    def zero(report: StepReport | None = None) -> None:
        for name, positions in pruned.items():
            params[name][positions] = 0

    zero()
    return zero


def geometric_ratios(remaining_ratio: float, steps: int) -> list[float]:
    """Return the remaining ratios of gradual pruning.

    Parameters
    ----------
    remaining_ratio : float
        r, where it ends, above 0 and at most 1.
    steps : int
        S, at least 1.

    Returns
    -------
    list of float
        ``r ** (s / S)`` for s = 1 .. S: each step removes the same share of what is left (Wang et al. 2021,
        the authors' code).

    Raises
    ------
    ConfigError
        If an argument is out of range.

    Examples
    --------
    >>> [round(r, 4) for r in geometric_ratios(0.25, 4)]
    [0.7071, 0.5, 0.3536, 0.25]
    """
    if not 0 < remaining_ratio <= 1:
        raise ConfigError(f"remaining_ratio must be above 0 and at most 1, found {remaining_ratio!r}")
    if steps < 1:
        raise ConfigError(f"gradual pruning takes at least 1 step, found {steps}")
    return [remaining_ratio ** (step / steps) for step in range(1, steps)] + [float(remaining_ratio)]


def prune_gradually(
    net: Network,
    params: dict[str, Array],
    train_data: TrainData,
    config: TrainConfig,
    remaining_ratio: float,
    steps: int | None = None,
    regrow: bool = False,
    validation: TrainData | None = None,
    backend: Any = "cpu",
    seed: int = 0,
    on_epoch: Callable[[TrainingState], None] | None = None,
    resume: TrainingState | None = None,
) -> History:
    """Prune a trained network to a remaining ratio in geometric steps, one epoch of training each.

    Stage I of Wang et al. 2021 for one model of its library: before epoch s = 1 .. S every layer's weights
    are cut to the share ``remaining_ratio ** (s / S)`` of largest magnitude.

    Parameters
    ----------
    net : Network
        The network.
    params : dict of str to array
        The trained parameters; changed in place, at the end to those of the pruned network.
    train_data, config, validation, backend, seed
        As for :func:`emoref.nn.fit`; the published setting has 32 epochs.
    remaining_ratio : float
        Where it ends, above 0 and at most 1.
    steps : int, optional
        S, at most the epochs of `config`; left out, as many, as published. In epochs beyond, the ratio stays.
    regrow : bool
        False: within an epoch the mask stays, and what was cut is zero for good. True, the authors' way: the
        mask is found anew after every training step, and a weight that was cut keeps its value behind it,
        gets no update there, and comes back where others have become smaller. (In the authors' code momentum
        and weight decay still move it; that is left out.) Finding masks at every step takes time.
    on_epoch : callable, optional
        Called after every epoch with a :class:`emoref.nn.TrainingState`. With `regrow` its parameters hold
        the values behind the mask too; :func:`magnitude_masks` with the epoch's ratio gives the mask.
    resume : TrainingState, optional
        What `on_epoch` was given: go on from there, bit for bit as without interruption.

    Returns
    -------
    History
        The curves; errors on `validation` are those of the pruned network.

    Raises
    ------
    ConfigError
        If the ratio or the steps are out of range, or as :func:`emoref.nn.fit`.
    NetworkError, DataError, TrainingDivergedError
        As :func:`emoref.nn.fit`.
    """
    check_params(net, params)
    steps = config.epochs if steps is None else steps
    if steps > config.epochs:
        raise ConfigError(f"{steps} pruning steps take as many epochs, found {config.epochs}")
    ratios = geometric_ratios(remaining_ratio, steps) + [remaining_ratio] * (config.epochs - steps)
    pruner = _Pruner(net, params, ratios, regrow)
    start = 0
    if resume is not None:
        start = resume.epoch
        resume = dataclasses.replace(resume, params={name: v.copy() for name, v in resume.params.items()})
    source = params if resume is None else resume.params
    if start < config.epochs:
        pruner.begin(start, source)

    def after_epoch(state: TrainingState) -> None:
        full = pruner.full(state.params)
        if on_epoch is not None:
            on_epoch(dataclasses.replace(state, params=full))
        if state.epoch < config.epochs:
            _write(params, full)
            pruner.begin(state.epoch, params)

    history = fit(
        net,
        params,
        train_data,
        config,
        validation=validation,
        backend=backend,
        seed=seed,
        on_step=pruner.on_step,
        on_epoch=after_epoch,
        resume=resume,
    )
    if start == config.epochs:
        # Nothing was left to train: the resumed parameters may still hold values behind the mask.
        pruner.begin(start - 1, params)
    return history


def _write(target: dict[str, Array], source: Mapping[str, Array]) -> None:
    for name, value in source.items():
        np.copyto(target[name], value)


class _Pruner:
    """The masks of a gradual pruning under way, and the values behind them."""

    def __init__(self, net: Network, params: dict[str, Array], ratios: list[float], regrow: bool) -> None:
        self.net, self.params, self.ratios, self.regrow = net, params, ratios, regrow
        self.ratio = 1.0
        self.masks: dict[str, NDArray[np.bool_]] = {}
        self.hidden: dict[str, Array] = {}

    def begin(self, epoch: int, params: dict[str, Array]) -> None:
        """Cut full `params` in place to the ratio of an epoch, counted from 0."""
        self.ratio = self.ratios[epoch]
        self._cut(params)

    def _cut(self, params: dict[str, Array]) -> None:
        self.masks = magnitude_masks(self.net, params, self.ratio)
        for name, mask in self.masks.items():
            weight = params[f"{name}.weight"]
            if self.regrow:
                self.hidden[f"{name}.weight"] = np.where(mask, weight.dtype.type(0), weight)
            weight[~mask] = 0

    def on_step(self, report: StepReport) -> None:
        """Undo what the step did to pruned weights; find the mask anew if weights may come back."""
        for name, mask in self.masks.items():
            weight = self.params[f"{name}.weight"]
            if self.regrow:
                np.copyto(weight, self.hidden[f"{name}.weight"], where=~mask)
            else:
                weight[~mask] = 0
        if self.regrow:
            self._cut(self.params)

    def full(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return copies of pruned parameters with the values behind the mask put back."""
        whole = {name: value.copy() for name, value in params.items()}
        for name, hidden in self.hidden.items():
            mask = self.masks[name.removesuffix(".weight")]
            np.copyto(whole[name], hidden, where=~mask)
        return whole
