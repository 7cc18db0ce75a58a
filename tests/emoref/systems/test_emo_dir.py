"""EMO-DIR from end to end on a small residual network: what it stores, resume, workers, bad input."""

import tomllib

import numpy as np
import pytest
from emo_dir_runs import config_of, execute_tiny, files_that_count, residual

from emoref import compress, nn
from emoref.data import load
from emoref.errors import ConfigError, FileFormatError, NetworkError, RunFolderError
from emoref.runs.folder import RunFolder
from emoref.runs.joint_record import read_ranking, read_schemes
from emoref.runs.progress import Silent
from emoref.runs.record import read_network_record
from emoref.runs.store import SearchStore, front_rows
from emoref.systems import emo_dir, execute, load_run_config, steps
from emoref.systems.emo_dir_scoring import scoring_images


@pytest.fixture(scope="module")
def finished(tmp_path_factory, residual_file):
    """A finished run with baselines; tests must not change it."""
    return execute_tiny(tmp_path_factory.mktemp("runs") / "tiny", residual_file)


def test_what_a_run_stores(finished):
    assert sorted(files_that_count(finished)) == sorted(
        [
            "base.h5",
            *(f"stages/{name}.h5" for name in ("joint", "stage1", "stage2")),
            *(f"searches/{name}.h5" for name in ("stage1", "stage2", "whole")),
            *(f"joint/{name}.json" for name in ("ranking", "schemes", "random", "equal-rate")),
            "models/joint-25.h5",
            *(f"baselines/joint-25/{name}.h5" for name in ("random", "equal-rate", "whole")),
        ]
    )
    assert not finished.checkpoints.exists()


def test_trained_stages_differ_from_the_base_only_in_themselves(finished):
    base, joint = nn.load(finished.base)[1], nn.load(finished.stages / "joint.h5")[1]
    changed = {name.split("_")[0] for name in base if not np.array_equal(base[name], joint[name])}
    assert changed == {"s1b1", "s2b1"}


def test_searches_keep_the_intact_stage_and_count_what_they_executed(finished):
    division = compress.divide(residual(), compress.find_stages(residual()))
    for k, stage in enumerate(division.stages, start=1):
        store = SearchStore.open(finished.search_file(f"stage{k}"))
        assert store.layout["macs"] == compress.count(stage).macs
        assert store.generations[0].genomes.all(axis=1).any()
        executed = store.state["macs_executed"]
        assert len(executed) == len(store.generations) == 3
        assert (np.diff(executed) > 0).all()
        for generation in store.generations:
            (name,) = compress.prunable_layers(stage)
            for row, (ratio, _) in zip(generation.genomes, generation.objectives, strict=True):
                small = compress.slim_network(stage, {name: row})
                assert ratio == compress.count(small).macs / compress.count(stage).macs


def test_the_whole_network_gets_the_same_budget(finished):
    ranking, schemes = read_ranking(finished), read_schemes(finished, "schemes")
    stages = [SearchStore.open(finished.search_file(f"stage{k}")) for k in (1, 2)]
    spent = sum(int(store.state["macs_executed"][-1]) for store in stages)
    spent += ranking.macs_executed + schemes.macs_executed
    whole = SearchStore.open(finished.search_file("whole")).state["macs_executed"]
    assert whole[-2] < spent <= whole[-1]


def test_a_longer_search_over_the_whole_network_offers_what_it_had_at_equal_cost(
    finished, residual_file, tmp_path
):
    folder = execute_tiny(tmp_path / "run", residual_file, "baselines.whole_budget=1.5")
    executed = [
        SearchStore.open(one.search_file("whole")).state["macs_executed"] for one in (finished, folder)
    ]
    assert executed[0].tolist() == executed[1][: len(executed[0])].tolist()
    assert executed[1][-1] >= 1.5 * spent_on_schemes(folder) > executed[1][-2]
    longer, usual = files_that_count(folder), files_that_count(finished)
    assert longer.pop("searches/whole.h5") != usual.pop("searches/whole.h5")
    assert longer == usual


def spent_on_schemes(folder):
    from emoref.report.emo_dir_tables import ledger
    from emoref.runs.record import read_run

    rows = {row.phase: row for row in ledger(read_run(folder, tomllib.loads(folder.config.read_text())))}
    return rows["search in all"].macs


def test_every_joint_network_has_the_macs_that_its_scheme_predicts(finished):
    ranking = read_ranking(finished)
    assert ranking.macs == compress.count(residual()).macs
    record = read_network_record(finished, "joint-25")
    schemes = read_schemes(finished, "schemes").schemes
    (scheme,) = [s for s in schemes if ranking.macs - s.saved_macs == record.macs][:1]
    assert scheme.saved_macs >= 0.25 * ranking.macs
    for name in ("joint-25", "joint-25/random", "joint-25/equal-rate", "joint-25/whole"):
        net, params = nn.load(finished.network_file(name))
        nn.check_params(net, params)
        record = read_network_record(finished, name)
        assert compress.count(net).macs == record.macs <= ranking.macs - 0.25 * ranking.macs
        assert record.test.images == 1000


def test_impairments_are_those_of_each_member_alone(finished, residual_file):
    """Every member of the ranking, evaluated again as a slim network of its own."""
    config = load_run_config(finished)
    splits = steps.load_splits(config)
    scoring = scoring_images(splits, config.search, config.seed)
    work = emo_dir.Work(config, nn.load(finished.base), splits, scoring, finished, Silent())
    work.train()
    stores = [SearchStore.open(finished.search_file(f"stage{k}")) for k in (1, 2)]
    ranking = read_ranking(finished)
    assert len(ranking.members) == sum(len(front_rows(store.generations[-1])) for store in stores)
    for member in ranking.members:
        choice = [-1, -1]
        choice[member.stage] = member.index
        net, params = work.pruned(work.bits(stores, choice))
        assert ranking.macs - compress.count(net).macs == member.saved_macs
        images, labels = scoring.images, scoring.labels
        assert nn.evaluate(net, params, images, labels, backend="reference").wrong == member.wrong


def test_statistics_are_measured_on_images_augmented_as_in_training(residual_file):
    """Otherwise the unpruned network itself meets statistics that its weights are not used to."""

    def recalibration(*overrides):
        config = config_of(residual_file, *overrides)
        return scoring_images(steps.load_splits(config), config.search, config.seed).recalibration

    plain, shifted, again = (
        recalibration(),
        *(recalibration("data.crop_padding=4", "data.flip=true") for _ in "12"),
    )
    assert plain.shape == shifted.shape == (20, 1, 28, 28)
    assert ((plain - shifted).reshape(20, -1) != 0).any(1).sum() > 15
    np.testing.assert_array_equal(shifted, again)


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        ("stage 2", 1),
        ("search stage1", 0),
        ("search stage2", 1),
        ("ranking", 1),
        ("joint random", 1),
        ("search whole", 20),
        ("fine-tune joint-25", 1),
        ("fine-tune joint-25/whole", 1),
        ("test set", 2),
    ],
)
def test_resume_after_an_interruption_gives_the_same_bytes(
    finished, residual_file, tmp_path, stop_at, stage, step
):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute_tiny(path, residual_file, progress=stop_at(stage, step))
    folder = RunFolder.open(path)
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(finished)


@pytest.mark.usefixtures("threads_for_processes")
def test_workers_give_the_same_bytes(finished, residual_file, tmp_path):
    folder = execute_tiny(tmp_path / "run", residual_file, "engine.workers=2")
    assert files_that_count(folder) == files_that_count(finished)


def test_probe_detectors_front_mode_groups_and_ablations(residual_file, tmp_path):
    folder = execute_tiny(
        tmp_path / "run",
        residual_file,
        'constraint.detector="probe"',
        "constraint.feature_weight=0",
        "constraint.predecessor_probability=0",
        "constraint.train.epochs=1",
        "search.group=2",
        "search.recalibration_batches=0",
        "joint.targets=[]",
        "joint.count=2",
        "finetune.epochs=1",
        "finetune.distill=false",
        "baselines.enabled=false",
    )
    detector, _ = nn.load(folder.stages / "detector1.h5")
    assert detector.input_shape == (4, 7, 7)
    # Of 100 images, one epoch: the teacher up to the end of the stage, and three times the probe.
    division = compress.divide(residual(), compress.find_stages(residual()))
    until, probe = (compress.count(net).macs for net in (nn.join(division.parts[:2]), detector))
    assert nn.load_extra(folder.stages / "detector1.h5")["training_macs"] == 100 * (until + 3 * probe)
    store = SearchStore.open(folder.search_file("stage1"))
    assert store.generations[0].genomes.shape[1] == 4  # 8 filters, two to a bit
    names = sorted(path.stem for path in folder.models.glob("*.h5"))
    assert names[0] == "joint-front-1"
    for name in names:
        assert read_network_record(folder, name).kept["s1b1_conv1"] % 2 == 0


def test_stages_can_be_searched_as_they_are(residual_file, tmp_path):
    folder = execute_tiny(
        tmp_path / "run",
        residual_file,
        "constraint.enabled=false",
        "finetune.epochs=1",
        "baselines.enabled=false",
    )
    base, joint = nn.load(folder.base)[1], nn.load(folder.stages / "joint.h5")[1]
    assert all(np.array_equal(base[name], joint[name]) for name in base)


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        (['split.stages=["s1b1_rel"]'], NetworkError, ["s1b1_rel", "did you mean 's1b1_relu'"]),
        (['split.stages=["s1b1_conv1"]'], NetworkError, ['the edge from "relu" to "s1b1_add" passes by it']),
        (['split.stages=["relu", "s2b1_relu"]'], NetworkError, ["nothing prunable", '"relu"']),
        (['split.stem="relu"'], ConfigError, ["split: stem is given, but stages is empty"]),
        (["joint.targets=[0.99]"], ConfigError, ["99.0%", "best reachable is", "one filter in each layer"]),
        (["joint.targets=[]"], ConfigError, ["nothing would be joined"]),
        (["search.recalibration_batches=11"], ConfigError, ["search.recalibration_batches", "110", "100"]),
        (
            ["search.recalibration_batches=0", 'search.judge="features"', "search.feature_images=101"],
            ConfigError,
            ["search.feature_images", "101", "100"],
        ),
        (['search.judge="feature"'], ConfigError, ["search.judge", "'features'"]),
        (
            ['baselines.methods=["whole-features"]'],
            ConfigError,
            ["baselines.methods", 'search.judge = "features"'],
        ),
        (["search.images=101"], ConfigError, ["search.images: 101 asked for", "holds out 100"]),
        (["search.initial_ratio=[0.9, 0.5]"], ConfigError, ["initial_ratio", "low <= high"]),
        (['constraint.detector="tial"'], ConfigError, ["constraint.detector"]),
        (
            ["baselines.whole_budget=0.5"],
            ConfigError,
            ["baselines.whole_budget", "greater than or equal to 1"],
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(residual_file, tmp_path, overrides, error, says):
    with pytest.raises(error) as caught:
        execute_tiny(tmp_path / "run", residual_file, *overrides)
    for words in says:
        assert words in str(caught.value)
    assert not (tmp_path / "run" / "base.h5").exists()


def test_a_target_that_the_searches_did_not_reach_says_what_they_did(residual_file, tmp_path):
    with pytest.raises(ConfigError, match=r"saves 73\.0% .* the best reachable is \d+\.\d%"):
        execute_tiny(
            tmp_path / "run",
            residual_file,
            "joint.targets=[0.73]",
            "search.initial_ratio=[0.9, 1.0]",
            "search.generations=1",
            "constraint.enabled=false",
        )


def test_damaged_files_are_named(finished, residual_file, tmp_path):
    import shutil

    shutil.copytree(finished.path, tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    for name in ("ranking", "schemes"):
        path = folder.joint / f"{name}.json"
        good = path.read_text()
        for bad in ("{", "[]", '{"members": [1], "schemes": [1]}', good.replace("wrong", "wrnog")):
            path.write_text(bad)
            with pytest.raises(FileFormatError, match=f"{name}.json: damaged"):
                read_ranking(folder) if name == "ranking" else read_schemes(folder, name)
        path.write_text(good)
    shutil.rmtree(folder.joint)
    folder.joint.write_text("")
    with pytest.raises(RunFolderError, match="is a file; a folder is needed"):
        execute_in(folder)


def execute_in(folder):
    with folder.writing():
        execute(load_run_config(folder), folder, Silent())


# ------------------------------------------------------------------------------------------ stage training


def test_the_gradient_of_the_stage_loss_is_that_of_its_value():
    """Random-vector products in float64, with the batch fed by a perturbed predecessor."""
    from emoref.systems.emo_dir_training import ConstraintSection, Detector, StageLoss

    net = residual()
    rng = np.random.default_rng(0)
    params = {n: rng.uniform(0.5, 1, s) * rng.choice([-1, 1], s) for n, s in net.param_shapes().items()}
    for name in params:
        if name.endswith(("running_var", "gamma")):
            params[name] = np.abs(params[name])
    division = compress.divide(net, compress.find_stages(net))
    stage, tail = division.stages[1], division.after(1)

    def own(part):
        return nn.split_params([part], params)[0]

    images, labels = rng.normal(size=(4, 1, 28, 28)), np.array([0, 3, 5, 9])
    start = own(stage)
    moved = {n: v + 0.1 * rng.normal(size=v.shape) for n, v in start.items() if n in stage.trainable()}
    at = {**start, **moved}
    for probability in (0.0, 1.0):
        section = ConstraintSection(feature_weight=0.7, predecessor_probability=probability)
        before, earlier = division.before(1), division.before(0)
        loss = StageLoss(
            stage,
            nn.Predictor(stage, start, "reference"),
            Detector(tail, own(tail)),
            nn.Predictor(before, own(before), "reference"),
            (division.stages[0], own(division.stages[0])),
            nn.Predictor(earlier, own(earlier), "reference"),
            section,
            1,
            "reference",
        )
        result = loss(at, images, labels, 0, 0)
        direction = {n: rng.normal(size=v.shape) for n, v in moved.items()}
        step = 1e-6
        ends = [
            loss({**at, **{n: at[n] + sign * step * d for n, d in direction.items()}}, images, labels, 0, 0)
            for sign in (1, -1)
        ]
        numeric = (ends[0].loss - ends[1].loss) / (2 * step)
        exact = sum(float((result.grads[n] * d).sum()) for n, d in direction.items())
        assert exact == pytest.approx(numeric, rel=1e-5)
        assert set(result.grads) == set(stage.trainable())
    # The teacher itself, fed with its own features: no feature loss is left, but that of batch statistics.
    assert loss.macs_of_image() > 0


def test_training_costs_by_hand():
    from emoref.systems.emo_dir_training import ConstraintSection, Detector, StageLoss

    net = residual()
    division = compress.divide(net, compress.find_stages(net))
    macs = [compress.count(part).macs for part in division.parts]  # stem, stage 1, stage 2, head
    loss = StageLoss(
        division.stages[1], nn.Predictor(division.stages[1], {}), Detector(division.after(1), {}),
        nn.Predictor(division.before(1), {}), (division.stages[0], {}), nn.Predictor(division.before(0), {}),
        ConstraintSection(), 0, "reference",
    )  # fmt: skip
    teacher, forward_backward = sum(macs[:3]), 3 * (macs[2] + macs[3])
    assert loss.macs_of_image() == teacher + forward_backward + round(0.5 * (macs[0] + macs[1]))


def test_the_test_set_is_that_of_the_data(finished):
    net, params = nn.load(finished.model_file("joint-25"))
    images, labels = load("fashion-mnist-small", "test").arrays()
    record = read_network_record(finished, "joint-25")
    assert nn.evaluate(net, params, images, labels, backend="reference").wrong == record.test.wrong_after
