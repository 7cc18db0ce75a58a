"""Slimmed candidates that are evaluated together, and the order in which groups of them part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress import count
from emoref.nn import Network
from emoref.nn.fused import Plan
from emoref.nn.parts import nodes_between
from emoref.search.sharing import SharingPlan

__all__ = ["Candidate", "Runs", "descend", "pick", "split"]

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Runs:
    """Parts of one network that have run, by what was given and wanted: their plans and their costs."""

    plans: dict[Any, Plan] = field(default_factory=dict)
    macs: dict[Any, int] = field(default_factory=dict)

    def macs_between(self, net: Network, given: Values, wanted: Sequence[str]) -> int:
        """Return the multiply-accumulates for one image of the nodes between given and wanted results."""
        key = (*given, "to", *wanted)
        if key not in self.macs:
            running = {node.name for node in nodes_between(net, given, wanted)}
            self.macs[key] = sum(layer.macs for layer in count(net).layers if layer.name in running)
        return self.macs[key]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A slimmed candidate: which channels it keeps, and what tells it apart at each level.

    Attributes
    ----------
    position : int
        Its place in the population.
    net : Network
        The slimmed network.
    params : mapping of str to array
        Its parameters behind the stem; empty where they are cut on a device.
    param_bytes : int
        Bytes of these.
    kept : mapping of str to bool array
        The channels of every value that stay.
    keys : tuple of bytes
        Its bits that matter up to each level.
    runs : Runs
        What has run of it.
    """

    position: int
    net: Network
    params: Values
    param_bytes: int
    kept: Mapping[str, NDArray[np.bool_]]
    keys: tuple[bytes, ...]
    runs: Runs = field(default_factory=Runs)


def split(group: Sequence[Candidate], level: int) -> list[list[Candidate]]:
    """Part candidates by the bits that matter up to a level, in order of appearance."""
    parts: dict[bytes, list[Candidate]] = {}
    for candidate in group:
        parts.setdefault(candidate.keys[level], []).append(candidate)
    return list(parts.values())


def pick(value: NDArray[Any], kept: NDArray[np.bool_], channels: Any = None) -> NDArray[Any]:
    """Return the channels (axis 1) of a value that are kept; `channels` are their numbers, where known."""
    if kept.all():
        return value
    return value.take(np.flatnonzero(kept) if channels is None else channels, axis=1)


def descend(
    plan: SharingPlan,
    group: Sequence[Candidate],
    level: int,
    values: Values,
    run: Callable[[Candidate, Values, str], Any],
) -> Iterator[tuple[Candidate, Any]]:
    """Yield the logits of candidates that agree up to `level`, given their values there.

    The group goes on as one to the last cut at which all its masks still agree, and parts after it. Values
    are therefore held for the points where groups part, not for every layer.

    Parameters
    ----------
    plan : SharingPlan
        Where candidates may part.
    group : sequence of Candidate
        The candidates.
    level : int
        Where they stand.
    values : mapping of str to array
        Their values there.
    run : callable
        Called with a candidate, values and the name of a later value; returns that value.
    """
    if len(group) == 1:
        yield group[0], run(group[0], values, group[0].net.output.name)
        return
    together = level
    while together + 1 < len(plan.cuts) and len(split(group, together + 1)) == 1:
        together += 1
    if together > level:
        cut = plan.cuts[together]
        values = {cut: run(group[0], values, cut)}
    for subgroup in split(group, together + 1):
        yield from descend(plan, subgroup, together, values, run)
