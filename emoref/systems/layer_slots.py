"""Choosing the slots of all layers: importance, one search a layer, and the index matrix they make together.

A *layer* here is a group of layers whose filters can only be removed together (see
:func:`emoref.compress.channel_groups`); in networks without additions that is one convolution or one hidden
linear layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref import compress, emo
from emoref.compress import ChannelGroup, IndexMatrix, LayerSlots
from emoref.errors import ConfigError, NetworkError
from emoref.nn import Network
from emoref.runs.executors import Workers, spread
from emoref.runs.folder import RunFolder
from emoref.runs.store import Generation, SearchStore
from emoref.search import SlotProblem, SlotSearch, nearest_to_ideal, normalised_importance, search_slots
from emoref.seeding import generator

Params = Mapping[str, NDArray[Any]]
Images = Sequence[tuple[NDArray[Any], NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Ranking:
    """How important the filters of several networks are, and how much they differ.

    Attributes
    ----------
    groups : tuple of ChannelGroup
        The layers.
    criteria : tuple of str
        Names of the criteria.
    importance : dict of str to float64 array, shape (criteria, T, n)
        By the group's first layer; each row scaled to [0, 1].
    distances : dict of str to float64 array, shape (T, T, n)
        Relative distances between the tasks' filters in the same slot.
    """

    groups: tuple[ChannelGroup, ...]
    criteria: tuple[str, ...]
    importance: dict[str, NDArray[np.float64]]
    distances: dict[str, NDArray[np.float64]]

    def mean_importance(self) -> list[dict[str, NDArray[np.float64]]]:
        """Return for each task and layer the mean over the criteria, as merging filters takes it."""
        tasks = next(iter(self.importance.values())).shape[1]
        means = {name: values.mean(axis=0) for name, values in self.importance.items()}
        return [
            {layer: means[g.layers[0]][t][g.index[layer]] for g in self.groups for layer in g.layers}
            for t in range(tasks)
        ]


def layer_groups(net: Network) -> tuple[ChannelGroup, ...]:
    """Return the layers to be pruned, hidden linear ones included.

    Raises
    ------
    NetworkError
        If there is none, or channels of one layer are tied to only some of another's, as where a shortcut
        pads channels: keeping a slot of every group would not keep a filter of every layer.
    """
    groups = compress.channel_groups(net, linear=True)
    if not groups:
        raise NetworkError(f"network {net.name!r} has no layer to prune")
    for group in groups:
        for name in group.layers:
            if len(group.index[name]) < group.size:
                raise NetworkError(
                    f"layer {name!r} makes only some of the channels that additions tie it to; filter index "
                    "sharing needs layers that make all of them"
                )
    return groups


def rank_filters(
    nets: Sequence[Network],
    params: Sequence[Params],
    criteria: Sequence[str],
    images: Images,
    seed: int,
    backend: str,
) -> Ranking:
    """Score the filters of every task's network by every criterion, on the task's own images.

    Parameters
    ----------
    nets, params : sequences
        The tasks' networks.
    criteria : sequence of str
        Of :data:`emoref.compress.CRITERIA`.
    images : sequence of tuple (images, labels)
        Training images of each task, for the criteria that need data.
    seed : int
        For the criterion ``"random"``.
    backend : str
        The back end that runs the networks.
    """
    groups = layer_groups(nets[0])
    scores = [
        [
            compress.tied_importance(
                net,
                compress.filter_importance(
                    criterion, net, some, data, generator(seed, "sharing.random", t), backend, linear=True
                ),
            )
            for t, (net, some, data) in enumerate(zip(nets, params, images, strict=True))
        ]
        for criterion in criteria
    ]
    importance, distances = {}, {}
    for group in groups:
        first = group.layers[0]
        importance[first] = np.array(
            [[normalised_importance(_of_group(group, one[first])) for one in of_tasks] for of_tasks in scores]
        )
        distances[first] = _pair_distances(group, params)
    return Ranking(groups, tuple(criteria), importance, distances)


def _of_group(group: ChannelGroup, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the values of the first layer's filters into the order of the group's slots."""
    ordered = np.empty_like(values)
    ordered[group.index[group.layers[0]]] = values
    return ordered


def _pair_distances(group: ChannelGroup, params: Sequence[Params]) -> NDArray[np.float64]:
    tasks = len(params)
    distances = np.zeros((tasks, tasks, group.size))
    for t, u in combinations(range(tasks), 2):
        for name in group.layers:
            weights = [params[task][f"{name}.weight"] for task in (t, u)]
            distances[t, u, group.index[name]] += np.diagonal(compress.filter_distances(*weights))
        distances[t, u] /= len(group.layers)
        distances[u, t] = distances[t, u]
    return distances


def kept_at_rate(slots: int, rate: float) -> int:
    """Return how many of n slots a pruning rate keeps: round((1 - rate) n), halves to even.

    Raises
    ------
    ConfigError
        If that is none.
    """
    kept = round((1.0 - rate) * slots)
    if kept < 1:
        # More than half a filter must be left. The largest rate of three digits that leaves it:
        largest = (ceil(1000 * (1 - 0.5 / slots)) - 1) / 1000
        raise ConfigError(
            f"a pruning rate of {rate:g} would empty a layer of {slots} filters; "
            f"{largest:g} or less keeps one at least"
        )
    return kept


def check_rates(net: Network, rates: Sequence[float]) -> None:
    """Raise ConfigError, naming the layer, if a pruning rate would empty one."""
    for group in layer_groups(net):
        for rate in rates:
            try:
                kept_at_rate(group.size, rate)
            except ConfigError as error:
                raise ConfigError(f"select.rates: layer {group.layers[0]!r}: {error}") from None


@dataclass(frozen=True, eq=False)
class LayerTask:
    """One layer's search, as it travels to a worker."""

    name: str
    problem: SlotProblem
    settings: SlotSearch


def search_layer(task: LayerTask) -> tuple[Generation, Generation]:
    """Search one layer; return its first and its last population. Runs in a worker."""
    initial, algorithm = search_slots(task.problem, task.settings)
    last = algorithm.population
    assert last is not None
    return _generation(initial, len(initial.X)), _generation(last, algorithm.evaluations)


def _generation(population: emo.Population, evaluations: int) -> Generation:
    return Generation(
        genomes=population.X.astype(bool),
        objectives=population.F,
        constraints=np.zeros((len(population.X), 1)),  # repaired genomes break none
        ranks=emo.nondominated_ranks(population.F).astype(np.int64),
        evaluations=evaluations,
    )


def search_layers(
    name: str,
    ranking: Ranking,
    kept: Mapping[str, int] | None,
    least_ratio: float,
    sharing: bool,
    settings: Sequence[SlotSearch],
    workers: Workers | None,
    folder: RunFolder,
    on_layer: Callable[[int, str], None],
    report: Callable[[str], None] = lambda text: None,
) -> dict[str, LayerSlots]:
    """Search every layer that is not stored yet, and choose from each front the solution nearest to ideal.

    Parameters
    ----------
    name : str
        Of the network to be; the searches are stored as ``searches/<name>.<layer>.h5``.
    ranking : Ranking
        Importance and distances.
    kept : mapping of str to int, optional
        Slots that each task keeps, by first layer of the group (pre-specified rate); left out, adaptive.
    least_ratio : float
        Least share of slots that each task keeps with an adaptive rate.
    sharing : bool
        Whether slots may be shared.
    settings : sequence of SlotSearch
        One for each group.
    workers : Workers, optional
        Who searches; by default this process.
    folder : RunFolder
        Where the searches go.
    on_layer : callable
        Told how many layers are done, with one line about the last.
    report : callable, optional
        Called with one line for each search that a worker could not do.

    Returns
    -------
    dict of str to LayerSlots
        For each layer, tied ones included.
    """
    tasks = []
    for group, setting in zip(ranking.groups, settings, strict=True):
        first = group.layers[0]
        problem = SlotProblem(
            ranking.importance[first],
            ranking.distances[first],
            ranking.criteria,
            None if kept is None else kept[first],
            max(1, int(np.ceil(least_ratio * group.size - 1e-9))),
            sharing,
        )
        tasks.append(LayerTask(first, problem, setting))
    stores = [SearchStore.open_or_new(folder.search_file(f"{name}.{t.name}"), _layout(t)) for t in tasks]
    missing = [place for place, store in enumerate(stores) if len(store.generations) < 2]
    folder.make_folder(folder.searches)
    searched = spread(
        search_layer,
        [tasks[i] for i in missing],
        workers,
        lambda task: f"search of layer {task.name!r}",
        report,
    )
    for place, populations in zip(missing, searched, strict=True):
        store = stores[place]
        first_population, last = populations
        store.generations = [first_population]
        store.append(last, {"seed": np.int64(tasks[place].settings.seed)})
    chosen: dict[str, LayerSlots] = {}
    for done, (group, task, store) in enumerate(zip(ranking.groups, tasks, stores, strict=True), start=1):
        kept_slots, shared = chosen_slots(task.problem, store.generations[-1])
        for layer in group.layers:
            where = group.index[layer]
            chosen[layer] = LayerSlots(kept_slots[:, where], shared[where])
        slots = chosen[group.layers[0]]
        on_layer(done, f"{name}, {task.name}: {slots.stored} stored filters, {slots.shared.sum()} shared")
    return chosen


def _layout(task: LayerTask) -> dict[str, object]:
    problem = task.problem
    return {
        "layers": [[task.name, problem.slots]],
        "tasks": problem.tasks,
        "kept": problem.kept or 0,
        "least": problem.least,
        "sharing": problem.sharing,
        "objectives": list(problem.objectives),
        "genome": "tasks x slots bits kept, then slots bits shared",
        "divisions": task.settings.divisions,
        "generations": task.settings.generations,
    }


def chosen_row(generation: Generation) -> int:
    """Return the row of a population whose objectives are nearest to the ideal point of its front."""
    front = np.flatnonzero(generation.ranks == 0)
    return int(front[nearest_to_ideal(generation.objectives[front])])


def chosen_slots(problem: SlotProblem, generation: Generation) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return kept (T, n) and shared (n,) of the chosen row."""
    kept, shared = problem.decode(generation.genomes[chosen_row(generation)][None])
    return kept[0], shared[0]


def strongest_slots(ranking: Ranking, criterion: str, kept: Mapping[str, int]) -> dict[str, LayerSlots]:
    """Return what a single criterion keeps: each task its own strongest filters, nothing shared.

    Parameters
    ----------
    ranking : Ranking
        With that criterion.
    criterion : str
        Which.
    kept : mapping of str to int
        Slots that each task keeps, by first layer of the group.

    Returns
    -------
    dict of str to LayerSlots
        For each layer. Of equal scores the lower slot is kept.
    """
    row = ranking.criteria.index(criterion)
    layers = {}
    for group in ranking.groups:
        first = group.layers[0]
        scores = ranking.importance[first][row]
        order = np.argsort(-scores, axis=1, kind="stable")[:, : kept[first]]
        slots = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(slots, order, True, axis=1)
        for layer in group.layers:
            where = group.index[layer]
            layers[layer] = LayerSlots(slots[:, where], np.zeros(len(where), dtype=bool))
    return layers


def equal_storage(
    nets: Sequence[Network], tasks: Sequence[str], index: IndexMatrix, budget: int
) -> dict[str, int]:
    """Return how many private filters each layer can keep so that no more is stored than `budget` parameters.

    The layers keep the proportions of `index`: kept_l = round(q k_l) with k_l the mean number of slots that a
    task keeps there, at least 1 and at most all; q is the largest that fits the budget.

    Parameters
    ----------
    nets : sequence of Network
        The tasks' unpruned networks.
    tasks : sequence of str
        Their names.
    index : IndexMatrix
        Of the network to be matched.
    budget : int
        Stored parameters at most.

    Returns
    -------
    dict of str to int
        By first layer of the group; where even one filter a layer is too much, one each.
    """
    groups = layer_groups(nets[0])
    means = {g.layers[0]: float(index.layers[g.layers[0]].kept.sum(axis=1).mean()) for g in groups}
    sizes = {g.layers[0]: g.size for g in groups}

    def kept_for(factor: float) -> dict[str, int]:
        return {name: int(np.clip(round(factor * mean), 1, sizes[name])) for name, mean in means.items()}

    def stored(kept: Mapping[str, int]) -> int:
        masks = {
            layer: np.arange(g.size)[g.index[layer]] < kept[g.layers[0]] for g in groups for layer in g.layers
        }
        return sum(compress.count(compress.slim_network(net, masks)).params for net in nets)

    low, high = 0.0, 1.0 + max(sizes[name] / mean for name, mean in means.items())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if stored(kept_for(middle)) <= budget else (low, middle)
    return kept_for(low)
