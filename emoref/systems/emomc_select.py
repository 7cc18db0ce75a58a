"""The end of EMOMC: networks are chosen from the fronts, written to real bits, and tested once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emoref import emo, nn
from emoref.compress import load_emz, save_emz
from emoref.compress.energy import CODINGS, DATAFLOWS
from emoref.data import load
from emoref.errors import ConfigError, FileFormatError
from emoref.nn import Network
from emoref.runs.compressed import (
    CompressedRecord,
    Count,
    compressed_names,
    read_compressed,
    write_compressed,
)
from emoref.runs.config import ExperimentConfig, Probability, Section
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.record import Outcome, read_network_record
from emoref.runs.store import SearchStore
from emoref.search import QuantizedEvaluator
from emoref.systems import steps
from emoref.systems.emomc_costs import Costs
from emoref.systems.emomc_search import Accuracy, CompressionProblem, SearchPlan, searches
from emoref.systems.steps import Params, Splits

__all__ = ["SelectSection", "Selection", "select_all", "test_all", "write_models"]

_CHECKED = 20
"""How many of the cheapest candidates are looked at on all validation images, and of the others as many."""


class SelectSection(Section):
    """Which members of each front are written and tested."""

    max_error_increase: Probability = 0.003  # the cheapest network within it; the paper's 0.3 %
    knee: bool = True
    budgets: tuple[Annotated[float, Field(gt=0)], ...] = ()  # most accurate within, as share of uncompressed
    reward_over_penalty: tuple[Annotated[float, Field(gt=0)], ...] = (5.0, 1.0, 0.2)  # aggregation scores


@dataclass(frozen=True)
class Selection:
    """A candidate that is to be written.

    Attributes
    ----------
    plan : SearchPlan
        The search that it is from.
    name, choice : str
        Its name, and why it was chosen.
    row : float64 array, shape (1 + layers,)
        Number of the library model, and whole bits.
    searched, validation : Count
        Errors on the search's images and on all validation images.
    """

    plan: SearchPlan
    name: str
    choice: str
    row: NDArray[np.float64]
    searched: Count
    validation: Count


def select_all(
    stores: Mapping[str, SearchStore],
    accuracy: Accuracy,
    costs: Costs,
    config: ExperimentConfig,
    splits: Splits,
    folder: RunFolder,
    progress: Progress,
) -> list[Selection]:
    """Choose networks for every search.

    A search chooses among all networks that any search has met: their errors are known, and what they cost
    under its dataflow or coding is a formula. The cheapest network within ``max_error_increase`` is the
    first, from the cheapest on, that keeps it on all validation images as well; where the 20 cheapest do not,
    20 of the others are looked at, evenly spaced up to the dearest.

    Raises
    ------
    ConfigError
        If no network satisfies a search's constraints.
    """
    section = config.search  # type: ignore[attr-defined]
    met = np.concatenate([g.genomes for store in stores.values() for g in store.generations])
    met = np.unique(met, axis=0)
    checker = _Checker(config, costs, splits, folder)
    found: list[Selection] = []
    for plan in searches(section):
        front = _Front.of(plan, met, accuracy, costs, config)
        found += _choose(front, checker, config.select)  # type: ignore[attr-defined]
        names = ", ".join(s.name for s in found if s.plan == plan)
        progress.note(f"search {plan.name}: {names}")
    return found


@dataclass(frozen=True, eq=False)
class _Front:
    """The non-dominated networks of one search: candidates, errors and costs, cheapest first."""

    plan: SearchPlan
    rows: NDArray[np.float64]
    errors: NDArray[np.float64]
    costs: NDArray[np.float64]  # (N, objectives beside the error), as shares of the uncompressed network's
    images: int
    base_error: float

    @classmethod
    def of(
        cls, plan: SearchPlan, met: NDArray[Any], accuracy: Accuracy, costs: Costs, config: Any
    ) -> "_Front":
        problem = CompressionProblem(plan, accuracy, costs, config.search)
        F, G = problem.evaluate(met)
        allowed = np.flatnonzero(np.isfinite(F).all(axis=1) & (G <= 0).all(axis=1))
        if len(allowed) == 0:
            raise ConfigError(
                f"search {plan.name}: no network satisfies the constraints; allow more (search.max_error, "
                "search.energy_limit, search.size_limit) or search longer (search.generations)"
            )
        best = allowed[emo.nondominated_ranks(F[allowed]) == 0]
        base = {"energy": costs.base_energy(plan.dataflow).energy_pj, "size": costs.base_size_bits()}
        shares = F[best, 1:] / [base[what] for what in plan.objectives]
        order = np.lexsort((F[best, 0], shares.prod(axis=1)))
        return cls(
            plan,
            problem.costed(met[best[order]]),
            F[best[order], 0],
            shares[order],
            accuracy.images,
            accuracy.base_wrong / accuracy.images,
        )

    @property
    def joint_costs(self) -> NDArray[np.float64]:
        """One number a network: its share of the uncompressed cost, of two costs the product of both."""
        return self.costs.prod(axis=1)


class _Checker:
    """Errors on all validation images, of which a search may have seen a part."""

    def __init__(self, config: Any, costs: Costs, splits: Splits, folder: RunFolder) -> None:
        library, method = costs.library, config.model.quantizer
        images, labels = splits.validation.arrays()
        self._evaluator = QuantizedEvaluator(
            library.net, library.models, images, labels, method, config.engine.table
        )
        self.base_error = read_network_record(folder, "base").validation.error_after

    def count(self, row: NDArray[np.float64]) -> Count:
        return Count(self._evaluator.total, int(self._evaluator.wrong_counts(row[None])[0]))


def _choose(front: _Front, checker: _Checker, section: SelectSection) -> list[Selection]:
    """Return the chosen members; one chosen twice is listed once, with both reasons."""
    chosen: dict[int, tuple[str, str]] = {}

    def take(place: int, name: str, why: str) -> None:
        first, reasons = chosen.get(place, (name, ""))
        chosen[place] = (first, f"{reasons}; {why}" if reasons else why)

    place, why = _cheapest_within(front, checker, section.max_error_increase)
    take(place, "within", why)
    if section.knee:
        take(emo.knee(np.column_stack((front.errors, front.costs))), "knee", "knee of the front")
    for budget in section.budgets:
        fits = np.flatnonzero((front.costs <= budget).all(axis=1))
        if len(fits) == 0:
            raise ConfigError(
                f"select.budgets: search {front.plan.name} has no network that costs at most {budget:g} of "
                f"the uncompressed one; the smallest share is {front.costs.max(axis=1).min():.3g}"
            )
        best = int(fits[np.argmin(front.errors[fits])])
        take(best, f"budget-{budget:g}", f"most accurate with at most {budget:g} of the uncompressed cost")
    return [
        Selection(
            front.plan,
            f"{front.plan.name}-{name}",
            why,
            front.rows[i],
            Count(front.images, round(front.errors[i] * front.images)),
            checker.count(front.rows[i]),
        )
        for i, (name, why) in chosen.items()
    ]


def _cheapest_within(front: _Front, checker: _Checker, increase: float) -> tuple[int, str]:
    """Return the cheapest member whose error is at most `increase` above the base network's, and why."""
    # Errors are counts over images: a thousandth of an image keeps rounding from deciding.
    slack = 1e-3 / front.images
    within = np.flatnonzero(front.errors <= front.base_error + increase + slack)
    for place in _looked_at(within):
        if checker.count(front.rows[place]).error <= checker.base_error + increase + 1e-9:
            return int(place), f"cheapest with at most {100 * increase:g} points more validation error"
    return int(np.argmin(front.errors)), (
        f"most accurate: none was found with at most {100 * increase:g} points more validation error"
    )


def _looked_at(within: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return which of the candidates, cheapest first, are looked at: the cheapest, then evenly spaced ones.

    Few images let many cheap candidates pass by luck; what is dearer errs less often, so that the way to the
    last one is walked in steps.
    """
    if len(within) <= 2 * _CHECKED:
        return within
    further = np.linspace(_CHECKED, len(within) - 1, _CHECKED).astype(np.intp)
    return np.concatenate([within[:_CHECKED], within[further]])


def write_models(
    selections: list[Selection], costs: Costs, config: ExperimentConfig, folder: RunFolder, progress: Progress
) -> None:
    """Write every chosen network as ``.emz``, with its figures beside it, and read it back.

    The file of a search for size is written with the coder that its coding stands for, other files with the
    smallest coder of each layer.

    Raises
    ------
    FileFormatError
        If a file cannot be written, or does not give back what was written.
    """
    folder.make_folder(folder.models)
    progress.stage("write models", len(selections))
    for done, selection in enumerate(selections, start=1):
        if selection.name not in compressed_names(folder):
            write_compressed(folder, _write_model(selection, costs, config, folder))
        progress.step(done, selection.name)


def _write_model(selection: Selection, costs: Costs, config: Any, folder: RunFolder) -> CompressedRecord:
    row, plan = selection.row, selection.plan
    sized = plan.objectives == ("size",)
    compressed = costs.compressed(row)
    path = folder.models / f"{selection.name}.emz"
    size = save_emz(
        path,
        compressed,
        costs.coders(plan.coding if sized else "smallest"),
        notes={"search": plan.name, "choice": selection.choice},
    )
    written, params = load_emz(path).params(), compressed.params()
    if any(not np.array_equal(written[name], params[name]) for name in params):
        raise FileFormatError(f"{path}: does not give back the weights that were written")
    sections = {s.name.removesuffix(".weight"): s for s in size.sections if s.coder != "raw"}
    is_promise = sized and costs.is_measured(plan.coding)
    promised = int(costs.sizes(plan.coding, row[None])[0]) // 8 if is_promise else 0
    base_energies = {dataflow: costs.base_energy(dataflow).energy_pj for dataflow in DATAFLOWS}
    codings = dict.fromkeys((*CODINGS, *config.search.codings, plan.coding))
    record = CompressedRecord(
        name=selection.name,
        search=plan.name,
        choice=selection.choice,
        remaining_ratio=costs.library.ratios[int(row[0])],
        bits={layer: int(q) for layer, q in zip(costs.layers, row[1:], strict=True)},
        nonzero={layer: int(np.count_nonzero(params[f"{layer}.weight"])) for layer in costs.layers},
        weights={layer: params[f"{layer}.weight"].size for layer in costs.layers},
        energies_pj={d: float(costs.energies(d, row[None])[0]) for d in DATAFLOWS},
        sizes_bits={c: float(costs.sizes(c, row[None])[0]) for c in codings},
        base_energies_pj=base_energies,
        base_size_bits=costs.base_size_bits(),
        coders={layer: section.coder for layer, section in sections.items()},
        promised_bytes=promised,
        weight_bytes=sum(section.bytes for section in sections.values()),
        other_bytes=sum(section.bytes for section in size.sections if section.coder == "raw"),
        header_bytes=size.header_bytes,
        searched=selection.searched,
        validation=selection.validation,
        breakdown_pj={
            dataflow: {
                layer.name: list(layer.components_pj.values())
                for layer in costs.energy_table(dataflow, row).layers
            }
            for dataflow in DATAFLOWS
        },
    )
    folder.log("written", network=record.name, file_bytes=record.file_bytes)
    return record


def test_all(
    config: ExperimentConfig, base: tuple[Network, Params], folder: RunFolder, progress: Progress
) -> None:
    """Measure the base network and every written one on the test set: the only place that touches it.

    What is measured is what the file holds. What has been measured is not measured again.
    """
    net, params = base
    before = read_network_record(folder, "base")
    records = [read_compressed(folder, name) for name in compressed_names(folder)]
    if before.test is None or any(record.test is None for record in records):
        images, labels = load(config.data.name, "test").arrays()
        backend = config.engine.table
        progress.stage("test set", 1 + len(records))
        if before.test is None:
            found = nn.evaluate(net, params, images, labels, backend=backend)
            outcome = Outcome(found.total, found.wrong, found.wrong)
            measured = replace(before, test=outcome, size_bytes=0)
            extra = {**nn.load_extra(folder.base), "record": measured.to_dict()}
            nn.save(folder.base, net, params, extra=extra)
            folder.log("tested", network="base", wrong=found.wrong, images=found.total)
            before = measured
        progress.step(1, f"base: {before.test.error_after:.2%} test error" if before.test else "base")
        for done, record in enumerate(records, start=2):
            if record.test is None:
                stored = load_emz(folder.models / f"{record.name}.emz")
                found = nn.evaluate(stored.net, stored.params(), images, labels, backend=backend)
                record = replace(record, test=Count(found.total, found.wrong))
                write_compressed(folder, record)
                folder.log("tested", network=record.name, wrong=found.wrong, images=found.total)
            assert record.test is not None
            progress.step(done, f"{record.name}: {record.test.error:.2%} test error")
    steps.remove_checkpoints(folder)
