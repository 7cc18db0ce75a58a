"""EMO-DIR: divide a network, search its sub-networks, join what was found.

R. Shang, S. Zhu, Y. Wu, W. Zhang, L. Jiao, S. Xu, arXiv 2303.16212 (first version: EMO-PMS).

The method, step by step, and the functions that do it:

1. a trained network is given                                  :func:`emoref.systems.steps.base_network`
2. it is divided into stem, stages and head                    :func:`emoref.compress.divide`
3. every stage is trained under constraints that reach across
   the sub-networks, judged by a feature detector              :mod:`emoref.systems.emo_dir_training`
4. a multi-objective search over the filters of each stage     :mod:`emoref.systems.emo_dir_search`
5. global performance impairment ranking: every member of
   every front alone in the intact network                     :func:`rank_members`
6. joint schemes by the equal-impairment rule                  :func:`join_fronts`
7. the joint networks are made slim and fine-tuned             :func:`fine_tune`
8. other ways to the same saving (if asked for)                :func:`compare`

The paper's text was not available to us beyond its abstract and summaries: the three parts of the method and
its claims are published, every formula and number here is emoref's definition; docs/emo-dir.md says which.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from emoref import compress, emo, networks, nn
from emoref.errors import ConfigError
from emoref.runs.folder import RunFolder
from emoref.runs.joint_record import (
    MeasuredScheme,
    RankedMember,
    Ranking,
    SchemeSet,
    read_ranking,
    read_schemes,
    write_ranking,
    write_schemes,
)
from emoref.runs.progress import Progress
from emoref.runs.store import SearchStore, front_rows
from emoref.seeding import child_seed, generator
from emoref.systems import emo_dir_joint as rules
from emoref.systems import steps
from emoref.systems.emo_dir_scoring import scoring_images
from emoref.systems.emo_dir_search import masks_of
from emoref.systems.emo_dir_work import EmoDirConfig, Method, Work, chosen_stages
from emoref.systems.steps import Splits

__all__ = ["EmoDirConfig", "run"]

_ROWS_A_TASK = 32
_METHODS: dict[Method, str] = {
    "random": "members of the fronts combined at random",
    "equal-rate": "the same share of each stage saved",
    "whole": "NSGA-II over the whole network at the same cost",
    "whole-features": "NSGA-II over the whole network at the same cost, judged by its logits",
}


def run(config: EmoDirConfig, folder: RunFolder, progress: Progress) -> None:
    """Do one EMO-DIR experiment, or what is left of it.

    Every stage first looks at what the folder already holds, so the same call starts, resumes and completes.
    """
    splits = steps.load_splits(config)
    check(config, splits, folder)
    scoring = scoring_images(splits, config.search, config.seed)
    base = steps.base_network(config, splits, folder, progress)
    work = Work(config, base, splits, scoring, folder, progress)
    work.train()
    stores = work.search()
    ranking = rank_members(work, stores)
    schemes = join_fronts(work, stores, ranking)
    selections = select(work, stores, ranking, schemes)
    for index, selection in enumerate(selections):
        fine_tune(work, index, selection)
    compare(work, stores, ranking, schemes, selections)
    steps.measure_on_test(config, base, work.genome, folder, progress, work.pruned)


def check(config: EmoDirConfig, splits: Splits, folder: RunFolder) -> None:
    """Refuse before anything is trained what cannot work: cuts, and targets beyond one filter a layer.

    Raises
    ------
    NetworkError
        If a cut is impossible or a stage has nothing prunable.
    ConfigError
        If a target cannot be reached by any scheme.
    """
    if folder.base.exists():
        net, _ = nn.load(folder.base)
    elif config.base.file:
        net, _ = nn.load(networks.trained_file(config.base.file))
    else:
        shape, classes = tuple(splits.train.images.shape[1:]), len(splits.train.classes)
        net = networks.build(config.base.network, input_shape=shape, classes=classes)
    division = compress.divide(net, chosen_stages(config.split, net))
    masks = {
        name: np.arange(filters) < 1
        for stage in division.stages
        for name, filters in compress.prunable_layers(stage).items()
    }
    macs = compress.count(net).macs
    most = 1 - compress.count(compress.slim_network(net, masks)).macs / macs
    for target in config.joint.targets:
        if target > most:
            raise ConfigError(
                f"joint.targets: {target:.1%} of the multiply-accumulates cannot be saved in these stages; "
                f"the best reachable is {most:.1%}, with one filter in each layer"
            )


def rank_members(work: Work, stores: Sequence[SearchStore]) -> Ranking:
    """Put every member of every front alone into the intact network N', and measure.

    Members of one stage share what comes before it, which is computed once.
    """
    found = read_ranking(work.folder)
    if found is not None:
        return found
    fronts = [len(front_rows(store.generations[-1])) for store in stores]
    work.progress.stage("ranking", sum(fronts))
    parts, members = [], []
    for stage, (store, size) in enumerate(zip(stores, fronts, strict=True)):
        rows = [np.ones(work.genome.n_bits, dtype=bool)]
        for index in range(size):
            choice = [rules.INTACT] * len(stores)
            choice[stage] = index
            rows.append(work.bits(stores, choice))
            members.append((stage, index, _saved(work, stage, store, index)))
        parts.append(np.array(rows))
    counts, macs = work.count(parts)
    wrong = [count for part in counts for count in part[1:]]
    ranking = Ranking(
        images=len(work.scoring.labels),
        macs=compress.count(work.net).macs,
        stage_macs=tuple(compress.count(stage).macs for stage in work.division.stages),
        intact_wrong=counts[0][0],
        members=tuple(RankedMember(*m, w) for m, w in zip(members, wrong, strict=True)),
        evaluations=sum(len(part) for part in parts),
        macs_executed=macs,
    )
    write_ranking(work.folder, ranking)
    work.folder.log("ranking", members=len(members), intact_wrong=ranking.intact_wrong)
    work.progress.step(sum(fronts), f"{len(members)} members, {ranking.intact_wrong} wrong without pruning")
    return ranking


def _saved(work: Work, stage: int, store: SearchStore, index: int) -> int:
    net = work.division.stages[stage]
    small = compress.slim_network(net, work.member_masks(stage, store, index))
    return compress.count(net).macs - compress.count(small).macs


def members_of(ranking: Ranking) -> list[rules.Member]:
    """Return the members of a ranking with their impairments."""
    return [
        rules.Member(
            m.stage, m.index, m.saved_macs, ranking.stage_macs[m.stage], m.wrong - ranking.intact_wrong
        )
        for m in ranking.members
    ]


def join_fronts(work: Work, stores: Sequence[SearchStore], ranking: Ranking) -> SchemeSet:
    """Make all schemes of the equal-impairment rule, and measure each as the slim network that it is."""
    schemes = rules.impairment_schemes(members_of(ranking), len(stores))
    return measured_schemes(work, stores, ranking, "schemes", schemes)


def measured_schemes(
    work: Work, stores: Sequence[SearchStore], ranking: Ranking, rule: str, schemes: Sequence[rules.Scheme]
) -> SchemeSet:
    """Return joint schemes with their wrong predictions, measured or as stored."""
    members = members_of(ranking)
    saved = [rules.saved_macs(members, scheme.choice) for scheme in schemes]
    return measured(work, rule, schemes, saved, [work.bits(stores, scheme.choice) for scheme in schemes])


def measured(
    work: Work,
    rule: str,
    schemes: Sequence[rules.Scheme],
    saved: Sequence[int],
    rows: Sequence[NDArray[np.bool_]],
) -> SchemeSet:
    """Return schemes, given with what they save and their genomes, with their wrong predictions."""
    found = read_schemes(work.folder, rule)
    if found is not None:
        return found
    work.progress.stage(f"joint {rule}", len(schemes))
    parts = [np.array(rows[i : i + _ROWS_A_TASK]) for i in range(0, len(rows), _ROWS_A_TASK)]
    counts, macs = work.count(parts)
    wrong = [count for part in counts for count in part]
    result = SchemeSet(
        rule,
        tuple(
            MeasuredScheme(scheme.choice, scheme.level, saves, count)
            for scheme, saves, count in zip(schemes, saved, wrong, strict=True)
        ),
        len(rows),
        macs,
    )
    write_schemes(work.folder, result)
    work.folder.log("schemes", rule=rule, schemes=len(schemes))
    work.progress.step(len(schemes), f"{len(schemes)} networks measured")
    return result


@dataclass(frozen=True)
class Selection:
    """A joint scheme that is fine-tuned, and how much its rivals must save."""

    name: str
    choice: str
    genome: NDArray[np.bool_]
    wanted_macs: int


def select(
    work: Work, stores: Sequence[SearchStore], ranking: Ranking, schemes: SchemeSet
) -> list[Selection]:
    """Choose the joint schemes: for each target that of the least impairment, and some of their front.

    Raises
    ------
    ConfigError
        If a target is not reached; says what is.
    """
    saved = [scheme.saved_macs for scheme in schemes.schemes]
    chosen: dict[int, Selection] = {}
    for target in work.config.joint.targets:
        wanted = int(np.ceil(target * ranking.macs - 1e-9))
        place = rules.first_reaching(saved, wanted, ranking.macs, target)
        words = f"least impairment that saves {target:.0%} of the MACs"
        chosen.setdefault(place, _selection(work, stores, schemes, place, f"{100 * target:g}", words, wanted))
    front = rules.front_of(saved, [scheme.wrong for scheme in schemes.schemes])
    if work.config.joint.count:
        F = np.array([[saved[i], schemes.schemes[i].wrong] for i in front], dtype=np.float64)
        picks = emo.evenly_spaced(F, work.config.joint.count, axis=0)
        for number, pick in enumerate(picks, start=1):
            place, words = int(front[pick]), f"of the front of schemes, {number} of {len(picks)}"
            name = f"front-{number}"
            chosen.setdefault(place, _selection(work, stores, schemes, place, name, words, saved[place]))
    return list(chosen.values())


def _selection(
    work: Work, stores: Sequence[SearchStore], schemes: SchemeSet, place: int, name: str, words: str,
    wanted_macs: int,
) -> Selection:  # fmt: skip
    scheme = schemes.schemes[place]
    where = f"joint-{name.replace('.', '_')}"
    return Selection(where, words, work.bits(stores, scheme.choice), wanted_macs)


def fine_tune(
    work: Work,
    index: int,
    selection: Selection,
    method: Method | None = None,
    bits: NDArray[np.bool_] | None = None,
) -> None:
    """Make a joint network slim, fine-tune it, with distillation if asked for, and store it.

    A rival of a selected network (`method`, with the genome `bits`) is trained on the same batches.
    """
    name = f"{selection.name}/{method}" if method else selection.name
    if work.folder.network_file(name).exists():
        return
    genome = selection.genome if bits is None else bits
    masks = work.genome.masks(genome)
    tune = work.config.finetune
    fit = functools.partial(nn.fit, teacher=(work.net, work.params)) if tune.distill else nn.fit
    steps.tune_and_store(
        steps.Candidate(
            name,
            _METHODS[method] if method else selection.choice,
            *work.pruned(genome),
            kept={layer: int(mask.sum()) for layer, mask in masks.items()},
            genome=[int(bit) for bit in np.flatnonzero(genome)],
            filters_original=int(work.genome.sizes.sum()),
            role="baseline" if method else "selected",
        ),
        work.splits,
        tune if not method or work.config.baselines.tune else None,
        child_seed(work.config.seed, "finetune", index),
        work.backend,
        work.folder,
        work.progress,
        fit,
    )


def compare(
    work: Work,
    stores: Sequence[SearchStore],
    ranking: Ranking,
    schemes: SchemeSet,
    selections: Sequence[Selection],
) -> None:
    """Find for every selected scheme what other ways make of the same saving, and fine-tune that too.

    As many random and equal-rate schemes are measured as there are joint ones. The search over the whole
    network, judged by its error or by its logits, offers what it has when it has executed as many
    multiply-accumulates as the stages' searches, the ranking and the joint schemes together. Each method then
    offers its best network that saves enough.
    """
    section = work.config.baselines
    if not section.enabled:
        return
    members, stages = members_of(ranking), len(stores)
    offers: dict[Method, list[tuple[int, int, NDArray[np.bool_]]]] = {}
    for method in section.methods:
        if method in ("whole", "whole-features"):
            offers[method] = _whole_offers(work, method, search_macs(stores, ranking, schemes))
            continue
        rng = generator(work.config.seed, "emo-dir.random")
        count = len(schemes.schemes)
        made = (
            rules.random_schemes(members, stages, count, rng)
            if method == "random"
            else rules.equal_rates(members, stages, count)
        )
        found = measured_schemes(work, stores, ranking, method, made).schemes
        offers[method] = [(one.saved_macs, one.wrong, work.bits(stores, one.choice)) for one in found]
    for index, selection in enumerate(selections):
        for method, networks_found in offers.items():
            saved, wrong, bits = zip(*networks_found, strict=True)
            place = rules.best_reaching(saved, wrong, selection.wanted_macs)
            if place is None:
                share = max(saved) / ranking.macs
                work.progress.note(
                    f"{method}: nothing saves as much as {selection.name} (at most {share:.1%})"
                )
                continue
            fine_tune(work, index, selection, method, bits[place])


def search_macs(stores: Sequence[SearchStore], ranking: Ranking, schemes: SchemeSet) -> int:
    """Return the multiply-accumulates of everything that led to the joint schemes, training aside."""
    stages = sum(int(store.state["macs_executed"][-1]) for store in stores)
    return stages + ranking.macs_executed + schemes.macs_executed


def _whole_offers(work: Work, method: Method, budget_macs: int) -> list[tuple[int, int, NDArray[np.bool_]]]:
    by_error = method == "whole"
    budget = int(budget_macs * Fraction(work.config.baselines.whole_budget))
    store = work.search_here(work.whole(budget, "detector" if by_error else "features"))
    last = store.generations[rules.first_paid(store.state["macs_executed"], budget_macs)]
    macs, front = compress.count(work.net).macs, front_rows(last)
    masks = [masks_of(work.net, work.layers, work.config.search.group, last.genomes[row]) for row in front]
    genomes = [work.genome.genome(some) for some in masks]
    saved = [macs - round(last.objectives[row, 0] * macs) for row in front]
    if by_error:
        wrong = [round(last.objectives[row, 1] * len(work.scoring.labels)) for row in front]
    else:
        places = [rules.Scheme((place,)) for place in range(len(front))]
        wrong = [one.wrong for one in measured(work, method, places, saved, genomes).schemes]
    return list(zip(saved, wrong, genomes, strict=True))
