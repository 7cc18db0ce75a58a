"""Baselines: the same filters in every layer, the same recipe and batches, resumable, repeatable."""

import numpy as np
import pytest

from emoref import compress, networks, nn
from emoref.data import load
from emoref.errors import ConfigError, NetworkError, RunFolderError
from emoref.nn import NetworkBuilder
from emoref.runs.config import TrainSection
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.record import read_network_record, read_run
from emoref.search import FilterGenome
from emoref.systems import baselines, execute, load_run_config, parse_config, steps

COMPARED = (
    "data.train_limit=200",
    "base.train.epochs=1",
    "search.population=8",
    "search.generations=1",
    "select.count=2",
    "select.kept_filters=[]",
    "baselines.enabled=true",
    "baselines.images=100",
)
FEW = (*COMPARED, "select.count=1", 'baselines.criteria=["random", "taylor"]')
METHODS = [*compress.CRITERIA, "scratch", "scratch-long"]


def record_of(folder):
    return read_run(folder, load_run_config(folder).model_dump())


def stored(folder):
    files = [p for name in ("base.h5", "search.h5", "models", "baselines") for p in [folder.path / name]]
    found = [q for p in files for q in ([p] if p.is_file() else sorted(p.rglob("*.h5")))]
    return {str(p.relative_to(folder.path)): p.read_bytes() for p in found}


class StopAt(Silent):
    """Interrupts a run at one step of one stage; counts the stages."""

    def __init__(self, title=None, step=0):
        self.wanted, self.title, self.stages = (title, step), "", {}

    def stage(self, title, total):
        self.title = title
        self.stages[title] = total

    def step(self, done, text):
        if (self.title, done) == self.wanted:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def compared_run(run_tiny, tmp_path_factory):
    """A finished run with every baseline; tests must not change it."""
    return run_tiny(tmp_path_factory.mktemp("runs") / "compared", *COMPARED)


@pytest.fixture(scope="session")
def small_run(run_tiny, tmp_path_factory):
    """A finished run with one selected network and four baselines, and the stages it went through."""
    progress = StopAt()
    folder = run_tiny(tmp_path_factory.mktemp("runs") / "few", *FEW, progress=progress)
    return folder, progress.stages


def test_every_baseline_keeps_the_filters_of_its_network_in_every_layer(compared_run):
    record = record_of(compared_run)
    assert len(record.selected) == 2
    for selected in record.selected:
        rivals = record.baselines[selected.name]
        assert [rival.method for rival in rivals] == METHODS
        for rival in rivals:
            assert rival.role == "baseline"
            assert rival.name == f"{selected.name}/{rival.method}"
            assert selected.name in rival.choice
            assert rival.kept == selected.kept
            assert (rival.macs, rival.params) == (selected.macs, selected.params)
            assert rival.from_scratch == rival.method.startswith("scratch")
            assert len(rival.genome) == (0 if rival.from_scratch else selected.filters)
    assert sorted(p.stem for p in compared_run.models.iterdir()) == sorted(n.name for n in record.selected)
    assert not compared_run.checkpoints.exists()


def test_criteria_choose_what_their_scores_say(compared_run):
    config = load_run_config(compared_run)
    net, params = nn.load(compared_run.base)
    genome = FilterGenome(net)
    train = steps.load_splits(config).train
    data = baselines.Baselines(config, steps.load_splits(config))
    images, labels = data._images, data._labels
    assert np.bincount(labels).tolist() == [10] * 10, "class-balanced"
    of_training = {image.tobytes() for image in train.arrays()[0]}
    assert all(image.tobytes() in of_training for image in images), "training images only"
    record = record_of(compared_run)
    for selected in record.selected:
        for rival in record.baselines[selected.name]:
            if rival.method in ("l1", "l2", "geometric-median", "apoz", "taylor"):
                scores = compress.filter_importance(rival.method, net, params, (images, labels))
                masks = compress.masks_from_importance(scores, selected.kept)
                assert rival.genome == np.flatnonzero(genome.genome(masks)).tolist()


def test_random_choices_differ_between_networks_of_a_run(compared_run):
    record = record_of(compared_run)
    large, small = (record.baselines[n.name][0] for n in record.selected)
    assert large.method == small.method == "random"
    assert not set(small.genome) <= set(large.genome), "nested choices would not be independent"


def test_stored_outcomes_are_those_of_the_stored_networks(compared_run):
    config = load_run_config(compared_run)
    net, params = nn.load(compared_run.base)
    genome = FilterGenome(net)
    test = load("fashion-mnist-small", "test").arrays()
    validation = steps.load_splits(config).validation.arrays()
    record = record_of(compared_run)
    for rival in record.baselines[record.selected[-1].name]:
        tuned = nn.load(compared_run.network_file(rival.name))
        if rival.from_scratch:
            before = tuned[0], steps.scratch_params(tuned[0], rival.filters, config.seed)
        else:
            before = compress.slim(net, params, genome.masks(np.isin(np.arange(70), rival.genome)))
        for images, outcome in ((test, rival.test), (validation, rival.validation)):
            assert outcome.wrong_before == nn.evaluate(*before, *images).wrong
            assert outcome.wrong_after == nn.evaluate(*tuned, *images).wrong


def test_scratch_takes_the_steps_of_fine_tuning_and_scratch_long_those_of_both(compared_run):
    record = record_of(compared_run)
    for rivals in record.baselines.values():
        epochs = {rival.method: len(rival.curves["train_loss"]) for rival in rivals}
        assert epochs == {**dict.fromkeys(METHODS, 2), "scratch-long": 1 + 2}


def test_a_criterion_that_chooses_the_searched_filters_ends_with_the_searched_network(
    small_run, tmp_path, monkeypatch
):
    """Same filters, same recipe, same batches: the same bits."""
    finished, _ = small_run
    config = load_run_config(finished)
    base = nn.load(finished.base)
    genome = FilterGenome(base[0])
    (selected,) = record_of(finished).selected
    bits = np.isin(np.arange(70), selected.genome)
    masks = genome.masks(bits)
    monkeypatch.setattr(
        baselines.Baselines, "_score", lambda *_, **__: {n: m.astype(float) for n, m in masks.items()}
    )
    folder = RunFolder.create(tmp_path / "run", finished.config.read_text())
    rivals = baselines.Baselines(config, steps.load_splits(config))
    rivals.run(0, selected.name, bits, base, genome, folder, Silent())
    _, expected = nn.load(finished.model_file(selected.name))
    _, found = nn.load(folder.network_file(f"{selected.name}/taylor"))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_one_seed_one_result(small_run, run_tiny, tmp_path):
    again = run_tiny(tmp_path / "again", *FEW)
    assert stored(again) == stored(small_run[0])
    assert len(stored(again)) == 2 + 1 + 4


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        ("fine-tune {}/random", 1),
        ("fine-tune {}/taylor", 2),
        ("train {}/scratch", 1),
        ("train {}/scratch-long", 3),
        ("test set", 1),
        ("test set", 4),
        ("test set", 6),
    ],
)
def test_resume_after_an_interruption_gives_the_same_bytes(small_run, run_tiny, tmp_path, stage, step):
    finished, stages = small_run
    stage = stage.format(record_of(finished).selected[0].name)
    assert step <= stages[stage], "the stage has such a step"
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", *FEW, progress=StopAt(stage, step))
    folder = RunFolder.open(tmp_path / "run")
    execute(load_run_config(folder), folder, Silent())
    assert stored(folder) == stored(finished)
    assert not folder.checkpoints.exists()


def test_resume_measures_on_the_test_set_only_what_was_not_measured(small_run, run_tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", *FEW, progress=StopAt("test set", 4))
    folder = RunFolder.open(tmp_path / "run")
    execute(load_run_config(folder), folder, Silent())
    tested = [event["network"] for event in folder.events() if event["event"] == "tested"]
    assert len(tested) == len(set(tested)) == 6


def test_without_fine_tuning_the_criteria_are_measured_only(run_tiny, tmp_path):
    folder = run_tiny(tmp_path / "run", *FEW, "baselines.tune=false", "baselines.scratch=false")
    record = record_of(folder)
    (selected,) = record.selected
    for rival in record.baselines[selected.name]:
        assert not rival.tuned
        assert rival.validation.wrong_before == rival.validation.wrong_after
        assert rival.test.wrong_before == rival.test.wrong_after
        assert not rival.curves
    assert [r.method for r in record.baselines[selected.name]] == ["random", "taylor"]
    assert "measured" in {event["event"] for event in folder.events()}


def test_by_default_there_are_none_and_nothing_else_changes(small_run, run_tiny, tmp_path):
    folder = run_tiny(tmp_path / "run", *FEW, "baselines.enabled=false")
    assert not folder.baselines.exists()
    assert record_of(folder).baselines == {}
    assert stored(folder).items() < stored(small_run[0]).items()
    assert not parse_config({"system": "emofp"}, "x").baselines.enabled


def test_a_finished_run_is_compared_afterwards(small_run, run_tiny, tmp_path):
    folder = run_tiny(tmp_path / "run", *FEW, "baselines.enabled=false")
    text = folder.config.read_text().replace("enabled = false", "enabled = true")
    folder.config.write_text(text)
    folder.check_config()
    execute(load_run_config(folder), folder, Silent())
    assert stored(folder) == stored(small_run[0])
    folder.config.write_text(text.replace("scratch = true", "scratch = false"))
    with pytest.raises(RunFolderError, match=r"baselines\.scratch \(was True, is False\)"):
        folder.check_config()


def test_a_run_of_before_baselines_still_means_the_same(small_run):
    table = load_run_config(small_run[0]).model_dump()
    del table["baselines"]
    config = parse_config(table, "old config.toml")
    assert not config.baselines.enabled
    assert config.finetune == load_run_config(small_run[0]).finetune


def test_too_few_training_images_are_named_before_any_training(run_tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"baselines\.images: .*balanced subset of 1000"):
        run_tiny(tmp_path / "run", *COMPARED, "baselines.images=1000")
    assert not (tmp_path / "run" / "base.h5").exists()


def test_a_criterion_that_cannot_score_the_network_fails_before_the_search(run_tiny, tmp_path):
    builder = NetworkBuilder("smooth", (1, 28, 28))
    builder.conv("conv1", 6, 5)
    builder.node("tanh1", "tanh")
    builder.flatten("flatten")
    builder.linear("fc", 10)
    net = builder.build()
    nn.save(tmp_path / "smooth.h5", net, net.init(seed=0))
    with pytest.raises(NetworkError, match="'apoz' counts zeros after a ReLU"):
        run_tiny(tmp_path / "run", *COMPARED, f'base.file="{tmp_path / "smooth.h5"}"')
    assert not (tmp_path / "run" / "search.h5").exists()


def test_same_configuration_takes_the_highest_scores_of_each_layer():
    net = networks.build("lenet", input_shape=(1, 28, 28), classes=10, widths=(3, 4, 5))
    genome = FilterGenome(net)
    scores = {"conv1": np.array([0.1, 0.3, 0.2]), "conv2": np.array([5.0, 7.0, 7.0, 6.0])}
    bits = np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)
    chosen = baselines.same_configuration(genome, scores, bits)
    assert chosen.astype(int).tolist() == [0, 1, 1, 0, 1, 1, 0]
    bits = np.array([0, 0, 1, 0, 0, 0, 1], dtype=bool)
    chosen = baselines.same_configuration(genome, scores, bits)
    assert chosen.astype(int).tolist() == [0, 1, 0, 0, 1, 0, 0], "of equal scores the lower filter"


def test_same_configuration_agrees_in_layers_that_are_added():
    """conv1 and conv3 are added, so their filters go together; conv2 is free."""
    builder = NetworkBuilder("residual", (1, 8, 8))
    builder.conv("conv1", 4, 3, padding=1)
    first = builder.relu("relu1")
    builder.conv("conv2", 5, 3, padding=1)
    builder.relu("relu2")
    builder.conv("conv3", 4, 3, padding=1)
    builder.add("sum", "conv3", first)
    builder.relu("relu3")
    builder.global_avg_pool("pool")
    builder.linear("fc", 3)
    net = builder.build()
    params = net.init(seed=1)
    genome = FilterGenome(net)
    assert genome.n_bits == 9
    rng = np.random.default_rng(5)
    for _ in range(10):
        scores = {name: rng.random(n) for name, n in compress.prunable_layers(net).items()}
        bits = genome.random([0.5], rng)[0]
        chosen = baselines.same_configuration(genome, compress.tied_importance(net, scores), bits)
        assert genome.kept(chosen[None]).tolist() == genome.kept(bits[None]).tolist()
        compress.slim(net, params, genome.masks(chosen))


def test_stretched_recipes_by_hand():
    # 1,000 images, batches of 64: 16 steps an epoch; 30 epochs are 480 steps, which batches of 128 (8 steps
    # an epoch) take 60 epochs for. 100 steps need 12.5, so 13 epochs.
    finetune = TrainSection(epochs=30, batch_size=64)
    assert baselines.optimiser_steps(finetune, 1000) == 480
    recipe = TrainSection(epochs=20, batch_size=128, schedule="step", milestones=(10, 15))
    longer = baselines.stretched(recipe, 480, 1000)
    assert (longer.epochs, longer.milestones) == (60, (30, 45))
    assert baselines.stretched(recipe, 100, 1000).epochs == 13
    assert baselines.stretched(recipe, 1, 1000).milestones == (1,)
    assert baselines.stretched(recipe, 480, 1000).lr == recipe.lr


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"criteria": ["l1", "tayler"]}, "unknown criterion 'tayler'; did you mean 'taylor'?"),
        ({"criteria": ["l1", "l1"]}, "each criterion can be named once"),
        ({"enabled": True, "criteria": [], "scratch": False}, "criteria is empty and scratch is false"),
        ({"images": 0}, "baselines.images"),
        ({"enable": True}, "did you mean 'enabled'?"),
    ],
)
def test_mistakes_in_the_section_are_named(section, message):
    with pytest.raises(ConfigError) as caught:
        parse_config({"system": "emofp", "baselines": section}, "x")
    assert message in str(caught.value)


def test_records_are_read_by_name(small_run):
    folder, _ = small_run
    (selected,) = record_of(folder).selected
    assert read_network_record(folder, f"{selected.name}/scratch").method == "scratch"
    assert read_network_record(folder, selected.name).method == ""
