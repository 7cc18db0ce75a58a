"""Genomes of sparse networks: one bit for every group of weights of the hidden layers, 1 = keep.

A group are `block` neighbouring weights of one output unit, in the order (input channel, row, column) of the
weight array; the last of a unit may have fewer. With block 1 a genome has a bit for every weight, with the
number of weights of a kernel a bit for every kernel. The layer that makes the classes has no bits: it is
private to a task, and never pruned.

Source: the decision variables of Chen, Xu, Sun, Huang, "Joint sparse neural network compression via
multi-application multi-objective optimization", Applied Intelligence 51(11), 2021, are not published in what
we could read; emoref uses masks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress import channel_map, weighted_layers
from emoref.errors import NetworkError, ProblemError, ShapeError
from emoref.nn import Network, head_of

__all__ = ["MaskGenome"]

Bits = NDArray[np.bool_]


class MaskGenome:
    """Which bit of a genome stands for which weights.

    Parameters
    ----------
    net : Network
        The network.
    block : int, default 1
        Weights of a group.

    Attributes
    ----------
    names : tuple of str
        The hidden layers, in topological order.
    sizes : int64 array, shape (layers,)
        Number of bits of each; a layer's bits are neighbours, unit after unit.
    weights : int64 array, shape (layers,)
        Number of weights of each.
    group_sizes : int64 array, shape (n_bits,)
        Number of weights of each group.
    n_bits : int
        Length of a genome.

    Raises
    ------
    NetworkError
        If the network has no hidden layer, or a grouped convolution.
    ProblemError
        If the block is not positive.
    """

    def __init__(self, net: Network, block: int = 1) -> None:
        if block < 1:
            raise ProblemError(f"block is {block}; a group has at least 1 weight")
        head, shapes = head_of(net), net.param_shapes()
        self.names = tuple(name for name in weighted_layers(net) if name != head)
        if not self.names:
            raise NetworkError(f"network {net.name!r} has no hidden layer whose weights could be pruned")
        for name in self.names:
            if net.node(name).attrs.get("groups", 1) != 1:
                raise NetworkError(f"layer {name!r} is a grouped convolution; masks know ordinary ones alone")
        self._made_from, self.block = (net, block), block
        self.shapes = {name: shapes[f"{name}.weight"] for name in self.names}
        self._fans = [int(np.prod(self.shapes[name][1:])) for name in self.names]
        self._row_bits = [-(-fan // block) for fan in self._fans]
        units = [self.shapes[name][0] for name in self.names]
        self.sizes = np.array([u * g for u, g in zip(units, self._row_bits, strict=True)], dtype=np.int64)
        self.weights = np.array([u * f for u, f in zip(units, self._fans, strict=True)], dtype=np.int64)
        ends = np.cumsum(self.sizes)
        self._slices = [slice(int(e - s), int(e)) for s, e in zip(self.sizes, ends, strict=True)]
        self.n_bits = int(ends[-1])
        self.group_sizes = np.concatenate(
            [
                np.tile(np.minimum(block, fan - block * np.arange(bits)), count)
                for fan, bits, count in zip(self._fans, self._row_bits, units, strict=True)
            ]
        )
        self._links = _Links(net, self.names, self.shapes)

    def __reduce__(self) -> tuple[Any, ...]:
        return MaskGenome, self._made_from

    # --------------------------------------------------------------------------------------- reading

    def masks(self, row: ArrayLike) -> dict[str, Bits]:
        """Return the masks of one genome.

        Parameters
        ----------
        row : bool array, shape (n_bits,)
            The genome.

        Returns
        -------
        dict of str to bool array
            For each hidden layer a mask in the shape of its weight, as
            :func:`emoref.compress.apply_weight_masks` takes it.
        """
        (bits,) = self.checked(np.asarray(row)[None])
        found = {}
        for name, where, fan in zip(self.names, self._slices, self._fans, strict=True):
            rows = bits[where].reshape(self.shapes[name][0], -1)
            found[name] = np.repeat(rows, self.block, axis=1)[:, :fan].reshape(self.shapes[name])
        return found

    def kept(self, genomes: ArrayLike) -> NDArray[np.int64]:
        """Return how many weights every layer keeps.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            The genomes.

        Returns
        -------
        int64 array, shape (P, layers)
            Counted; the sum of a row is the number of kept connections ||M||_0.
        """
        bits = self.checked(genomes)
        return np.stack([bits[:, s] @ self.group_sizes[s] for s in self._slices], axis=1).astype(np.int64)

    def magnitudes(self, params: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the mean magnitude of the weights of every group.

        Parameters
        ----------
        params : mapping of str to array
            The parameters.

        Returns
        -------
        float64 array, shape (n_bits,)
            For block 1, |w|.
        """
        found = []
        for name, fan, bits in zip(self.names, self._fans, self._row_bits, strict=True):
            rows = np.abs(params[f"{name}.weight"].astype(np.float64)).reshape(-1, fan)
            starts = self.block * np.arange(bits)
            found.append(
                (np.add.reduceat(rows, starts, axis=1) / np.minimum(self.block, fan - starts)).ravel()
            )
        return np.concatenate(found)

    def checked(self, genomes: ArrayLike) -> Bits:
        """Return genomes as an array, if they are booleans of the right length.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            The genomes.

        Raises
        ------
        ShapeError
            If they are not.
        """
        rows = np.asarray(genomes)
        if rows.dtype != np.bool_ or rows.ndim != 2 or rows.shape[1] != self.n_bits:
            raise ShapeError(
                f"genomes must be booleans of shape (P, {self.n_bits}), "
                f"got {rows.dtype} of shape {rows.shape}"
            )
        return rows

    # --------------------------------------------------------------------------------------- repairing

    def repair(self, genomes: ArrayLike, magnitudes: NDArray[np.float64]) -> Bits:
        """Restore connections without which a genome makes no sense.

        Every layer keeps a connection; and a unit that is read, because a later hidden layer keeps a
        connection from it, keeps one itself. In both cases the strongest group is restored. Where additions
        tie units of several layers, a connection to any of them before the reader suffices, and otherwise the
        first of them gets it.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            The genomes; not changed.
        magnitudes : float array, shape (n_bits,)
            Strength of each group; see :meth:`magnitudes`. Of equal ones the first is restored.

        Returns
        -------
        bool array, shape (P, n_bits)
            With every bit of the genomes, and perhaps more. What is repaired stays as it is.
        """
        bits = self.checked(genomes).copy()
        links = self._links
        read = np.zeros((len(bits), links.count), dtype=bool)  # by later layers, and not made yet
        for layer in reversed(range(len(self.names))):
            where, made = self._slices[layer], links.made[layer]
            rows = bits[:, where].reshape(len(bits), -1, self._row_bits[layer])
            strength = magnitudes[where].reshape(rows.shape[1:])
            missing = read[:, made] & ~rows.any(axis=2) & (links.first[made] == layer)
            candidates, units = np.nonzero(missing)
            rows[candidates, units, strength.argmax(axis=1)[units]] = True
            dead = np.flatnonzero(~rows.any(axis=(1, 2)))
            unit, group = np.unravel_index(int(strength.argmax()), strength.shape)
            rows[dead, int(unit), int(group)] = True
            read[:, made] &= ~rows.any(axis=2)
            used: Bits = np.asarray(rows.any(axis=1))
            read |= links.reading(layer, used[:, np.arange(self._fans[layer]) // self.block])
            bits[:, where] = rows.reshape(len(bits), -1)
        return bits

    def fitted(self, row: ArrayLike, budget: int, magnitudes: NDArray[np.float64]) -> Bits:
        """Return the genome nearest in kind that keeps at most `budget` weights, and as many as it can.

        In every layer the kept groups come first, by strength, then the removed ones, by strength. Of each
        layer so many are taken that the layers keep the proportions of the genome: removing takes the
        weakest, adding the strongest.

        Parameters
        ----------
        row : bool array, shape (n_bits,)
            The genome.
        budget : int
            Kept weights at most.
        magnitudes : float array, shape (n_bits,)
            Strength of each group.

        Returns
        -------
        bool array, shape (n_bits,)
            Repaired. With block 1 it keeps exactly `budget` weights, but for rare cases in which no single
            weight could be added without a second.

        Raises
        ------
        ProblemError
            If not even the strongest connection of every layer, repaired, fits the budget.
        """
        bits: Bits = self.repair(np.asarray(row)[None], magnitudes)[0]
        order = np.argsort(self._places(bits, magnitudes), kind="stable")
        reached = np.cumsum(self.group_sizes[order])
        target = budget
        while target > 0:
            found = np.zeros((1, self.n_bits), dtype=bool)
            found[0, order[: np.searchsorted(reached, target, side="right")]] = True
            found = self.repair(found, magnitudes)
            kept = int(self.kept(found).sum())
            if kept <= budget:
                return self._filled(found[0], order, budget - kept)
            target -= kept - budget
        raise ProblemError(
            f"no mask keeps at most {budget} of {int(self.weights.sum())} weights in working order"
        )

    def _places(self, bits: Bits, magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each group's place in its layer, in units of the number of groups that the layer keeps."""
        places = np.empty(self.n_bits)
        for where in self._slices:
            kept = bits[where]
            order = np.lexsort((-magnitudes[where], ~kept))
            rank = np.empty(len(order))
            rank[order] = np.arange(1, len(order) + 1)
            places[where] = rank / kept.sum()
        return places

    def _filled(self, bits: Bits, order: NDArray[np.int64], room: int) -> Bits:
        """Add groups in an order while there is room, if all units that they read have connections."""
        if room == 0:
            return bits
        links = self._links
        fed = np.ones(links.count, dtype=bool)
        fed[links.first >= 0] = False
        for layer, where in enumerate(self._slices):
            # Of layers tied by additions the first: what it makes is there for every reader.
            first = links.first[links.made[layer]] == layer
            alive: Bits = np.asarray(bits[where].reshape(-1, self._row_bits[layer]).any(axis=1))
            fed[links.made[layer][first]] = alive[first]
        harmless = []
        for layer, row_bits in enumerate(self._row_bits):
            whole = np.logical_and.reduceat(fed[links.inputs[layer]], self.block * np.arange(row_bits))
            harmless.append(np.tile(whole, self.shapes[self.names[layer]][0]))
        for group in order[(np.concatenate(harmless) & ~bits)[order]]:
            if self.group_sizes[group] <= room:
                bits[group] = True
                room -= int(self.group_sizes[group])
                if room == 0:
                    break
        return bits

    # --------------------------------------------------------------------------------------- packing

    @property
    def packed_bytes(self) -> int:
        """Bytes of a packed genome."""
        return -(-self.n_bits // 8)

    def pack(self, genomes: ArrayLike) -> NDArray[np.uint8]:
        """Return genomes with eight bits a byte, shape (P, packed_bytes).

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            The genomes.
        """
        return np.packbits(self.checked(genomes), axis=1)

    def unpack(self, packed: ArrayLike) -> Bits:
        """Return the genomes that :meth:`pack` packed.

        Parameters
        ----------
        packed : uint8 array, shape (P, packed_bytes)
            Packed genomes.

        Raises
        ------
        ShapeError
            If they are not.
        """
        rows = np.asarray(packed)
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != self.packed_bytes:
            raise ShapeError(
                f"packed genomes must be uint8 of shape (P, {self.packed_bytes}), "
                f"got {rows.dtype} of shape {rows.shape}"
            )
        return np.unpackbits(rows, axis=1, count=self.n_bits).astype(bool)


class _Links:
    """Which units a layer makes, and which it reads; units tied by additions are one.

    Attributes
    ----------
    count : int
        Number of units of the network, its input included.
    made : list of int array
        For each layer, the unit of each row.
    inputs : list of int array
        For each layer, the unit behind each position of a row.
    first : int array, shape (count,)
        The first layer that makes the unit; -1 for those of the input.
    """

    def __init__(self, net: Network, names: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
        channels = channel_map(net)
        self.count = len(channels.pinned)
        self.made = [channels.sources[name] for name in names]
        self.inputs = [
            np.repeat(
                channels.values[net.node(name).inputs[0]], int(np.prod(shapes[name][2:], dtype=np.int64))
            )
            for name in names
        ]
        self.first: NDArray[np.int64] = np.full(self.count, -1, dtype=np.int64)
        for layer in reversed(range(len(names))):
            self.first[self.made[layer]] = layer
        self._sorted = []
        for units in self.inputs:
            order = np.argsort(units, kind="stable")
            found, starts = np.unique(units[order], return_index=True)
            self._sorted.append((order, found, starts))

    def reading(self, layer: int, positions: Bits) -> Bits:
        """Return which units are read by a layer, from which positions of a row any of its rows keeps."""
        order, units, starts = self._sorted[layer]
        read = np.zeros((len(positions), self.count), dtype=bool)
        read[:, units] = np.logical_or.reduceat(positions[:, order], starts, axis=1)
        return read
