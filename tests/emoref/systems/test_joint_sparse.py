"""Joint sparse compression from end to end on a small run: what it stores, resume, one seed one result."""

import tomllib
from types import SimpleNamespace

import numpy as np
import pytest

from emoref import compress, nn
from emoref.data import load, names, select_classes
from emoref.errors import ConfigError, DataError, FileFormatError, RunFolderError
from emoref.nn import StepReport
from emoref.runs.config import apply_overrides, preset_names, read_table, to_toml
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.sparse_record import read_sparse_record, read_sparse_records, record_file
from emoref.runs.store import SearchStore
from emoref.search import MaskGenome
from emoref.systems import execute, load_run_config, parse_config
from emoref.systems.joint_sparse import shrink
from emoref.systems.joint_sparse_pick import SelectSection, check_kept_ratios, choose
from emoref.systems.joint_sparse_store import Trained, joint_network, joint_params, load_stored

TINY = """
system = "joint-sparse"
name = "tiny"
seed = 3

[data]
name = "halves"
validation = 100
train_limit = 150
[[data.tasks]]
name = "low"
data = "fashion-mnist-small"
classes = [0, 1, 2, 3, 4]
[[data.tasks]]
name = "high"
data = "fashion-mnist-small"
classes = ["Sandal", "Shirt", "Sneaker", "Bag"]

[base]
network = "lenet"
widths = [3, 4, 12]
[base.train]
epochs = 2
lr = 0.03

[search]
images = 40
population = 8
generations = 3

[select]
knee = false
count = 1
kept_ratios = [0.05]

[finetune]
epochs = 2

[baselines]
separate = true
initialisation = true
"""

HALVES = ([0, 1, 2, 3, 4], [5, 6, 7, 8])
WEIGHTS = {"conv1": 75, "conv2": 300, "fc1": 768}


def config_of(*overrides):
    return parse_config(apply_overrides(tomllib.loads(TINY), list(overrides)), "tiny")


def execute_tiny(path, *overrides, progress=None):
    config = config_of(*overrides)
    folder = RunFolder.create(path, to_toml(config))
    execute(config, folder, progress or Silent())
    return folder


def files_that_count(folder):
    kinds = ("bases/*.h5", "searches/*.h5", "exports/*/*")
    paths = [path for kind in kinds for path in sorted(folder.path.glob(kind))]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


class StopAt(Silent):
    """Interrupts a run at one step of one stage."""

    def __init__(self, title, step):
        self.wanted, self.title = (title, step), ""

    def stage(self, title, total):
        self.title = title

    def step(self, done, text):
        if (self.title, done) == self.wanted:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with all comparisons; tests must not change it."""
    return execute_tiny(tmp_path_factory.mktemp("runs") / "tiny")


def test_what_a_run_stores(finished):
    records = read_sparse_records(finished)
    assert {record.group for record in records} == {"joint", "single-low", "single-high"}
    assert {path.name for path in finished.bases.iterdir()} == {
        "joint--low.h5",
        "joint--high.h5",
        "single-low--low.h5",
        "single-high--high.h5",
    }
    names_of = sorted(path.stem for path in finished.searches.iterdir())
    assert names_of == ["joint", "joint--random", "single-high", "single-low"]
    assert not finished.checkpoints.exists()
    for record in records:
        assert record.weights == WEIGHTS
        assert all(1 <= record.kept[layer] <= WEIGHTS[layer] for layer in WEIGHTS)
        assert record.tested
        assert record.curves["validation_error"][-1] == pytest.approx(record.mean_error("after"))
        assert [task.test_images for task in record.tasks] == {
            "joint": [500, 400], "single-low": [500], "single-high": [400],
        }[record.group]  # fmt: skip


def test_joint_and_separate_networks_keep_equally_many_connections(finished):
    # 5 % of two networks of 1,143 hidden weights: 2 * floor(57.15) for the joint one.
    joint, *separate = (
        read_sparse_record(finished, f"{group}-kept-5") for group in ("joint", "single-low", "single-high")
    )
    assert joint.kept_total == 114
    assert [one.kept_total for one in separate] == [57, 57]
    assert joint.kept_ratio == separate[0].kept_ratio == 0.05


def test_masked_weights_are_exactly_zero_and_the_tasks_share_the_trunk(finished):
    for record in read_sparse_records(finished):
        exported = [nn.load(finished.exports / record.name / f"{task.task}.h5") for task in record.tasks]
        for net, params in exported:
            assert {layer: int((params[f"{layer}.weight"] != 0).sum()) for layer in WEIGHTS} == record.kept
            assert (params["fc2.weight"] != 0).all()
            for layer in WEIGHTS:
                np.testing.assert_array_equal(params[f"{layer}.weight"], exported[0][1][f"{layer}.weight"])
            density = compress.weight_density(net, params)
            assert {row.name: row.nonzero for row in density if row.name in WEIGHTS} == record.kept


def test_records_say_how_often_the_stored_networks_are_wrong(finished):
    test = dict(zip(("low", "high"), (select_classes(load("fashion-mnist-small", "test"), some).arrays()
                                      for some in HALVES), strict=True))  # fmt: skip
    for record in read_sparse_records(finished):
        place = finished.exports / record.name
        loaded = [nn.load(place / f"{task.task}.h5") for task in record.tasks]
        multi = nn.shared_trunk([task.task for task in record.tasks], [net for net, _ in loaded])
        stored = load_stored(place, multi)
        for t, (task, (net, params)) in enumerate(zip(record.tasks, loaded, strict=True)):
            images = test[task.task]
            assert nn.evaluate(net, params, *images).wrong == task.test_wrong_after
            assert nn.evaluate(net, stored[t], *images).wrong == record.test_stored_wrong[t]
            base, unpruned = nn.load(finished.bases / f"{record.group}--{task.task}.h5")
            assert nn.evaluate(base, unpruned, *images).wrong == task.test_wrong_original
            zeros = sum(int((value == 0).sum()) for name, value in params.items() if name.endswith("weight"))
            assert task.params == task.params_original - zeros
        assert sum(path.stat().st_size for path in place.glob("*.emz")) == record.file_bytes


def test_sparsity_turns_into_bytes(finished):
    sparse, dense = (
        min(
            (r for r in read_sparse_records(finished) if r.group == "joint"),
            key=lambda r: sign * r.kept_total,
        )
        for sign in (1, -1)
    )
    assert sparse.file_bytes < dense.file_bytes < dense.dense_bytes


def test_the_joint_network_computes_what_the_tasks_networks_compute(finished):
    nets, params = zip(
        *(nn.load(finished.bases / f"joint--{task}.h5") for task in ("low", "high")), strict=True
    )
    multi = nn.shared_trunk(["low", "high"], nets)
    joint = joint_network(multi)
    assert joint.classes == 9
    store = nn.initial_store(multi, lambda t: params[t])
    images = load("fashion-mnist-small", "test").arrays()[0][:20]
    logits = nn.predict(joint, joint_params(Trained(multi, store), joint), images, "reference")
    apart = [nn.predict(net, some, images, "reference") for net, some in zip(nets, params, strict=True)]
    np.testing.assert_allclose(logits, np.hstack(apart), atol=1e-5)


def test_searches_hold_counted_objectives(finished):
    for name, tasks in (("joint", 2), ("joint--random", 2), ("single-low", 1)):
        store = SearchStore.open(finished.search_file(name))
        assert len(store.generations) == 4
        assert len(store.layout["objectives"]) == tasks + 1
        for generation in store.generations:
            F, total = generation.objectives, sum(WEIGHTS.values())
            np.testing.assert_array_equal(F[:, :-1], np.rint(40 * F[:, :-1]) / 40)
            np.testing.assert_array_equal(F[:, -1], generation.genomes.sum(axis=1) / total)
    ladder, random = (SearchStore.open(finished.search_file(n)) for n in ("joint", "joint--random"))
    assert [ladder.layout["initialisation"], random.layout["initialisation"]] == ["ladder", "random"]
    assert ladder.layout["network"] == random.layout["network"]


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        ("pretrain joint", 1),
        ("search joint--random", 2),
        ("fine-tune joint-kept-5", 1),
        ("search single-high", 3),
        ("test set", 3),
    ],
)
def test_resume_after_an_interruption_gives_the_same_bytes(finished, tmp_path, stage, step):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute_tiny(path, progress=StopAt(stage, step))
    folder = RunFolder.open(path)
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(finished)


@pytest.mark.usefixtures("threads_for_processes")
def test_workers_give_the_same_bytes(finished, tmp_path):
    folder = execute_tiny(tmp_path / "run", "engine.workers=2")
    assert files_that_count(folder) == files_that_count(finished)


def test_resuming_a_finished_run_changes_nothing(finished):
    before = files_that_count(finished)
    execute(load_run_config(finished), finished, Silent())
    assert files_that_count(finished) == before


QUICK = ("base.train.epochs=1", "finetune.epochs=1", "search.generations=2", "select.count=0",
         "baselines.separate=false", "baselines.initialisation=false")  # fmt: skip


def test_one_task_is_a_search_of_two_objectives(tmp_path):
    one = 'data.tasks=[{name="all", data="fashion-mnist-small"}]'
    folder = execute_tiny(tmp_path / "run", *QUICK, one, "baselines.separate=true")
    store = SearchStore.open(folder.search_file("joint"))
    assert store.layout["objectives"] == ["error of all", "kept connections"]
    assert store.layout["divisions"] == 0  # NSGA-II
    assert {record.group for record in read_sparse_records(folder)} == {"joint"}
    assert read_sparse_record(folder, "joint-kept-5").kept_total == 57


@pytest.mark.parametrize(
    "overrides",
    [
        ('search.algorithm="nsga2"', 'search.crossover="uniform"', "base.l1=0.001"),
        ('search.granularity="group"', "search.block=25", 'search.initialisation="random"'),
    ],
)
def test_switches(tmp_path, overrides):
    folder = execute_tiny(tmp_path / "run", *QUICK, *overrides, "select.kept_ratios=[0.2]")
    store = SearchStore.open(folder.search_file("joint"))
    block = store.layout["block"]
    for generation in store.generations:
        kept = generation.genomes
        assert (kept > 0).all()
        if block == 25:  # every row is a whole number of kernels, or of groups of 25, 25 and 14 weights
            assert (kept[:, :2] % 25 == 0).all()
    assert read_sparse_record(folder, "joint-kept-20").kept_total <= 2 * 228


def test_private_batch_norms_are_stored_task_by_task(tmp_path):
    folder = execute_tiny(
        tmp_path / "run", *QUICK, 'base.network="vgg16"', "base.widths=[2,2,2,2,2,2,2,2,2,2,2,2,4]",
        "data.shape=[1,32,32]",
        'engine.backend="reference"', 'search.granularity="group"', "search.block=9", "search.population=4",
        "search.generations=1", "search.images=20", "data.train_limit=40",
        "select.kept_ratios=[]",
    )  # fmt: skip
    (record,) = read_sparse_records(folder)
    place = folder.exports / record.name
    assert {path.name for path in place.glob("*.emz")} == {"low.emz", "high.emz"}
    assert record.file_bytes == sum(path.stat().st_size for path in place.glob("*.emz"))
    params = [nn.load(place / f"{task}.h5")[1] for task in ("low", "high")]
    np.testing.assert_array_equal(params[0]["conv5.weight"], params[1]["conv5.weight"])
    assert not np.array_equal(params[0]["bn5.running_mean"], params[1]["bn5.running_mean"])


def test_shrinking_is_the_proximal_step():
    store = {"w": np.array([0.5, -0.004, 0.02, -0.5], np.float32), "b": np.ones(1, np.float32)}
    shrink(store, ["w"], 0.1)(StepReport(0, 0, 1, 1.0, 0.1))
    np.testing.assert_allclose(store["w"], [0.49, 0.0, 0.01, -0.49], atol=1e-7)
    assert store["w"][1] == 0
    assert store["b"] == 1
    assert shrink(store, ["w"], 0.0) is None


# ------------------------------------------------------------------------------------------- bad input


def test_damaged_files_are_refused(finished, tmp_path):
    folder = RunFolder.create(tmp_path / "run", 'name = "x"\n')
    folder.make_folder(record_file(folder, "joint-knee").parent)
    with pytest.raises(FileFormatError, match=r"record\.json: cannot be read"):
        read_sparse_record(folder, "joint-knee")
    good = record_file(finished, "joint-kept-5").read_text()
    for bad in (
        "{",
        "[]",
        "{}",
        good.replace('"group"', '"grup"'),
        good.replace('"low"', '"low", "x": 1', 1),
    ):
        record_file(folder, "joint-knee").write_text(bad)
        with pytest.raises(FileFormatError, match=r"record\.json: damaged"):
            read_sparse_record(folder, "joint-knee")


def test_a_search_of_another_network_is_refused(finished, tmp_path):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute_tiny(path, *QUICK, progress=StopAt("pretrain joint", 1))
    folder = RunFolder.open(path)
    folder.make_folder(folder.searches)
    folder.search_file("joint").write_bytes(finished.search_file("joint").read_bytes())
    with pytest.raises(RunFolderError, match="holds the search of another network or problem"):
        execute(load_run_config(folder), folder, Silent())


def test_what_does_not_fit_the_data_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"task 'low': search\.images: 500 asked for"):
        execute_tiny(tmp_path / "images", "search.images=500")
    with pytest.raises(DataError, match="task 'low': data set 'fashion-mnist-small' has no class 17"):
        execute_tiny(
            tmp_path / "class", 'data.tasks=[{name="low", data="fashion-mnist-small", classes=[17]}]'
        )
    assert not (tmp_path / "images" / "bases").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.tasks=[]", "data: tasks: the list of tasks is empty"),
        ('data.tasks=[{name="a", data="mnist", file="a.h5"}]', "task 'a' has a file; the joint network"),
        ("search.kept_range=[0.0, 0.5]", "has an empty layer"),
        ("search.kept_range=[0.5, 0.2]", r"kept_range must be \[low, high\] with 0 < low <= high"),
        ("search.population=3", "population must be 0 or at least 4, found 3"),
        ('search.granularity="filter"', "search.granularity"),
        ('search.algorithm="moead"', "search.algorithm"),
        ("search.block=0", "search.block"),
        ("select.kept_ratios=[0.1, 0.1]", "kept_ratios: each can be named once"),
        ("select.kept_ratios=[0.0]", "select.kept_ratios"),
        ("store.bits=1", "store.bits"),
        ("base.l1=-1.0", "base.l1"),
        ('base.file="x.h5"', "with several tasks, give each its file"),
    ],
)
def test_impossible_configurations(override, message):
    with pytest.raises(ConfigError, match=message):
        config_of(override)


def test_nothing_to_choose_is_refused():
    with pytest.raises(ConfigError, match="nothing to fine-tune"):
        config_of("select.knee=false", "select.sparsest=false", "select.count=0", "select.kept_ratios=[]")


def test_a_kept_ratio_that_would_empty_a_layer_is_refused(tmp_path):
    """One connection for each of three layers is the least; two of two networks' 2,286 are too few."""
    with pytest.raises(
        ConfigError, match=r"kept_ratios: 0\.001 leaves the joint network 2 connections; its 3 hidden layers"
    ):
        execute_tiny(tmp_path / "run", *QUICK, "select.kept_ratios=[0.05, 0.001]")
    with pytest.raises(
        ConfigError, match=r"0\.002 leaves a separate network 2 connections; .* need at least 3"
    ):
        execute_tiny(tmp_path / "apart", "select.kept_ratios=[0.002]")
    blocks = ('search.granularity="group"', "search.block=25")
    with pytest.raises(ConfigError, match=r"0\.02 leaves the joint network 44 connections; .* at least 64"):
        execute_tiny(tmp_path / "blocks", *QUICK, *blocks, "select.kept_ratios=[0.02]")
    assert not any((tmp_path / name / "bases").exists() for name in ("run", "apart", "blocks"))


def test_a_kept_ratio_too_small_for_the_strongest_connections_is_refused_when_chosen():
    """Two connections are one a layer, but the strongest of fc2 reads the unit that fc1's does not make."""
    b = nn.NetworkBuilder("small", (3,))
    b.linear("fc1", 2), b.relu("relu1"), b.linear("fc2", 2), b.relu("relu2"), b.linear("head", 4)
    genome = MaskGenome(b.build())
    check_kept_ratios([0.2], genome, tasks=1, members=1)
    strength = np.array([0.9, 0.1, 0.2, 0.3, 0.1, 0.7, 0.5, 0.2, 0.1, 0.8])
    problem = SimpleNamespace(genome=genome, weights=10, tasks=("all",), magnitudes=strength)
    front = SimpleNamespace(F=np.array([[0.1, 1.0]]), X=np.ones((1, 10), dtype=bool))
    section = SelectSection(knee=False, sparsest=False, kept_ratios=(0.2,))
    with pytest.raises(ConfigError, match=r"kept_ratios: 0\.2 leaves joint too little: no mask keeps at"):
        choose("joint", 1, problem, front, section)


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("chen2021")])
def test_presets_are_complete(name):
    config = parse_config(read_table(name), name)
    assert config.name == name
    assert config.system == "joint-sparse"
    assert {task.data for task in config.data.tasks} <= set(names())
    assert config.baselines.separate
    assert config.select.kept_ratios == (0.02, 0.05)
