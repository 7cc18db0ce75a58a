"""The library of pruned models: nothing is lost, and a damaged file is refused by name."""

import h5py
import numpy as np
import pytest

from emoref import compress
from emoref.compress import Library, PrunedModel, network_checksum
from emoref.compress.library import library_notes
from emoref.errors import FileFormatError, NetworkError
from emoref.hdf5 import write_atomic, write_json
from emoref.nn import NetworkBuilder


def a_network():
    builder = NetworkBuilder("small", (1, 6, 6))
    builder.conv("conv", 3, 3)
    builder.batch_norm("norm")
    builder.relu("relu")
    builder.flatten("flat")
    builder.linear("fc", 4)
    return builder.build()


@pytest.fixture(scope="module")
def net():
    return a_network()


@pytest.fixture(scope="module")
def library(net):
    params = net.init(5)
    models = tuple(
        PrunedModel.of(
            net,
            compress.apply_weight_masks(net, params, compress.magnitude_masks(net, params, ratio)),
            ratio,
            {"error": 0.25},
        )
        for ratio in (0.3, 0.7)
    )
    return Library(net, network_checksum(net, params), models)


def test_a_model_gives_back_every_parameter(net):
    params = net.init(5)
    pruned = compress.apply_weight_masks(net, params, compress.magnitude_masks(net, params, 0.4))
    model = PrunedModel.of(net, pruned, 0.4)
    back = model.params(net)
    assert list(back) == list(net.param_shapes())
    assert all(np.array_equal(back[name], pruned[name]) for name in pruned)
    assert model.values["conv.weight"].size == 11, "round(27 * 0.6) = 16 of 27 weights are cut"


def test_what_is_saved_is_loaded_and_equal_libraries_have_equal_bytes(library, tmp_path):
    library.save(tmp_path / "a.h5")
    loaded = Library.load(tmp_path / "a.h5")
    loaded.save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert loaded.ratios == (0.3, 0.7)
    assert loaded.base == library.base
    for ours, theirs in zip(loaded.models, library.models, strict=True):
        mine, other = ours.params(loaded.net), theirs.params(library.net)
        assert all(np.array_equal(mine[name], other[name]) for name in other)
    assert library_notes(tmp_path / "a.h5") == (
        {"remaining_ratio": 0.3, "error": 0.25},
        {"remaining_ratio": 0.7, "error": 0.25},
    )


def test_models_are_kept_in_the_order_of_their_ratios(library, net):
    between = PrunedModel.of(net, net.init(1), 0.5)
    grown = library.with_model(between)
    assert grown.ratios == (0.3, 0.5, 0.7)
    assert grown.with_model(PrunedModel.of(net, net.init(2), 0.5)).ratios == (0.3, 0.5, 0.7)
    assert grown.with_ratios([0.7, 0.5]).ratios == (0.5, 0.7)
    with pytest.raises(NetworkError, match=r"no model with remaining ratio 0\.6; it has 0\.3, 0\.7"):
        library.with_ratios([0.6])


def test_the_checksum_tells_networks_apart(net):
    params = net.init(5)
    changed = {name: value.copy() for name, value in params.items()}
    changed["norm.running_mean"][1] += 1e-6
    assert network_checksum(net, params) != network_checksum(net, changed)
    assert network_checksum(net, params) == network_checksum(a_network(), net.init(5))


def test_parameters_of_another_network_make_no_model(net):
    with pytest.raises(NetworkError, match="missing"):
        PrunedModel.of(net, {}, 0.5)


def damage(group, name, values):
    del group[name]
    group.create_dataset(name, data=values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["models"].__delitem__("001"), "/models does not hold the 2 models"),
        (lambda f: f.__delitem__("models"), "/models does not hold"),
        (
            lambda f: damage(f, "models/000/values/fc.weight", np.zeros(2, np.float32)),
            r"values/fc.weight has shape \(2,\), wanted",
        ),
        (
            lambda f: damage(f, "models/000/masks/fc.weight", np.zeros(1, np.uint8)),
            r"masks/fc.weight has shape \(1,\)",
        ),
        (lambda f: f["models/000/others"].__delitem__("norm.beta"), "norm.beta is missing"),
        (lambda f: (f.__delitem__("library"), write_json(f, "library", [1])), "does not say which network"),
        (
            lambda f: (f["models/000"].__delitem__("model"), write_json(f["models/000"], "model", {})),
            "remaining_ratio must be above 0 and at most 1",
        ),
        (lambda f: f.move("models/000", "models/002"), "do not increase"),
        (
            lambda f: (f.__delitem__("architecture"), write_json(f, "architecture", {"name": 1})),
            "/architecture",
        ),
    ],
)
def test_a_damaged_file_is_refused(library, tmp_path, change, message):
    path = tmp_path / "library.h5"

    def fill(file: h5py.File) -> None:
        library._fill(file)
        change(file)

    write_atomic(path, fill)
    with pytest.raises(FileFormatError, match=message):
        Library.load(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="not an HDF5 file"):
        Library.load(tmp_path / "x.h5")
    with pytest.raises(FileFormatError, match="no such file"):
        library_notes(tmp_path / "y.h5")
