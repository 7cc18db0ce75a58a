"""EMOMC from end to end on a small run: what it stores, that it resumes, that a seed fixes everything."""

import shutil

import numpy as np
import pytest

from emoref import compress, nn
from emoref.compress import energy
from emoref.compress.library import Library, network_checksum
from emoref.data import load
from emoref.errors import ConfigError, FileFormatError, NetworkError, RunFolderError
from emoref.runs.compressed import Count, compressed_names, read_compressed
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.record import read_network_record
from emoref.runs.store import SearchStore
from emoref.systems import emomc_select, execute, load_run_config, steps


def files_that_count(folder):
    names = ["config.toml", "base.h5", "library.h5"]
    names += [f"{place.name}/{p.name}" for place in (folder.searches, folder.models) for p in place.iterdir()]
    return {name: (folder.path / name).read_bytes() for name in sorted(names)}


def networks_of(folder):
    return [read_compressed(folder, name) for name in compressed_names(folder)]


def test_what_a_run_stores(emomc_run):
    library = Library.load(emomc_run.library)
    assert library.ratios == (0.3, 0.8)
    assert library.base == network_checksum(*nn.load(emomc_run.base))
    assert sorted(p.stem for p in emomc_run.searches.iterdir()) == ["energy-X-Y", "size-csr"]
    assert not emomc_run.checkpoints.exists()
    records = networks_of(emomc_run)
    assert {record.search for record in records} == {"energy-X-Y", "size-csr"}
    for record in records:
        assert (emomc_run.models / f"{record.name}.emz").stat().st_size == record.file_bytes
        assert list(record.bits) == ["conv1", "conv2", "conv3", "fc1", "fc2"]
        assert all(2 <= bits <= 12 for bits in record.bits.values())
        assert record.test.images == 1000
        assert record.validation.images == 200
        assert record.searched.images == 100
    assert read_network_record(emomc_run, "base").test.images == 1000


def test_every_stored_objective_is_that_of_a_network_alone(emomc_run):
    """Errors, energies and sizes of the last generation, recomputed one network at a time."""
    config = load_run_config(emomc_run)
    library = Library.load(emomc_run.library)
    net, layers = library.net, compress.weighted_layers(library.net)
    images, labels = steps.fitness_images(steps.load_splits(config), config.search.images, config.seed)
    for name in ("energy-X-Y", "size-csr"):
        last = SearchStore.open(emomc_run.searches / f"{name}.h5").generations[-1]
        assert last.genomes.dtype == np.int64
        for genome, values in zip(last.genomes[:4], last.objectives, strict=False):
            model, bits = library.models[genome[0]], dict(zip(layers, map(int, genome[1:]), strict=True))
            small = compress.quantize_network(net, model.params(net), bits, "emomc")
            assert values[0] == nn.evaluate(net, small.params(), images, labels).wrong / 100
            if name == "size-csr":
                assert values[1] == energy.emomc_size(net, "csr", model.remaining_ratio, bits).size_bits
            else:
                assert values[1] == energy.emomc_energy(net, "X:Y", model.remaining_ratio, bits).energy_pj


def test_library_models_have_the_share_of_weights_that_was_asked_for(emomc_run):
    library = Library.load(emomc_run.library)
    for model in library.models:
        for layer in compress.weight_density(library.net, model.params(library.net)):
            assert layer.nonzero <= compress.kept_weights(layer.weights, model.remaining_ratio)
            assert layer.remaining_ratio == pytest.approx(model.remaining_ratio, abs=0.02)


def test_stored_files_predict_what_their_records_say(emomc_run):
    images, labels = load("fashion-mnist-small", "test").arrays()
    for record in networks_of(emomc_run):
        stored = compress.load_emz(emomc_run.models / f"{record.name}.emz")
        assert nn.evaluate(stored.net, stored.params(), images, labels).wrong == record.test.wrong


def test_selection_keeps_its_promise_on_all_validation_images(emomc_run):
    base = read_network_record(emomc_run, "base").validation
    for record in networks_of(emomc_run):
        if record.choice.startswith("cheapest"):
            assert record.validation.error <= base.error_after + 0.05 + 1e-9


def interrupted(folder, stage, step, stop_at):
    """Run on until one step of one stage, and then to the end; return the folder."""
    with pytest.raises(KeyboardInterrupt):
        execute(load_run_config(folder), folder, stop_at(stage, step))
    execute(load_run_config(folder), folder, Silent())
    return folder


@pytest.mark.parametrize(
    ("stage", "step"), [("base network", 1), ("library 0.3", 1), ("library 0.3", 2), ("library 0.8", 1)]
)
def test_resume_while_training_gives_the_same_bytes(emomc_run, run_emomc, tmp_path, stage, step, stop_at):
    with pytest.raises(KeyboardInterrupt):
        run_emomc(tmp_path / "run", progress=stop_at(stage, step))
    folder = RunFolder.open(tmp_path / "run")
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(emomc_run)


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        ("search energy-X-Y", 0),
        ("search energy-X-Y", 2),
        ("search size-csr", 1),
        ("write models", 1),
        ("test set", 1),
        ("test set", 2),
    ],
)
def test_resume_after_the_library_gives_the_same_bytes(emomc_run, tmp_path, stage, step, stop_at):
    shutil.copytree(emomc_run.path, tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    shutil.rmtree(folder.models)
    if stage.startswith("search"):
        shutil.rmtree(folder.searches)
    assert files_that_count(interrupted(folder, stage, step, stop_at)) == files_that_count(emomc_run)


def test_resuming_a_finished_run_changes_nothing(emomc_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(emomc_run.path, path)
    folder = RunFolder.open(path)
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(emomc_run)


def from_base_and_library(folder):
    return f'base.file="{folder.base}"', f'library.file="{folder.library}"'


def test_a_library_of_an_earlier_run_is_taken_over(emomc_run, run_emomc, tmp_path):
    folder = run_emomc(
        tmp_path / "run", *from_base_and_library(emomc_run), "library.ratios=[0.8]", "search.codings=[]"
    )
    kept, original = Library.load(folder.library), Library.load(emomc_run.library)
    assert kept.ratios == (0.8,)
    assert np.array_equal(kept.models[0].values["conv2.weight"], original.models[1].values["conv2.weight"])


def test_a_library_without_a_wanted_ratio_is_refused(emomc_run, run_emomc, tmp_path):
    with pytest.raises(ConfigError, match=r"no model with remaining ratio 0.5; it has 0.3, 0.8"):
        run_emomc(tmp_path / "run", *from_base_and_library(emomc_run), "library.ratios=[0.5]")


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ('library.file="/no/such.h5"', FileFormatError, "/no/such.h5: no such file"),
        ("search.images=201", ConfigError, "search.images: 201 asked for, but data.validation holds out 200"),
        ("library.ratios=[0.5]", ConfigError, "no model with remaining ratio 0.5; it has 0.3, 0.8"),
    ],
)
def test_what_is_needed_late_is_asked_for_before_training(
    emomc_run, run_emomc, tmp_path, override, error, message
):
    with pytest.raises(error, match=message):
        run_emomc(tmp_path / "run", f'library.file="{emomc_run.library}"', override)
    assert not (tmp_path / "run" / "base.h5").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_library_of_another_network_is_refused(emomc_run, run_emomc, tmp_path):
    other = f'library.file="{emomc_run.library}"'
    with pytest.raises(NetworkError, match=r"library.file: .*belongs to another network.*as base.file"):
        run_emomc(tmp_path / "run", other, "seed=4", "base.train.epochs=1")
    path = tmp_path / "copy"
    shutil.copytree(emomc_run.path, path)
    folder = RunFolder.open(path)
    library = Library.load(folder.library)
    Library(library.net, "0" * 32, library.models).save(folder.library)
    with pytest.raises(NetworkError, match=r"library.h5 belongs to another network"):
        execute(load_run_config(folder), folder, Silent())


def test_a_search_of_another_problem_is_refused(emomc_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(emomc_run.path, path)
    folder = RunFolder.open(path)
    stored = SearchStore.open(folder.search_file("size-csr"))
    store = SearchStore(folder.search_file("size-csr"), {**stored.layout, "images": 1})
    store.append(stored.generations[0], stored.state)
    with pytest.raises(RunFolderError, match="another network or problem"):
        execute(load_run_config(folder), folder, Silent())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("library.ratios=[0.0, 0.5]", "library.ratios.*greater than 0"),
        ("library.ratios=[1.5]", "library.ratios.*less than or equal to 1"),
        ("library.ratios=[]", "at least one remaining ratio"),
        ("library.ratios=[0.5, 0.5]", "each can be named once"),
        ("library.steps=9", "steps is 9, but train.epochs is 2"),
        ("search.bits=[1, 8]", "2 <= lowest <= highest <= 16"),
        ("search.bits=[2, 17]", "2 <= lowest <= highest <= 16"),
        ('search.dataflows=["X:Z"]', "unknown dataflow 'X:Z'; known: X:Y, CI:CO, FX:FY, X:FX"),
        ('search.codings=["zip"]', "unknown coding 'zip'; known: normal, csr, coo, smallest"),
        ('search.codings=["csr", "csr"]', "each can be named once"),
        ("library.rounded_bits=1", "one bit has no symmetric grid"),
        ("model.switches={no_such=true}", "no rule 'no_such'; known: whole_bits"),
        ('model.constants="/no/such.toml"', "constants: /no/such.toml: cannot be read"),
        ('model.quantizer="ternary"', "model.quantizer"),
    ],
)
def test_bad_settings_are_named(run_emomc, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        run_emomc(tmp_path / "run", override)


SHORT = ("search.generations=1", "search.population=6", "search.offspring=4", "search.images=50")


def short_run(run_emomc, emomc_run, path, *overrides):
    return run_emomc(path, *from_base_and_library(emomc_run), *SHORT, *overrides)


def test_another_seed_gives_another_search(emomc_run, run_emomc, tmp_path):
    other = short_run(run_emomc, emomc_run, tmp_path / "run", "seed=4", "search.codings=[]")
    ours, theirs = (SearchStore.open(f.search_file("energy-X-Y")) for f in (emomc_run, other))
    assert not np.array_equal(ours.generations[0].genomes[:6], theirs.generations[0].genomes)


@pytest.mark.usefixtures("threads_for_processes")
def test_worker_processes_change_no_byte(emomc_run, run_emomc, tmp_path):
    alone = short_run(run_emomc, emomc_run, tmp_path / "alone")
    spread = short_run(run_emomc, emomc_run, tmp_path / "spread", "engine.workers=3")
    left, right = files_that_count(alone), files_that_count(spread)
    assert {name: left[name] == right[name] for name in left if name != "config.toml"} == dict.fromkeys(
        left.keys() - {"config.toml"}, True
    )


def test_a_stored_file_has_the_length_that_the_size_objective_promised(emomc_run, run_emomc, tmp_path):
    """Under strict rules and for coders beyond the paper's; to the byte."""
    codings = ("normal", "csr", "coo", "smallest", "relative-4+huffman")
    folder = short_run(
        run_emomc,
        emomc_run,
        tmp_path / "run",
        'model.rules="strict"',
        f"search.codings={list(codings)}",
        "search.dataflows=[]",
    )
    records = networks_of(folder)
    assert {record.search for record in records} == {f"size-{coding}" for coding in codings}
    for record in records:
        coding = record.search.removeprefix("size-")
        assert record.promised_bytes == record.weight_bytes == record.sizes_bits[coding] / 8
        length = (folder.models / f"{record.name}.emz").stat().st_size
        assert length == record.promised_bytes + record.header_bytes + record.other_bytes
        assert record.sizes_bits["smallest"] <= min(record.sizes_bits.values())


def test_strict_energies_count_the_zeros_of_the_quantised_weights(emomc_run, run_emomc, tmp_path):
    folder = short_run(
        run_emomc,
        emomc_run,
        tmp_path / "run",
        'model.rules="strict"',
        "search.codings=[]",
        "library.ratios=[0.8]",
    )
    net, _ = nn.load(folder.base)
    for record in networks_of(folder):
        density = {layer: n / record.weights[layer] for layer, n in record.nonzero.items()}
        assert max(density.values()) < 0.81
        for dataflow, energy_pj in record.energies_pj.items():
            table = energy.emomc_energy(net, dataflow, density, record.bits, rules=energy.STRICT)
            assert energy_pj == pytest.approx(table.energy_pj, rel=1e-12)
            parts = [part for parts in record.breakdown_pj[dataflow].values() for part in parts]
            assert sum(parts) == pytest.approx(energy_pj, rel=1e-12)


def test_three_objectives_at_once(emomc_run, run_emomc, tmp_path):
    folder = short_run(
        run_emomc,
        emomc_run,
        tmp_path / "run",
        "search.three_objectives=true",
        "search.divisions=3",
        "search.codings=[]",
        "search.dataflows=[]",
    )
    store = SearchStore.open(folder.search_file("three"))
    assert store.layout["objectives"] == ["error", "energy under X:Y (pJ)", "size as normal (bit)"]
    assert store.generations[-1].objectives.shape == (12, 3)
    assert all(record.search == "three" for record in networks_of(folder))


def test_the_papers_protocol_looks_at_the_test_set_and_has_real_bits(emomc_run, run_emomc, tmp_path):
    folder = short_run(
        run_emomc, emomc_run, tmp_path / "run", "search.paper_protocol=true", "search.codings=[]"
    )
    store = SearchStore.open(folder.search_file("energy-X-Y"))
    assert store.layout["images"] == 1000
    generation = store.generations[-1]
    assert generation.genomes.dtype == np.float64
    assert (generation.genomes[:, 1:] != np.rint(generation.genomes[:, 1:])).any()
    library = Library.load(folder.library)
    for genome, values in zip(generation.genomes[:2], generation.objectives, strict=False):
        ratio = 0.8 if genome[0] >= 80 else 0.3
        expected = energy.emomc_energy(library.net, "X:Y", ratio, np.rint(genome[1:]))
        assert values[1] == expected.energy_pj
    with pytest.raises(ConfigError, match="paper_protocol is for the authors' arithmetic"):
        short_run(run_emomc, emomc_run, tmp_path / "x", "search.paper_protocol=true", 'model.rules="strict"')


@pytest.mark.parametrize("model", ["eyeriss", "operations"])
def test_other_energy_models_and_quantisers(emomc_run, run_emomc, tmp_path, model):
    folder = short_run(
        run_emomc,
        emomc_run,
        tmp_path / "run",
        f'model.energy="{model}"',
        'model.quantizer="symmetric-channels"',
        "search.codings=[]",
    )
    for record in networks_of(folder):
        assert record.energy_factor("X:Y") > 1
        stored = compress.load_emz(folder.models / f"{record.name}.emz")
        assert len(stored.tensors["conv2.weight"].grid.scale) == 16


def test_budgets_take_the_most_accurate_within(emomc_run, run_emomc, tmp_path):
    folder = short_run(
        run_emomc,
        emomc_run,
        tmp_path / "run",
        "select.budgets=[0.2]",
        "select.knee=false",
        "search.codings=[]",
    )
    chosen = [record for record in networks_of(folder) if "at most 0.2 of" in record.choice]
    assert len(chosen) == 1
    assert chosen[0].energies_pj["X:Y"] <= 0.2 * chosen[0].base_energies_pj["X:Y"]
    with pytest.raises(ConfigError, match=r"select.budgets: search energy-X-Y has no network"):
        short_run(run_emomc, emomc_run, tmp_path / "x", "select.budgets=[0.001]", "search.codings=[]")


class Lucky:
    """A checker that knows the error of each candidate, and counts how often it is asked."""

    base_error = 0.01

    def __init__(self, errors):
        self.errors, self.asked = errors, []

    def count(self, row):
        self.asked.append(int(row[0]))
        return Count(1000, round(1000 * self.errors[int(row[0])]))


@pytest.mark.parametrize(("good", "found"), [(0, 0), (19, 19), (25, 29), (99, 99), (100, 99)])
def test_the_cheapest_within_the_limit_is_found_behind_lucky_ones(good, found):
    """Of 100 candidates, cheapest first, those from `good` on keep the limit on all validation images."""
    rows = np.arange(100.0)[:, None]
    front = emomc_select._Front(None, rows, np.full(100, 0.01), rows + 1.0, 1000, 0.01)
    checker = Lucky([0.012 if place >= good else 0.02 for place in range(100)])
    place, why = emomc_select._cheapest_within(front, checker, 0.003)
    assert len(checker.asked) <= 40
    if good == 100:
        assert why.startswith("most accurate: none was found")
    else:
        assert why.startswith("cheapest with at most 0.3 points")
        assert good <= place <= found + 4


def test_limits_that_nothing_meets_are_named(emomc_run, run_emomc, tmp_path):
    with pytest.raises(ConfigError, match=r"search energy-X-Y: no network satisfies .*search.size_limit"):
        short_run(run_emomc, emomc_run, tmp_path / "run", "search.size_limit=0.01")


def test_training_with_rounded_weights_resumes_to_the_same_bytes(emomc_run, run_emomc, tmp_path, stop_at):
    settings = (
        f'base.file="{emomc_run.base}"',
        "library.rounded_bits=3",
        "data.train_limit=150",
        "library.ratios=[0.5]",
        "search.codings=[]",
        *SHORT,
    )
    whole = run_emomc(tmp_path / "whole", *settings)
    with pytest.raises(KeyboardInterrupt):
        run_emomc(tmp_path / "cut", *settings, progress=stop_at("library 0.5", 1))
    folder = RunFolder.open(tmp_path / "cut")
    execute(load_run_config(folder), folder, Silent())
    assert files_that_count(folder) == files_that_count(whole)


def test_a_damaged_record_is_named(emomc_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(emomc_run.path, path)
    folder = RunFolder.open(path)
    name = compressed_names(folder)[0]
    (folder.models / f"{name}.json").write_text("{")
    with pytest.raises(FileFormatError, match=rf"{name}.json: damaged"):
        read_compressed(folder, name)
    with pytest.raises(FileFormatError, match=r"none.json: cannot be read"):
        read_compressed(folder, "none")
