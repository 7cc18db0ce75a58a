"""The tables of an EMOMC run: fronts, networks with their costs, energies by layer, library, progress."""

from collections.abc import Mapping
from math import fsum

import numpy as np
from numpy.typing import NDArray

from emoref.compress.energy import CODINGS, COMPONENTS, DATAFLOWS, EnergyTable, aggregation_score
from emoref.emo import hypervolume
from emoref.errors import ConfigError
from emoref.report.tables import Cell, Table
from emoref.runs.compressed import CompressedRecord
from emoref.runs.record import RunRecord
from emoref.runs.store import SearchStore, front_rows
from emoref.systems.emomc_costs import ModelSection, base_energy

PAPER_ENERGY_MJ = {
    "EMOMC": (0.3, (1.7, 1.7, 2.3, 2.6), (14.0, 12.2, 10.4, 8.9)),
    "Pruning Filters": (0.2, (18.5, 19.6, 18.5, 19.3), (1.2, 1.1, 1.3, 1.2)),
    "Play and Prune": (0.1, (9.5, 12.6, 9.5, 11.2), (2.4, 1.7, 2.5, 2.0)),
}
"""Table II (VGG-16, CIFAR-10): points of accuracy lost; energy in mJ and factor under each dataflow."""

PAPER_SIZE_MB = {
    "EMOMC": (0.3, (9.8, 8.0, 24.5), (6.1, 7.4, 2.4)),
    "Pruning Filters": (0.2, (34.7, 37.9, 57.3), (1.7, 1.6, 1.0)),
    "Play and Prune": (0.1, (15.1, 16.5, 24.6), (3.9, 3.6, 2.4)),
}
"""Table III (VGG-16, CIFAR-10): points of accuracy lost; size in MB and factor under each coding."""

MJ_PER_PJ = 1e-9
MB_PER_BIT = 1 / 8e6


def plan_order(name: str) -> tuple[int, str]:
    """Return the sorting key of a search: the paper's dataflows, its codings, then the others."""
    known = [f"energy-{d.replace(':', '-')}" for d in DATAFLOWS] + [f"size-{c}" for c in CODINGS]
    return (known.index(name) if name in known else len(known)), name


def searches(record: RunRecord) -> list[tuple[str, SearchStore]]:
    """Return the searches of a run, in the order of :func:`plan_order`."""
    return sorted(record.searches.items(), key=lambda item: plan_order(item[0]))


def networks(record: RunRecord) -> list[CompressedRecord]:
    """Return the written networks, search by search."""
    return sorted(record.compressed, key=lambda n: (plan_order(n.search), n.name))


def costs_of(store: SearchStore) -> list[str]:
    """Return the names of the objectives beside the error."""
    return [str(name) for name in store.layout["objectives"][1:]]


def ratios_of(store: SearchStore, genomes: NDArray) -> NDArray[np.float64]:
    """Return the remaining ratio that each genome chooses."""
    ratios = np.array(store.layout["ratios"], dtype=np.float64)
    if store.layout.get("genes") == "reals":
        return ratios[np.searchsorted(100 * ratios - 1e-9, genomes[:, 0], side="right") - 1]
    return ratios[genomes[:, 0].astype(np.int64)]


def fronts_table(record: RunRecord) -> Table:
    """Return the final front of every search, lowest error first."""
    layers = _layers(record)
    columns = (
        "search",
        "order",
        "remaining_ratio",
        *(f"bits_{name}" for name in layers),
        "wrong",
        "error",
        "energy_pj",
        "size_bits",
    )
    rows: list[tuple[Cell, ...]] = []
    for name, store in searches(record):
        last = store.generations[-1]
        members, costs = front_rows(last), costs_of(store)
        genomes, values = last.genomes[members], last.objectives[members]
        for order, (genome, ratio, found) in enumerate(
            zip(genomes, ratios_of(store, genomes), values, strict=True), start=1
        ):
            by_name = {cost.partition(" ")[0]: float(v) for cost, v in zip(costs, found[1:], strict=True)}
            rows.append(
                (
                    name,
                    order,
                    float(ratio),
                    *(_number(q) for q in genome[1:]),
                    round(float(found[0]) * int(store.layout["images"])),
                    float(found[0]),
                    by_name.get("energy"),
                    by_name.get("size"),
                )
            )
    return Table("fronts", columns, tuple(rows))


def networks_table(record: RunRecord) -> Table:
    """Return the written networks: settings, costs and factors, parts of the file, errors."""
    layers, found = _layers(record), networks(record)
    codings = list(dict.fromkeys(coding for network in found for coding in network.sizes_bits))
    columns = (
        "name",
        "search",
        "choice",
        "remaining_ratio",
        "nonzero_ratio",
        *(f"bits_{name}" for name in layers),
        *(f"{q}_{d}" for d in DATAFLOWS for q in ("energy_pj", "energy_factor")),
        *(f"{q}_{c}" for c in codings for q in ("size_bits", "size_factor")),
        "file_bytes",
        "header_bytes",
        "weight_bytes",
        "other_bytes",
        "promised_bytes",
        "validation_images",
        "validation_wrong",
        "validation_error",
        "test_images",
        "test_wrong",
        "test_error",
        "test_error_increase",
    )
    return Table("networks", columns, tuple(_network_row(record, n, layers, codings) for n in found))


def _network_row(
    record: RunRecord, network: CompressedRecord, layers: list[str], codings: list[str]
) -> tuple[Cell, ...]:
    test, base = network.test, record.base.test if record.base is not None else None
    costs: list[Cell] = []
    for dataflow in DATAFLOWS:
        costs += [network.energies_pj[dataflow], network.energy_factor(dataflow)]
    for coding in codings:
        known = coding in network.sizes_bits
        costs += [network.sizes_bits[coding], network.size_factor(coding)] if known else [None, None]
    return (
        network.name,
        network.search,
        network.choice,
        network.remaining_ratio,
        sum(network.nonzero.values()) / sum(network.weights.values()),
        *(network.bits.get(name) for name in layers),
        *costs,
        network.file_bytes,
        network.header_bytes,
        network.weight_bytes,
        network.other_bytes,
        network.promised_bytes or None,
        network.validation.images,
        network.validation.wrong,
        network.validation.error,
        *((test.images, test.wrong, test.error) if test is not None else (None, None, None)),
        None if test is None or base is None else test.error - base.error_after,
    )


def energy_table(record: RunRecord) -> Table:
    """Return the energy of base and written networks by layer and component, under every dataflow."""
    columns = ("network", "dataflow", "layer", *(f"{name}_pj" for name in COMPONENTS), "total_pj")
    rows: list[tuple[Cell, ...]] = []
    for dataflow, table in base_energies(record).items():
        rows += [
            ("base", dataflow, layer.name, *layer.components_pj.values(), layer.energy_pj)
            for layer in table.layers
        ]
    for network in networks(record):
        for dataflow, layers in network.breakdown_pj.items():
            rows += [(network.name, dataflow, name, *parts, fsum(parts)) for name, parts in layers.items()]
    return Table("energy", columns, tuple(rows))


def base_energies(record: RunRecord) -> Mapping[str, EnergyTable]:
    """Return the energy of the uncompressed network under every dataflow; empty before it exists."""
    if record.network is None:
        return {}
    section = ModelSection.model_validate(record.config.get("model", {}))
    return {dataflow: base_energy(record.network, dataflow, section) for dataflow in DATAFLOWS}


def library_table(record: RunRecord) -> Table:
    """Return the pruned models of the library, fewest weights first."""
    columns = ("remaining_ratio", "validation_images", "validation_wrong", "validation_error")
    rows = tuple(
        (model["remaining_ratio"], model.get("images"), model.get("wrong"), model.get("error"))
        for model in record.library
    )
    return Table("library", columns, rows)


def generations_table(record: RunRecord) -> Table:
    """Return the progress of every search, one row a generation.

    The hypervolume is that of the front up to all predictions wrong and the costs of the uncompressed
    network, as a share of that box; of searches with two objectives.
    """
    figures = ("evaluations", "front_size", "lowest_error", "lowest_cost", "hypervolume")
    columns = ("search", "generation", *figures)
    rows: list[tuple[Cell, ...]] = []
    for name, store in searches(record):
        scale = _base_costs(record, store)
        for g, stored in enumerate(store.generations):
            front = stored.objectives[front_rows(stored)]
            volume: float | None = None
            if scale is not None and front.shape[1] == 2:
                shares = front / [1.0, scale]
                volume = float(hypervolume(shares, np.ones(2))) if len(front) else 0.0
            lowest = (float(front[:, 0].min()), float(front[:, 1].min())) if len(front) else (None, None)
            rows.append((name, g, stored.evaluations, len(front), *lowest, volume))
    return Table("generations", columns, tuple(rows))


def _base_costs(record: RunRecord, store: SearchStore) -> float | None:
    """Return the cost of the uncompressed network in the unit of a search's second objective."""
    if record.network is None:
        return None
    if costs_of(store)[0].startswith("energy"):
        return base_energies(record)[store.layout["dataflow"]].energy_pj
    return 32.0 * sum(int(weights) for _, weights in store.layout["layers"])


def scores_table(record: RunRecord) -> Table:
    """Return the aggregation score of every written network (a reconstruction; see docs/emomc.md).

    By test accuracy where it is known, else validation accuracy; by the cost that its search minimised.
    """
    wanted = record.config.get("select", {}).get("reward_over_penalty", ())
    columns = ("name", "cost", *(f"score_{ratio:g}" for ratio in wanted))
    rows = tuple(
        (network.name, cost, *(_score(record, network, cost, ratio) for ratio in wanted))
        for network in networks(record)
        for cost in own_costs(record, network)
    )
    return Table("scores", columns, rows)


def own_costs(record: RunRecord, network: CompressedRecord) -> list[str]:
    """Return what a network's search minimised beside the error: dataflows and codings."""
    store = record.searches.get(network.search)
    if store is None:
        return []
    layout = store.layout
    under = {"energy": layout["dataflow"], "size": layout["coding"]}
    return [str(under[cost.partition(" ")[0]]) for cost in costs_of(store)]


def factor(network: CompressedRecord, cost: str) -> float:
    """Return how many times less a network takes than the uncompressed one, of a dataflow or a coding."""
    return network.energy_factor(cost) if cost in DATAFLOWS else network.size_factor(cost)


def within_limit(record: RunRecord) -> dict[str, CompressedRecord]:
    """Return by cost the network that was chosen as the cheapest within the allowed validation error.

    Where no network kept the limit the most accurate one bears that name; see :func:`keeps_limit`. A search
    for one cost goes before a search for several.
    """
    chosen = [network for network in record.compressed if network.name.endswith("-within")]
    chosen.sort(key=lambda network: -len(own_costs(record, network)))
    return {cost: network for network in chosen for cost in own_costs(record, network)}


def keeps_limit(record: RunRecord, network: CompressedRecord) -> bool:
    """Return whether a network's validation error is within the allowed increase over the base network's."""
    if record.base is None:
        return False
    limit = record.config.get("select", {}).get("max_error_increase", 0.003)
    return network.validation.error <= record.base.validation.error_after + limit + 1e-9


def _score(record: RunRecord, network: CompressedRecord, cost: str, ratio: float) -> float | None:
    if record.base is None:
        return None
    tested = network.test is not None and record.base.test is not None
    error = network.test.error if tested and network.test else network.validation.error
    base = record.base.test if tested and record.base.test else record.base.validation
    try:
        score = aggregation_score(1 - error, 1 / factor(network, cost), 1 - base.error_after, 1.0, ratio)
    except ConfigError:  # the uncompressed network earns no reward: nothing can be measured by it
        return None
    return float(score)


def all_tables(record: RunRecord) -> list[Table]:
    """Return the tables of a run, finished or not; what is not there yet gives a table without rows."""
    return [
        fronts_table(record),
        networks_table(record),
        generations_table(record),
        library_table(record),
        energy_table(record),
        scores_table(record),
    ]


def _layers(record: RunRecord) -> list[str]:
    for _, store in searches(record):
        return [str(name) for name, _ in store.layout["layers"]]
    return []


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)
