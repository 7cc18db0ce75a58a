"""Filter index sharing from end to end on a small run: what it stores, resume, one seed one result."""

import tomllib

import numpy as np
import pytest

from emoref import compress, nn
from emoref.data import load, names, select_classes
from emoref.errors import ConfigError, DataError, FileFormatError, NetworkError
from emoref.runs.config import apply_overrides, preset_names, read_table, to_toml
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.shared_record import read_shared_record, read_shared_records, shared_file
from emoref.systems import execute, load_run_config, parse_config, tasks

TINY = """
system = "filter-sharing"
name = "tiny"
seed = 3

[data]
name = "halves"
validation = 100
train_limit = 200
[[data.tasks]]
name = "low"
data = "fashion-mnist-small"
classes = [0, 1, 2, 3, 4]
[[data.tasks]]
name = "high"
data = "fashion-mnist-small"
classes = ["Sandal", "Shirt", "Sneaker", "Bag"]

[base]
network = "lenet5"
[base.train]
epochs = 2
lr = 0.03

[search]
images = 50
generations = 4

[select]
variants = ["index", "aligned-filters"]
adaptive = false
rates = [0.5]

[finetune]
epochs = 2
lr = 0.02
"""


COMPARED = ("baselines.enabled=true", 'baselines.methods=["l1", "unshared"]')


def config_of(*overrides):
    return parse_config(apply_overrides(tomllib.loads(TINY), list(overrides)), "tiny")


def execute_tiny(path, *overrides, progress=None):
    config = config_of(*overrides)
    folder = RunFolder.create(path, to_toml(config))
    execute(config, folder, progress or Silent())
    return folder


def files_that_count(folder):
    kinds = ("config.toml", "bases/*.h5", "searches/*.h5", "shared/*.h5", "exports/*/*.h5")
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
    """A finished run with baselines; tests must not change it."""
    return execute_tiny(tmp_path_factory.mktemp("runs") / "tiny", *COMPARED)


def test_what_a_run_stores(finished):
    records = read_shared_records(finished)
    selected = [record for record in records if record.role == "selected"]
    assert [record.name for record in selected] == ["aligned-filters-50", "index-50"]
    assert len(records) == 2 * (1 + 2)
    assert not finished.checkpoints.exists()
    for record in records:
        # round((1 - 0.5) n), halves to even, for every task; the baselines have fewer or as many.
        assert record.slots == {"conv1": 6, "conv2": 16, "conv3": 120, "fc1": 84}
        if record.role == "selected":
            assert record.kept == {"conv1": [3, 3], "conv2": [8, 8], "conv3": [60, 60], "fc1": [42, 42]}
        assert record.stored_total < 0.5 * record.stored_original
        assert [task.task for task in record.tasks] == ["low", "high"]
        assert [task.test_images for task in record.tasks] == [500, 400]
        assert record.curves["validation_error_low"][-1] == record.tasks[0].error("after")


def test_no_baseline_stores_more_than_the_network_that_it_is_compared_with(finished):
    for record in read_shared_records(finished):
        if record.role == "baseline":
            rival = read_shared_record(finished, record.selected)
            assert 0.9 * rival.stored_total <= record.stored_total <= rival.stored_total
            assert record.sharing_ratio == 0
            assert record.stored["shared"] == 0


def test_aligning_makes_sharing_cheaper(finished):
    """Aligned filters lie nearer to each other, so the same search shares about as many of them or more."""
    plain, aligned = (
        read_shared_record(finished, name).sharing_ratio for name in ("index-50", "aligned-filters-50")
    )
    assert aligned > 0.9 * plain


def test_stored_networks_and_exports_are_wrong_as_often_as_their_records_say(finished):
    classes = ([0, 1, 2, 3, 4], [5, 6, 7, 8])
    test = [select_classes(load("fashion-mnist-small", "test"), some).arrays() for some in classes]
    for record in read_shared_records(finished):
        shared, store = compress.load_shared(shared_file(finished, record.name))
        assert shared.stored_parameters().total == record.stored_total
        for t, figures in enumerate(record.tasks):
            net, params = nn.load(finished.path / "exports" / record.name / f"{figures.task}.h5")
            assert nn.evaluate(net, params, *test[t]).wrong == figures.test_wrong_after
            view = nn.predict(*shared.view(store, t), test[t][0])
            np.testing.assert_allclose(nn.predict(net, params, test[t][0]), view, atol=1e-5)
            assert compress.count(net).params == figures.params
            assert compress.count(net).macs == figures.macs < figures.macs_original


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        ("base high", 1),
        ("search index-50", 2),
        ("train aligned-filters-50", 1),
        ("train index-50--l1", 1),
        ("test set", 3),
    ],
)
def test_resume_after_an_interruption_gives_the_same_bytes(finished, tmp_path, stage, step):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute_tiny(path, *COMPARED, progress=StopAt(stage, step))
    folder = RunFolder.open(path)
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(finished)


@pytest.mark.usefixtures("threads_for_processes")
def test_workers_give_the_same_bytes(finished, tmp_path):
    folder = execute_tiny(tmp_path / "run", *COMPARED, "engine.workers=2")
    ours, theirs = files_that_count(folder), files_that_count(finished)
    ours.pop("config.toml"), theirs.pop("config.toml")
    assert ours == theirs


def test_resuming_a_finished_run_changes_nothing(finished):
    before = files_that_count(finished)
    execute(load_run_config(finished), finished, Silent())
    assert files_that_count(finished) == before


def test_one_task_is_pruned_alone(tmp_path):
    one = 'data.tasks=[{name="all", data="fashion-mnist-small"}]'
    folder = execute_tiny(
        tmp_path / "run", one, "select.adaptive=true", "select.rates=[]", "finetune.epochs=1"
    )
    (record,) = read_shared_records(folder)
    assert record.name == "unshared-adaptive"
    assert record.stored["shared"] == 0
    net, _ = nn.load(folder.path / "exports" / record.name / "all.h5")
    assert compress.count(net).params == record.stored_total == record.tasks[0].params


def test_a_common_start_begins_with_the_first_tasks_weights(tmp_path):
    folder = execute_tiny(
        tmp_path / "run",
        'select.variants=["common"]',
        "base.train.epochs=1",
        "finetune.epochs=1",
        "base.train.lr=1e-6",
    )
    assert {path.name for path in (folder.path / "bases").iterdir()} == {"low.h5", "high--common.h5"}
    low, high = (nn.load(folder.path / "bases" / name)[1] for name in ("low.h5", "high--common.h5"))
    np.testing.assert_allclose(low["conv2.weight"], high["conv2.weight"], atol=1e-4)


def test_trained_networks_can_be_given(finished, tmp_path):
    given = ", ".join(
        f'{{name="{name}", data="fashion-mnist-small", classes={classes}, '
        f'file="{finished.path}/bases/{name}.h5"}}'
        for name, classes in (("low", [0, 1, 2, 3, 4]), ("high", [5, 6, 7, 8]))
    )
    folder = execute_tiny(tmp_path / "run", f"data.tasks=[{given}]", 'select.variants=["index"]')
    ours, theirs = (read_shared_record(some, "index-50") for some in (folder, finished))
    assert ours.stored == theirs.stored
    assert [task.test_wrong_after for task in ours.tasks] == [task.test_wrong_after for task in theirs.tasks]
    with pytest.raises(ConfigError, match=r"variants: a common start needs .*, but task 'low' has a file"):
        config_of(f"data.tasks=[{given}]", 'select.variants=["index", "common"]')
    config = config_of(f"data.tasks=[{given}]")
    with pytest.raises(ConfigError, match="a common start needs networks that are trained here"):
        tasks.base_networks(config, tasks.load_tasks(config), folder, Silent(), "common")


def test_a_damaged_record_is_refused(finished, tmp_path):
    folder = RunFolder.create(tmp_path / "run", 'name = "x"\n')
    folder.make_folder(folder.shared)
    shared, store = compress.load_shared(shared_file(finished, "index-50"))
    compress.save_shared(shared_file(folder, "index-50"), shared, store, {"record": {"name": "index-50"}})
    with pytest.raises(FileFormatError, match=r"index-50\.h5: damaged record"):
        read_shared_record(folder, "index-50")


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("cheng2021")])
def test_presets_are_complete(name):
    config = parse_config(read_table(name), name)
    assert config.name == name
    assert config.system == "filter-sharing"
    assert {task.data for task in config.data.tasks} <= set(names())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('base.file="x.h5"', "with several tasks, give each its file"),
        ("data.tasks=[]", "data: tasks: the list of tasks is empty"),
        (
            'data.tasks=[{name="a", data="mnist"}, {name="a", data="mnist"}]',
            "two tasks have the same name",
        ),
        ('data.tasks=[{name="a b", data="mnist"}]', "a task's name consists of letters"),
        ("data.shape=[1, 2]", r"shape must be \(channels, height, width\)"),
        ("select.rates=[]", "nothing to make"),
        ("select.rates=[0.5, 0.5]", "rates: each can be named once"),
        ('search.criteria=["l3"]', "unknown criterion 'l3'"),
        ("search.criteria=[]", "at least one criterion"),
        ('select.variants=["mixed"]', "select.variants"),
    ],
)
def test_impossible_configurations(override, message):
    with pytest.raises(ConfigError, match=message):
        config_of(override)


def test_a_rate_that_would_empty_a_layer_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(
        ConfigError, match=r"select.rates: layer 'conv1': a pruning rate of 0.95 would empty a layer of 6"
    ):
        execute_tiny(tmp_path / "run", "select.rates=[0.95]")
    assert not (tmp_path / "run" / "bases").exists()


def test_tasks_that_do_not_fit_together_are_named(finished, tmp_path, monkeypatch):
    low = f'name="low", data="fashion-mnist-small", file="{finished.path}/bases/low.h5"'
    with pytest.raises(NetworkError, match=r"tells 5 classes apart, but \"task 'low'\" has 10"):
        execute_tiny(tmp_path / "heads", f"data.tasks=[{{{low}}}]")
    slim = finished.path / "exports" / "index-50" / "high.h5"
    two = (
        f"{{{low}, classes=[0, 1, 2, 3, 4]}}, "
        f'{{name="high", data="fashion-mnist-small", classes=[5, 6, 7, 8], file="{slim}"}}'
    )
    with pytest.raises(NetworkError, match="tasks 'low' and 'high' have networks of different architecture"):
        execute_tiny(tmp_path / "architectures", f"data.tasks=[{two}]")
    config = config_of("data.shape=[3, 32, 32]")
    assert {task.shape for task in tasks.load_tasks(config)} == {(3, 32, 32)}
    monkeypatch.setattr(
        tasks, "in_shape", lambda dataset, shape: dataset if len(dataset.classes) == 5 else _padded(dataset)
    )
    with pytest.raises(DataError, match=r"tasks 'low' and 'high' have images of shape \(1, 28, 28\)"):
        tasks.load_tasks(config)
    with pytest.raises(ConfigError, match=r"task 'low': data\.validation"):
        tasks.load_tasks(config_of("data.train_limit=5000"))
    with pytest.raises(ConfigError, match=r"search\.images: task 'low'"):
        tasks.training_sample(tasks.load_tasks(config_of()), 10_000, 0)


def _padded(dataset):
    from emoref.data import in_shape

    return in_shape(dataset, (1, 30, 30))
