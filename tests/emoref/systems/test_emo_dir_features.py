"""EMO-DIR whose stages are judged by their features: what is measured, what it costs, resume."""

import numpy as np
import pytest
from emo_dir_runs import execute_tiny, files_that_count

from emoref import compress, nn
from emoref.runs.folder import RunFolder
from emoref.runs.joint_record import read_ranking, read_schemes
from emoref.runs.progress import Silent
from emoref.runs.record import read_network_record
from emoref.runs.store import SearchStore, front_rows
from emoref.systems import execute, load_run_config, steps
from emoref.systems.emo_dir_scoring import scoring_images

BY_FEATURES = (
    'search.judge="features"',
    "search.feature_images=20",
    "finetune.epochs=1",
    'baselines.methods=["whole", "whole-features"]',
)


@pytest.fixture(scope="module")
def by_features(tmp_path_factory, residual_file):
    """A finished run whose stages were judged by their features; tests must not change it."""
    return execute_tiny(tmp_path_factory.mktemp("runs") / "features", residual_file, *BY_FEATURES)


@pytest.mark.usefixtures("threads_for_processes")
def test_stages_judged_by_their_features_resume_with_workers(by_features, residual_file, tmp_path, stop_at):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute_tiny(path, residual_file, *BY_FEATURES, progress=stop_at("search stage2", 1))
    folder = RunFolder.open(path)
    assert len(SearchStore.open(folder.search_file("stage2")).generations) == 2
    folder.config.write_text(folder.config.read_text().replace("workers = 0", "workers = 2"))
    assert load_run_config(folder).engine.workers == 2
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(by_features)


def test_stages_can_be_judged_by_their_features(by_features):
    folder = by_features
    net, joint = nn.load(folder.stages / "joint.h5")
    division = compress.divide(net, compress.find_stages(net))
    config = load_run_config(folder)
    splits = steps.load_splits(config)
    images = scoring_images(splits, config.search, config.seed).features
    assert len(images) == 20
    for k, stage in enumerate(division.stages):
        ahead, own = division.before(k), nn.split_params([stage], joint)[0]
        entering = nn.predict(ahead, nn.split_params([ahead], joint)[0], images, "reference")
        data, (name,) = nn.ArrayData(entering, np.zeros(20, int)), compress.prunable_layers(stage)

        def features(row, stage=stage, own=own, name=name, data=data):
            small, params = compress.slim(stage, own, {name: row})
            params = nn.reestimate_batch_norm(small, params, data, 1, 20, backend="reference")
            return nn.predict(small, params, data.images, "reference").astype(float)

        store = SearchStore.open(folder.search_file(f"stage{k + 1}"))
        assert store.layout["objectives"] == ["remaining MACs ratio", "feature distance"]
        unpruned = features(np.ones(8, bool))
        for row, (_, distance) in zip(
            store.generations[-1].genomes, store.generations[-1].objectives, strict=True
        ):
            moved = ((features(row) - unpruned) ** 2).sum() / (unpruned**2).sum()
            assert distance == pytest.approx(moved, rel=1e-4, abs=1e-9)
        # What enters the stage; the unpruned stage and every candidate, once for statistics and once more.
        first = int(store.state["macs_executed"][0]) - 20 * compress.count(ahead).macs
        everyone = [np.ones(8, bool), *np.unique(store.generations[0].genomes, axis=0)]
        small = [compress.slim_network(stage, {name: row}) for row in everyone]
        assert first == 40 * sum(compress.count(one).macs for one in small)
    # The search over the whole network is still judged by errors, which are whole numbers of images.
    whole = SearchStore.open(folder.search_file("whole"))
    assert whole.layout["objectives"][1] == "error"
    errors = whole.generations[-1].objectives[:, 1] * 40
    np.testing.assert_allclose(errors, np.round(errors))


def test_the_whole_network_can_be_judged_by_its_logits(by_features):
    store, *stages = (
        SearchStore.open(by_features.search_file(name)) for name in ("whole-features", "stage1", "stage2")
    )
    assert store.layout["objectives"][1] == "feature distance"
    ranking, schemes = read_ranking(by_features), read_schemes(by_features, "whole-features")
    spent = sum(int(stage.state["macs_executed"][-1]) for stage in stages)
    spent += ranking.macs_executed + read_schemes(by_features, "schemes").macs_executed
    executed = store.state["macs_executed"]
    assert executed[-1] >= spent > executed[-2]
    # Its front is measured by its errors, like everything that is compared.
    last = store.generations[-1]
    front = last.objectives[front_rows(last)]
    assert [one.saved_macs / ranking.macs for one in schemes.schemes] == pytest.approx(1 - front[:, 0])
    best = min(
        (one for one in schemes.schemes if one.saved_macs >= 0.25 * ranking.macs), key=lambda one: one.wrong
    )
    record = read_network_record(by_features, "joint-25/whole-features")
    assert record.macs <= 0.75 * ranking.macs
    assert ranking.macs - record.macs in {
        one.saved_macs for one in schemes.schemes if one.wrong == best.wrong
    }
