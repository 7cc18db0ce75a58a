"""Where a network can be divided into stages that are pruned one by one.

Not published in detail for EMO-DIR, which divides ResNets and VGGs; emoref cuts where the size of the maps
changes: the residual stages of a ResNet, the blocks between the poolings of a VGG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from emoref.compress.groups import prunable_layers
from emoref.errors import NetworkError
from emoref.nn import Network, cut_points, join

__all__ = ["Division", "Stages", "divide", "find_stages"]


@dataclass(frozen=True)
class Stages:
    """Where a network is cut: behind its stem and behind every stage.

    Attributes
    ----------
    stem : str
        The last node before the first stage; empty if the first stage begins with the images.
    ends : tuple of str
        The last node of each stage, in order. What follows the last one is the head.
    """

    stem: str
    ends: tuple[str, ...]

    @property
    def cuts(self) -> tuple[str, ...]:
        """All cuts, in order."""
        return (self.stem, *self.ends) if self.stem else self.ends


def find_stages(net: Network) -> Stages:
    """Divide a network where the height or width of its maps changes.

    A stage ends with the last node of its map size through which everything passes. A stage in which nothing
    could be pruned (its last filters never can: the next stage reads them) is joined to the one behind it,
    the last one to the one before. The stem is what lies before the first residual block; without residual
    blocks, before the first layer that can be pruned.

    Parameters
    ----------
    net : Network
        The network.

    Returns
    -------
    Stages
        At least one stage.

    Raises
    ------
    NetworkError
        If nothing can be pruned between two cuts.

    Examples
    --------
    >>> from emoref.networks import build
    >>> find_stages(build("resnet20", input_shape=(3, 32, 32), classes=10))
    Stages(stem='relu', ends=('s1b3_relu', 's2b3_relu', 's3b3_relu'))
    """
    points = [name for name in cut_points(net) if len(net.shapes[name]) == 3]
    last_of_size = {net.shapes[name][1:]: name for name in points}
    ends: list[str] = []
    for name in last_of_size.values():
        (*_, stage, _) = net.split([*ends, name])
        if prunable_layers(stage):
            ends.append(name)
    if not ends:
        raise NetworkError(
            f'network "{net.name}" cannot be divided: no filter can be pruned between two of its cuts'
        )
    # What is left over at the end belongs to the last stage.
    ends[-1] = list(last_of_size.values())[-1]
    first = net.split(ends)[0]
    branching = [node.name for node in first.nodes if len(first.consumers(node.name)) > 1]
    order = [node.name for node in net.nodes]
    last = order.index(branching[0] if branching else next(iter(prunable_layers(first))))
    before = [name for name in points if order.index(name) < last + bool(branching)]
    return Stages(before[-1] if before else "", tuple(ends))


@dataclass(frozen=True)
class Division:
    """A network in parts that follow each other.

    Attributes
    ----------
    stem : Network or None
        What comes before the stages; None if nothing does.
    stages : tuple of Network
        What is pruned; the shapes of their inputs and results stay, so that pruned stages fit together.
    head : Network
        What follows.
    """

    stem: Network | None
    stages: tuple[Network, ...]
    head: Network

    @property
    def parts(self) -> tuple[Network, ...]:
        """All parts, in order."""
        return (*(() if self.stem is None else (self.stem,)), *self.stages, self.head)

    def before(self, stage: int) -> Network | None:
        """Return what leads from the images to a stage (counted from 0); None if nothing does."""
        parts = self.parts[: -1 - len(self.stages[stage:])]
        return join(parts) if parts else None

    def after(self, stage: int) -> Network:
        """Return what leads from the result of a stage (counted from 0) to the logits."""
        return join(self.parts[-1 - len(self.stages[stage + 1 :]) :])


def divide(net: Network, stages: Stages) -> Division:
    """Cut a network into its stem, its stages and its head.

    Parameters
    ----------
    net : Network
        The network.
    stages : Stages
        Where.

    Returns
    -------
    Division
        ``join(divide(net, stages).parts) == net``.

    Raises
    ------
    NetworkError
        If a cut is impossible (see :func:`emoref.nn.split.split`), the cuts are not in the network's order,
        or a stage has nothing that could be pruned.
    """
    if not stages.ends:
        raise NetworkError("there is no stage: name the last node of at least one")
    parts = net.split(stages.cuts)
    _check_order(net, stages.cuts)
    stem, chosen = (parts[0], parts[1:-1]) if stages.stem else (None, parts[:-1])
    for part in chosen:
        if not prunable_layers(part):
            raise NetworkError(
                f'the stage that ends with "{part.output.name}" (from "{part.nodes[0].name}") has nothing '
                "prunable: all its filters are read behind it or tied to such; put it together with a "
                "neighbouring stage"
            )
    return Division(stem, chosen, parts[-1])


def _check_order(net: Network, cuts: Sequence[str]) -> None:
    order = [node.name for node in net.nodes]
    for earlier, later in pairwise(cuts):
        if order.index(later) < order.index(earlier):
            raise NetworkError(
                f'network "{net.name}": cut "{later}" is named after "{earlier}", but lies before it'
            )
