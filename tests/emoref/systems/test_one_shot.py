"""EMOFP from end to end on a small run: what it stores, that it resumes, that a seed fixes everything."""

import shutil
import tomllib

import numba
import numpy as np
import pytest

from emoref import compress, networks, nn
from emoref.data import load
from emoref.emo.problem import Variables
from emoref.errors import ConfigError, NetworkError, RunFolderError, TrainingDivergedError
from emoref.runs.config import apply_overrides
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.record import read_network_record, read_run
from emoref.runs.store import Generation, SearchStore
from emoref.search import FAILED, FilterGenome, WorkerEvaluator
from emoref.systems import execute, load_run_config, one_shot, parse_config, steps


def record_of(folder):
    return read_run(folder, load_run_config(folder).model_dump())


def files_that_count(folder):
    names = [
        "config.toml",
        "base.h5",
        "search.h5",
        *sorted(f"models/{p.name}" for p in folder.models.iterdir()),
    ]
    return {name: (folder.path / name).read_bytes() for name in names}


def test_what_a_run_stores(tiny_run):
    record = record_of(tiny_run)
    assert len(record.generations) == 6, "the initial population and five generations"
    assert record.layers == [("conv1", 20), ("conv2", 50)]
    assert record.base.filters == 70
    assert record.base.test.images == 1000
    assert 2 <= len(record.selected) <= 3
    assert not tiny_run.checkpoints.exists()
    for network in record.selected:
        assert network.filters == sum(network.kept.values()) == len(network.genome)
        assert network.name == f"kept-{network.filters}"
        assert network.macs < record.base.macs
        assert network.params < record.base.params
        assert network.size_bytes < record.base.size_bytes, "removed filters make the file smaller"
        assert network.test.images == 1000
        assert network.validation.images == 200


def test_every_stored_objective_is_the_count_of_a_slim_network(tiny_run):
    """The figures of the last generation, recomputed one network at a time."""
    config = load_run_config(tiny_run)
    net, params = nn.load(tiny_run.base)
    images, labels = steps.load_splits(config).validation.arrays()
    genome = FilterGenome(net)
    last = SearchStore.open(tiny_run.search).generations[-1]
    for row in range(0, len(last.genomes), 3):
        small = compress.slim(net, params, genome.masks(last.genomes[row]))
        evaluation = nn.evaluate(*small, images, labels)
        assert last.objectives[row, 0] == last.genomes[row].sum() / 70
        assert last.objectives[row, 1] == evaluation.wrong / 200


def test_stored_models_predict_what_their_records_say(tiny_run):
    test_images, test_labels = load("fashion-mnist-small", "test").arrays()
    for path in tiny_run.models.glob("*.h5"):
        evaluation = nn.evaluate(*nn.load(path), test_images, test_labels)
        assert evaluation.wrong == read_network_record(tiny_run, path.stem).test.wrong_after


def test_one_seed_one_result_whatever_the_threads(tiny_run, run_tiny, tmp_path):
    numba.set_num_threads(1)
    try:
        again = run_tiny(tmp_path / "again")
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert files_that_count(again) == files_that_count(tiny_run)


def test_another_seed_gives_another_result(tiny_run, run_tiny, tmp_path):
    other = run_tiny(
        tmp_path / "other",
        "seed=4",
        "search.generations=1",
        "base.train.epochs=1",
        "finetune.epochs=1",
        "select.kept_filters=[]",
    )
    ours, theirs = SearchStore.open(tiny_run.search), SearchStore.open(other.search)
    assert not np.array_equal(ours.generations[0].genomes, theirs.generations[0].genomes)


@pytest.mark.parametrize(
    ("stage", "step"), [("base network", 1), ("search", 0), ("search", 3), ("fine-tune", 1), ("test set", 1)]
)
def test_resume_after_an_interruption_gives_the_same_bytes(
    tiny_run, run_tiny, tmp_path, stage, step, stop_at
):
    if stage == "fine-tune":
        stage = f"fine-tune {record_of(tiny_run).selected[-1].name}"
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_tiny(path, progress=stop_at(stage, step))
    folder = RunFolder.open(path)
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(tiny_run)


def test_resuming_a_finished_run_changes_nothing(tiny_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(tiny_run.path, path)
    folder = RunFolder.open(path)
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(tiny_run)


def test_start_from_a_trained_network(tiny_run, run_tiny, tmp_path):
    folder = run_tiny(
        tmp_path / "run",
        f'base.file="{tiny_run.base}"',
        "search.generations=1",
        "finetune.epochs=1",
        "select.kept_filters=[]",
    )
    _, params = nn.load(folder.base)
    _, original = nn.load(tiny_run.base)
    assert all(np.array_equal(params[name], original[name]) for name in original)
    assert record_of(folder).base.choice == "read from base.h5"


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        ((1, 28, 28), 7, "layer 'fc2': tells 7 classes apart, but 'fashion-mnist-small' has 10"),
        ((3, 28, 28), 10, "layer 'conv1': takes images of shape .3, 28, 28., but"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_named(run_tiny, tmp_path, shape, classes, message):
    net = networks.build("lenet", input_shape=shape, classes=classes)
    nn.save(tmp_path / "other.h5", net, net.init(seed=0))
    with pytest.raises(NetworkError, match=message):
        run_tiny(tmp_path / "run", f'base.file="{tmp_path / "other.h5"}"')


def test_a_search_that_belongs_to_another_network_is_refused(tiny_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(tiny_run.path, path)
    folder = RunFolder.open(path)
    store = SearchStore(folder.search, {**SearchStore.open(folder.search).layout, "images": 1})
    store.append(SearchStore.open(tiny_run.search).generations[0], {"seed": 3})
    with pytest.raises(RunFolderError, match="another network or problem"):
        execute(load_run_config(folder), folder, Silent())


def test_divergence_stops_with_step_and_learning_rate(run_tiny, tmp_path):
    with pytest.raises(TrainingDivergedError, match=r"step \d+.*learning rate"):
        run_tiny(tmp_path / "run", "base.train.lr=1e6", "base.train.schedule=constant", "base.train.epochs=4")


def test_too_small_a_configuration_is_refused_with_the_reason(run_tiny, tmp_path):
    with pytest.raises(ConfigError, match="at most 1 filters"):
        run_tiny(tmp_path / "run", "select.kept_filters=[1]", "search.generations=1", "base.train.epochs=1")
    with pytest.raises(ConfigError, match="no individual satisfies"):
        run_tiny(tmp_path / "none", "search.max_error=0", "search.generations=1", "base.train.epochs=1")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.validation=6000", "data.validation.*6,001 images asked for"),
        ("search.images=300", "search.images: 300"),
    ],
)
def test_impossible_splits(run_tiny, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        run_tiny(tmp_path / "run", override, "base.train.epochs=1", "data.train_limit=0")


def a_generation():
    """Six candidates of a net with 10 filters: kept filters 9, 7, 6, 4, 2 and an infeasible 1."""
    kept = np.array([9, 7, 6, 4, 2, 1])
    return Generation(
        genomes=np.arange(10) < kept[:, None],
        objectives=np.column_stack((kept / 10, [0.01, 0.02, 0.03, 0.2, 0.5, 0.9])),
        constraints=np.array([[0.0], [0], [0], [0], [0], [1]]),
        ranks=np.zeros(6, dtype=np.int64),
        evaluations=6,
    )


class TenFilters:
    """Stands for the genome of one layer of ten filters."""

    sizes = np.array([10])

    def kept(self, genomes):
        return genomes.sum(axis=1, keepdims=True)


def names(section):
    return [(s.name, s.choice) for s in one_shot.select(a_generation(), TenFilters(), section)]


def test_uniform_selection_takes_the_ends_and_what_lies_between():
    chosen = names(one_shot.SelectSection(count=3))
    assert sorted(name for name, _ in chosen) == ["kept-2", "kept-6", "kept-9"]


def test_selection_by_kept_filters_takes_the_most_accurate_within():
    assert names(one_shot.SelectSection(count=0, kept_filters=(8, 3))) == [
        ("kept-7", "most accurate with at most 8 filters"),
        ("kept-2", "most accurate with at most 3 filters"),
    ]


def test_a_member_chosen_twice_is_fine_tuned_once():
    chosen = names(one_shot.SelectSection(count=2, kept_filters=(2,)))
    assert len(chosen) == 2
    assert dict(chosen)["kept-2"].endswith("most accurate with at most 2 filters")


def test_candidates_that_empty_a_layer_are_infeasible_and_count_as_all_wrong(tiny_run):
    config = load_run_config(tiny_run)
    net, params = nn.load(tiny_run.base)
    problem = one_shot.FilterPruningProblem(net, params, steps.load_splits(config), config)
    rows = np.ones((2, 70), dtype=bool)
    rows[0, :20] = False
    objectives, constraints = problem.evaluate(rows)
    assert objectives[0].tolist() == [50 / 70, 1.0]
    assert constraints[0].max() > 0
    assert constraints[1].max() <= 0


def test_constraints_of_the_paper(tiny_run):
    table = apply_overrides(
        tomllib.loads(tiny_run.config.read_text()),
        ["search.max_error=0.5", "search.remaining_ratio=[0.2, 0.6]"],
    )
    config = parse_config(table, "x")
    net, params = nn.load(tiny_run.base)
    problem = one_shot.FilterPruningProblem(net, params, steps.load_splits(config), config)
    rows = np.zeros((2, 70), dtype=bool)
    rows[0] = True
    rows[1, [0, 20, 21]] = True
    objectives, constraints = problem.evaluate(rows)
    np.testing.assert_allclose(constraints[0], [0, objectives[0, 1] - 0.5, -0.8, 0.4])
    np.testing.assert_allclose(constraints[1, [0, 2, 3]], [0 + 1 / 50, 0.2 - 3 / 70, 3 / 70 - 0.6])


def test_the_search_can_start_from_what_a_criterion_keeps(tiny_run):
    table = apply_overrides(
        tomllib.loads(tiny_run.config.read_text()),
        ["search.initial=l1", "search.initial_ratio=[0.5, 0.5]", "search.initial_images=100"],
    )
    config = parse_config(table, "x")
    net, params = nn.load(tiny_run.base)
    problem = one_shot.FilterPruningProblem(net, params, steps.load_splits(config), config)
    rows = problem.sampling()(20, Variables.of(problem), np.random.default_rng(1))
    assert problem.genome.kept(rows).tolist() == [[10, 25]] * 20
    assert len(np.unique(rows, axis=0)) > 5, "a disturbed choice, not the same one twenty times"
    norms = {name: np.abs(params[f"{name}.weight"]).sum((1, 2, 3)) for name in ("conv1", "conv2")}
    by_norm = compress.masks_from_importance(norms, {"conv1": 10, "conv2": 25})
    agree = (rows == problem.genome.genome(by_norm)).mean(axis=1)
    assert agree.min() > 0.7
    assert agree.mean() > 0.8


def test_a_start_that_is_not_possible(tiny_run):
    table = tomllib.loads(tiny_run.config.read_text())
    with pytest.raises(ConfigError, match=r"search\.initial: unknown criterion 'l3'"):
        parse_config(apply_overrides(table, ["search.initial=l3"]), "x")
    greedy = parse_config(apply_overrides(table, ["search.initial=taylor", "search.initial_images=501"]), "x")
    problem = one_shot.FilterPruningProblem(*nn.load(tiny_run.base), steps.load_splits(greedy), greedy)
    with pytest.raises(ConfigError, match=r"search.initial_images: .*501"):
        problem.sampling()


def test_a_genome_space_smaller_than_the_population(run_tiny, tmp_path):
    """Three filters give seven networks: the search runs out of new candidates and still ends well."""
    net = networks.build("conv1", input_shape=(1, 28, 28), classes=10, widths=(3,))
    nn.save(tmp_path / "three.h5", net, net.init(seed=0))
    folder = run_tiny(
        tmp_path / "run",
        f'base.file="{tmp_path / "three.h5"}"',
        "select.kept_filters=[2]",
        "finetune.epochs=1",
    )
    record = record_of(folder)
    assert len(record.generations) == 6
    assert 1 <= len(record.front()) <= 3
    assert record.selected


def test_worker_processes_change_no_byte(tiny_run, run_tiny, tmp_path):
    short = ("search.generations=2", "select.count=1", "select.kept_filters=[]", "finetune.epochs=1")
    alone = run_tiny(tmp_path / "alone", *short, f'base.file="{tiny_run.base}"')
    spread = run_tiny(tmp_path / "spread", *short, f'base.file="{tiny_run.base}"', "engine.workers=2")
    assert spread.search.read_bytes() == alone.search.read_bytes()


@pytest.mark.usefixtures("threads_for_processes")
def test_a_candidate_that_no_worker_can_evaluate_ranks_last(run_tiny, tmp_path, monkeypatch):
    def counts(self, genomes):
        found = count(self, genomes)
        found[0] = FAILED
        return found

    count = WorkerEvaluator.wrong_counts
    monkeypatch.setattr(WorkerEvaluator, "wrong_counts", counts)
    small = ("search.generations=1", "select.count=1", "select.kept_filters=[]", "finetune.epochs=1")
    folder = run_tiny(tmp_path / "run", *small, "base.train.epochs=1", "engine.workers=2")
    store = SearchStore.open(folder.search)
    first = store.generations[0]
    assert np.isnan(first.objectives[:, 1]).sum() == 1
    assert first.ranks[np.isnan(first.objectives[:, 1])] == first.ranks.max()
