"""A library of pruned versions of one network: each as masks and the values that they leave, in one file.

::

    /                        attributes emoref_class = "library", format_version = 1
    /architecture            JSON text: Network.to_dict(), the same for all models
    /library                 JSON text: checksum of the network that all models come from
    /models/<number>/        one pruned model, 000 first
        model                JSON text: remaining ratio, and whatever the writer notes
        masks/<parameter>    (bytes,) uint8   one bit a weight in C order, first weight highest; 1 = kept
        values/<parameter>   (kept,) float32  the kept weights in the same order
        others/<parameter>   float32          what is not pruned: biases, batch norms

Equal models give equal bytes.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emoref.compress.weights import weighted_layers
from emoref.errors import FileFormatError, NetworkError
from emoref.hdf5 import (
    open_checked,
    read_array,
    read_json,
    write_array,
    write_atomic,
    write_attributes,
    write_json,
)
from emoref.nn import Network, check_params

__all__ = ["Library", "PrunedModel", "library_notes", "network_checksum"]

FORMAT_VERSION = 1
_CLASS = "library"

Array = NDArray[Any]


def network_checksum(net: Network, params: Mapping[str, Array]) -> str:
    """Return 32 hexadecimal digits that tell trained networks apart: by `net` and every one of `params`."""
    digest = hashlib.blake2b(json.dumps(net.to_dict(), sort_keys=True).encode(), digest_size=16)
    for name in net.param_shapes():
        digest.update(np.ascontiguousarray(params[name]).data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """One pruned network, its zeros not stored.

    Attributes
    ----------
    remaining_ratio : float
        Kept weights / weights of every layer, as asked for.
    masks : mapping of str to uint8 array
        For each pruned parameter one bit a weight, packed; 1 = kept.
    values : mapping of str to float32 array
        The kept weights.
    others : mapping of str to float32 array
        All other parameters.
    notes : mapping
        JSON-able: figures and curves of the training.
    """

    remaining_ratio: float
    masks: Mapping[str, NDArray[np.uint8]]
    values: Mapping[str, Array]
    others: Mapping[str, Array]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        net: Network,
        params: Mapping[str, Array],
        remaining_ratio: float,
        notes: Mapping[str, Any] | None = None,
    ) -> "PrunedModel":
        """Return the model with given parameters; what is zero counts as cut.

        Parameters
        ----------
        net : Network
            The network.
        params : mapping of str to array
            Its parameters.
        remaining_ratio : float
            The share of weights that was asked for.
        notes : mapping, optional
            JSON-able.

        Raises
        ------
        NetworkError
            If these are not the parameters of the network.
        """
        check_params(net, params)
        pruned = [f"{layer}.weight" for layer in weighted_layers(net)]
        kept = {name: params[name].ravel() != 0 for name in pruned}
        return cls(
            float(remaining_ratio),
            {name: np.packbits(mask) for name, mask in kept.items()},
            {name: params[name].ravel()[mask].astype(np.float32) for name, mask in kept.items()},
            {name: v.astype(np.float32) for name, v in params.items() if name not in kept},
            dict(notes or {}),
        )

    def weight(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the pruned parameter called `name`, of that `shape`, in full, zeros included."""
        whole = np.zeros(math.prod(shape), dtype=np.float32)
        whole[np.unpackbits(self.masks[name], count=whole.size).astype(bool)] = self.values[name]
        return whole.reshape(shape)

    def params(self, net: Network) -> dict[str, Array]:
        """Return all parameters in full, in the order of ``net.param_shapes()``; new arrays."""
        return {
            name: self.weight(name, shape) if name in self.masks else self.others[name].copy()
            for name, shape in net.param_shapes().items()
        }


@dataclass(frozen=True, eq=False)
class Library:
    """Pruned models of one network, by remaining ratio.

    Attributes
    ----------
    net : Network
        The architecture.
    base : str
        :func:`network_checksum` of the trained network that all come from.
    models : tuple of PrunedModel
        In the order of their ratios, fewest weights first.
    """

    net: Network
    base: str
    models: tuple[PrunedModel, ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        """Remaining ratio of each model."""
        return tuple(model.remaining_ratio for model in self.models)

    def with_model(self, model: PrunedModel) -> "Library":
        """Return the library with one more model; one of the same ratio is replaced."""
        others = [m for m in self.models if m.remaining_ratio != model.remaining_ratio]
        ordered = sorted([*others, model], key=lambda m: m.remaining_ratio)
        return Library(self.net, self.base, tuple(ordered))

    def with_ratios(self, ratios: Sequence[float]) -> "Library":
        """Return the library with the models of these ratios alone.

        Raises
        ------
        NetworkError
            If a ratio is missing; lists those that there are.
        """
        known = {model.remaining_ratio: model for model in self.models}
        for ratio in ratios:
            if ratio not in known:
                found = ", ".join(f"{r:g}" for r in self.ratios) or "none"
                raise NetworkError(f"the library has no model with remaining ratio {ratio:g}; it has {found}")
        return Library(self.net, self.base, tuple(known[ratio] for ratio in sorted(set(ratios))))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all models to the one file `path`, atomically.

        Raises
        ------
        FileFormatError
            If the file cannot be written.
        """
        write_atomic(path, self._fill)

    def _fill(self, file: h5py.File) -> None:
        write_attributes(file, emoref_class=_CLASS, format_version=FORMAT_VERSION)
        write_json(file, "architecture", self.net.to_dict())
        write_json(file, "library", {"base": self.base, "models": len(self.models)})
        models = file.create_group("models")
        for number, model in enumerate(self.models):
            group = models.create_group(f"{number:03}")
            write_json(group, "model", {"remaining_ratio": model.remaining_ratio, "notes": dict(model.notes)})
            for part in ("masks", "values", "others"):
                arrays = group.create_group(part)
                for name, array in getattr(model, part).items():
                    write_array(arrays, name, array)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Library":
        """Read the library in the file `path`.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, of another class or a newer format version, or a model does not
            fit its architecture.
        """
        with open_checked(path, _CLASS, FORMAT_VERSION) as file:
            try:
                net = Network.from_dict(read_json(file, "architecture"))
            except NetworkError as error:
                raise FileFormatError(f"{path}: /architecture: {error}") from None
            about, models = read_json(file, "library"), file.get("models")
            if not isinstance(about, dict) or not isinstance(about.get("base"), str):
                raise FileFormatError(f"{path}: /library does not say which network the models come from")
            if not isinstance(models, h5py.Group) or about.get("models") != len(models):
                raise FileFormatError(f"{path}: /models does not hold the {about.get('models')} models")
            found = tuple(_read_model(models[name], net) for name in models)
        ratios = [model.remaining_ratio for model in found]
        if ratios != sorted(set(ratios)):
            raise FileFormatError(f"{path}: the remaining ratios of its models do not increase")
        return cls(net, about["base"], found)


def library_notes(path: str | os.PathLike[str]) -> tuple[dict[str, Any], ...]:
    """Return the remaining ratio and the notes of every model of a library, without its weights.

    Raises
    ------
    FileFormatError
        As :meth:`Library.load`.
    """
    with open_checked(path, _CLASS, FORMAT_VERSION) as file:
        models = file.get("models")
        if not isinstance(models, h5py.Group):
            raise FileFormatError(f"{path}: /models is missing")
        found = [_about(models[name]) for name in models]
    return tuple({**notes, "remaining_ratio": ratio} for ratio, notes in found)


def _about(group: h5py.Group) -> tuple[float, dict[str, Any]]:
    about = read_json(group, "model")
    ratio = about.get("remaining_ratio") if isinstance(about, dict) else None
    notes = about.get("notes") if isinstance(about, dict) else None
    if not isinstance(ratio, float) or not 0 < ratio <= 1 or not isinstance(notes, dict):
        raise FileFormatError(
            f"{group.file.filename}: {group.name}: remaining_ratio must be above 0 and at most 1, "
            f"with notes, found {about!r:.60}"
        )
    return ratio, notes


def _read_model(group: h5py.Group, net: Network) -> PrunedModel:
    ratio, notes = _about(group)
    pruned = {f"{layer}.weight" for layer in weighted_layers(net)}
    masks, values, others = {}, {}, {}
    for name, shape in net.param_shapes().items():
        if name not in pruned:
            others[name] = read_array(group, f"others/{name}", shape=shape)
            continue
        size = math.prod(shape)
        masks[name] = read_array(group, f"masks/{name}", shape=(-(-size // 8),), kinds="u")
        kept = int(np.unpackbits(masks[name].astype(np.uint8), count=size).sum())
        values[name] = read_array(group, f"values/{name}", shape=(kept,))
    return PrunedModel(ratio, masks, values, others, notes)
