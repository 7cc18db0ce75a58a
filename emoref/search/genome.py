"""Genomes of filter pruning: one bit for every filter that may be removed, 1 = keep.

Source: the binary encoding of Wu et al., "Evolutionary Multi-Objective One-Shot Filter Pruning for Designing
Lightweight Convolutional Neural Network", Sensors 21(17), 2021: the bits of all convolutional layers, one
layer after the other. Networks with additions are not among its models; there emoref gives one bit to all
filters that can only be removed together, so that every genome is a network.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress import channel_map, prunable_layers
from emoref.errors import NetworkError, ProblemError, ShapeError
from emoref.nn import Network

__all__ = ["FilterGenome"]


class FilterGenome:
    """Which bit of a genome stands for which filter.

    Parameters
    ----------
    net : Network
        The unpruned network.
    layers : iterable of str, optional
        The layers to prune; all prunable convolutions by default. Hidden linear layers may be named.
    floor_ratio : float, default 0.05
        Every layer keeps at least ``max(1, ceil(floor_ratio * filters))`` filters. The paper publishes no
        floor; emoref uses 0.05.

    Attributes
    ----------
    names : tuple of str
        The pruned layers, in topological order.
    sizes : int64 array, shape (layers,)
        Their numbers of filters.
    index : mapping of str to int64 array
        For each layer, the bit of each of its filters. Without additions in the network these are
        consecutive numbers; a layer tied to an earlier one points to the bits of that layer.
    offsets : int64 array, shape (layers,)
        The number of bits in use before each layer, i.e. where its own bits (if any) begin.
    floors : int64 array, shape (layers,)
        The least number of filters for each layer.
    n_bits : int
        Length of a genome.

    Raises
    ------
    NetworkError
        If a layer is unknown or not prunable, or there is nothing to prune.
    ProblemError
        If ``floor_ratio`` is not in [0, 1].
    """

    def __init__(self, net: Network, layers: Iterable[str] | None = None, floor_ratio: float = 0.05) -> None:
        if not 0 <= floor_ratio <= 1:
            raise ProblemError(f"floor_ratio must be in [0, 1], got {floor_ratio}")
        prunable = prunable_layers(net, linear=True)
        wanted = set(prunable_layers(net) if layers is None else layers)
        if unknown := sorted(wanted - set(prunable)):
            raise NetworkError(f"layer {unknown[0]!r} cannot be pruned; prunable are {', '.join(prunable)}")
        if not wanted:
            raise NetworkError(f"network {net.name!r} has no layer to prune")
        self._made_from = (net, tuple(sorted(wanted)), floor_ratio)
        self.names = tuple(name for name in prunable if name in wanted)
        self.sizes = np.array([prunable[name] for name in self.names], dtype=np.int64)
        # The small term keeps e.g. 0.07 * 100 = 7.000000000000001 from being rounded up to 8.
        self.floors = np.maximum(1, np.ceil(floor_ratio * self.sizes - 1e-9)).astype(np.int64)
        sources = channel_map(net).sources
        bits: dict[int, int] = {}
        offsets, index = [], {}
        for name in self.names:
            offsets.append(len(bits))
            ids = sources[name].tolist()
            index[name] = np.array([bits.setdefault(i, len(bits)) for i in ids], dtype=np.int64)
        self.offsets = np.array(offsets, dtype=np.int64)
        self.index: Mapping[str, NDArray[np.int64]] = MappingProxyType(index)
        self.n_bits = len(bits)

    def __reduce__(self) -> tuple[Any, ...]:
        return FilterGenome, self._made_from

    def masks(self, row: ArrayLike) -> dict[str, NDArray[np.bool_]]:
        """Return the masks of one genome.

        Parameters
        ----------
        row : bool array, shape (n_bits,)
            The genome.

        Returns
        -------
        dict of str to bool array
            For each layer the mask that :func:`emoref.compress.slim` takes.
        """
        (bits,) = self.checked(np.asarray(row)[None])
        return {name: bits[where] for name, where in self.index.items()}

    def genome(self, masks: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """Return the genome of masks; layers without a mask keep all their filters.

        Parameters
        ----------
        masks : mapping of str to bool array
            As for :func:`emoref.compress.slim`.

        Returns
        -------
        bool array, shape (n_bits,)
            A bit is 1 if no mask removes its filters.
        """
        bits = np.ones(self.n_bits, dtype=bool)
        for name, mask in masks.items():
            if name not in self.index:
                raise NetworkError(f"mask for {name!r}: this genome has the layers {', '.join(self.names)}")
            array = np.asarray(mask)
            if array.dtype != bool or array.shape != self.index[name].shape:
                raise ShapeError(
                    f"mask of layer {name!r}: expected {len(self.index[name])} booleans, "
                    f"got {array.dtype} of shape {array.shape}"
                )
            bits[self.index[name][~array]] = False
        return bits

    def bit_scores(self, scores: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the score of each bit.

        Parameters
        ----------
        scores : mapping of str to float64 array
            For each layer those of its filters, from :func:`emoref.compress.tied_importance`, which gives
            filters that can only be removed together the same score.

        Returns
        -------
        float64 array, shape (n_bits,)
        """
        values = np.zeros(self.n_bits)
        for name in self.names:
            values[self.index[name]] = scores[name]
        return values

    def ranked(
        self, scores: Mapping[str, NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], tuple[int, ...]]:
        """Return scores as ranks within each layer, for :class:`emoref.emo.MagnitudeLadder`.

        Parameters
        ----------
        scores : mapping of str to float64 array
            As for :meth:`bit_scores`; higher is more important.

        Returns
        -------
        ranks : float64 array, shape (n_bits,)
            From 1 / n for the lowest of n bits to 1; of equal scores the lower bit is the higher.
        sizes : tuple of int
            The numbers n of bits, layer by layer. Bits that several layers share count for the first.
        """
        values = self.bit_scores(scores)
        edges = np.unique([*self.offsets, self.n_bits])
        ranks = np.empty(self.n_bits)
        for start, stop in itertools.pairwise(edges):
            best_first = np.argsort(-values[start:stop], kind="stable")
            ranks[start + best_first] = np.arange(stop - start, 0, -1) / (stop - start)
        return ranks, tuple(np.diff(edges).tolist())

    def kept(self, genomes: ArrayLike) -> NDArray[np.int64]:
        """Return how many filters each genome keeps in each layer.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            The genomes.

        Returns
        -------
        int64 array, shape (P, layers)
            In the order of :attr:`names`.
        """
        rows = self.checked(genomes)
        columns = [rows[:, self.index[name]].sum(axis=1, dtype=np.int64) for name in self.names]
        return np.stack(columns, axis=1)

    def remaining_ratio(self, genomes: ArrayLike) -> NDArray[np.float64]:
        """Return kept filters / all filters of `genomes`, shape (P,); f1 of one-shot filter pruning."""
        return self.kept(genomes).sum(axis=1) / self.sizes.sum()

    def shortfall(self, genomes: ArrayLike) -> NDArray[np.int64]:
        """Return how many filters each layer of `genomes` lacks to its floor, shape (P, layers)."""
        return np.maximum(0, self.floors - self.kept(genomes))

    def repair(self, genomes: ArrayLike, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Turn on random bits in layers below their floor.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            The genomes; not changed.
        rng : numpy.random.Generator
            Draws which of the removed filters come back.

        Returns
        -------
        bool array, shape (P, n_bits)
            Rows that were feasible are as they were.
        """
        repaired = self.checked(genomes).copy()
        for row in np.flatnonzero(self.shortfall(repaired).any(axis=1)):
            for name, floor in zip(self.names, self.floors, strict=True):
                where = self.index[name]
                # Counted anew for each layer: a tied layer may have been lifted by an earlier one.
                off = np.flatnonzero(~repaired[row, where])
                lacking = int(floor) - (len(where) - len(off))
                if lacking > 0:
                    repaired[row, where[rng.choice(off, size=lacking, replace=False)]] = True
        return repaired

    def random(self, keep_probability: ArrayLike, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return random genomes, repaired.

        Parameters
        ----------
        keep_probability : float array, shape (P,)
            For each genome, the probability of each bit to be 1.
        rng : numpy.random.Generator
            The source of randomness.

        Returns
        -------
        bool array, shape (P, n_bits)
            One genome for each probability.
        """
        probability = np.asarray(keep_probability, dtype=np.float64)
        drawn = rng.random((len(probability), self.n_bits)) < probability[:, None]
        return self.repair(drawn, rng)

    def pack(self, genomes: ArrayLike) -> NDArray[np.uint8]:
        """Return the genomes as bytes, shape (P, ceil(n_bits / 8)); bit 0 is the highest of byte 0."""
        return np.packbits(self.checked(genomes), axis=1)

    def unpack(self, packed: ArrayLike) -> NDArray[np.bool_]:
        """Return the genomes that :meth:`pack` packed, shape (P, n_bits)."""
        array = np.asarray(packed)
        width = math.ceil(self.n_bits / 8)
        if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != width:
            raise ShapeError(
                f"packed genomes: expected bytes of shape (P, {width}), "
                f"got {array.dtype} of shape {array.shape}"
            )
        return np.unpackbits(array, axis=1, count=self.n_bits).astype(bool)

    def checked(self, genomes: ArrayLike) -> NDArray[np.bool_]:
        """Return the genomes as an array, or raise ``ShapeError`` unless they are (P, n_bits) booleans."""
        array = np.asarray(genomes)
        if array.dtype != bool or array.ndim != 2 or array.shape[1] != self.n_bits:
            raise ShapeError(
                f"genomes: expected booleans of shape (P, {self.n_bits}), "
                f"got {array.dtype} of shape {array.shape}"
            )
        return array
