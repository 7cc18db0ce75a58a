"""Distances between the features of pruned candidates and those of the unpruned network."""

import numpy as np
import pytest

from emoref import nn
from emoref.compress import count, slim
from emoref.errors import DataError, NetworkError, ProblemError, ShapeError
from emoref.search import FeatureEvaluator, FilterGenome, Recalibration

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(12, 2, 6, 6)).astype(np.float32)


def stage():
    """A part of a network: what it gives are maps."""
    b = nn.NetworkBuilder("stage", (2, 6, 6))
    b.conv("conv1", 4, 3, padding=1, bias=False)
    b.batch_norm("bn1")
    b.relu("relu1")
    b.conv("conv2", 3, 3, padding=1, bias=False)
    b.batch_norm("bn2")
    return b.build()


def evaluator(net, params, **options):
    return FeatureEvaluator(net, params, IMAGES, FilterGenome(net, ["conv1"]), "reference", **options)


def test_distances_are_those_of_each_slim_network_alone():
    net = stage()
    params = {name: value.astype(np.float32) for name, value in net.init(1).items()}
    measure = Recalibration(IMAGES, 1, len(IMAGES), backend="reference")
    rows = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1]], dtype=bool)
    found = evaluator(net, params, recalibration=measure)
    distances = found.distances(rows)

    def features(row):
        small, own = slim(net, params, {"conv1": row})
        own = nn.reestimate_batch_norm(
            small, own, nn.ArrayData(IMAGES, np.zeros(12, int)), 1, 12, backend="reference"
        )
        return nn.predict(small, own, IMAGES, "reference").astype(float), count(small).macs

    wanted, _ = features(rows[0])
    expected = [((features(row)[0] - wanted) ** 2).sum() / (wanted**2).sum() for row in rows]
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-12)
    assert distances[0] == 0
    assert distances[1] == distances[3]
    assert distances[2] > distances[1] > 0
    # The unpruned network once for itself, and each distinct candidate; statistics take as much again.
    total = sum(features(row)[1] for row in (rows[0], *rows[:3]))
    assert found.macs_executed == 2 * 12 * total


def test_without_statistics_anew_a_filter_that_does_nothing_costs_nothing():
    net = stage()
    params = net.init(1)
    params["conv2.weight"][:, 2] = 0
    found = evaluator(net, params)
    assert found.distances(np.array([[1, 1, 0, 1]], dtype=bool)) == pytest.approx(0, abs=1e-12)
    assert found.distances(np.zeros((0, 4), dtype=bool)).shape == (0,)


def test_features_that_overflow_are_farther_than_any_other():
    net = stage()
    params = net.init(1)
    found = evaluator(net, params)
    params["bn2.gamma"][:] = 1e30
    params["conv2.weight"][:] = 1e30
    distances = found.distances(np.array([[1, 1, 0, 1]], dtype=bool))
    assert np.isfinite(distances).all()
    assert distances[0] >= 1e30


def test_what_is_refused():
    net = stage()
    params = net.init(1)
    with pytest.raises(DataError, match="no images"):
        FeatureEvaluator(net, params, IMAGES[:0], FilterGenome(net, ["conv1"]))
    with pytest.raises(ShapeError):
        evaluator(net, params).distances(np.ones((1, 5), dtype=bool))
    with pytest.raises(NetworkError, match="conv1"):
        evaluator(net, params).distances(np.zeros((1, 4), dtype=bool))
    params["bn2.gamma"][:] = 0
    params["bn2.beta"][:] = 0
    with pytest.raises(ProblemError, match=r"stage: the squares of its features add up to 0\.0"):
        evaluator(net, params)
