import numpy as np
import pytest

from emoref import networks, nn
from emoref.compress import slim
from emoref.errors import ConfigError, DataError, ProblemError, ShapeError
from emoref.nn import NetworkBuilder
from emoref.search import FilterGenome, PopulationEvaluator, evaluator


def sequential():
    b = NetworkBuilder("sequential", (1, 12, 12))
    b.conv("c1", 6, 3)
    b.batch_norm("bn1")
    b.relu("r1")
    b.max_pool("p1", 2)
    b.conv("c2", 7, 3)
    b.relu("r2")
    b.conv("c3", 5, 3, padding=1)
    b.batch_norm("bn3")
    b.relu("r3")
    b.flatten("flat")
    b.linear("f1", 9)
    b.relu("r4")
    b.linear("f2", 4)
    return b.build()


def single():
    b = NetworkBuilder("single", (1, 12, 12))
    b.conv("c1", 8, 5, padding=2)
    b.relu("r1")
    b.max_pool("p1", 2)
    b.flatten("flat")
    b.linear("f", 4)
    return b.build()


def lenet_like():
    b = NetworkBuilder("lenet-like", (1, 14, 17))
    b.conv("c1", 7, 5, padding=1)
    b.batch_norm("bn1")
    b.relu("r1")
    b.max_pool("p1", 2)
    b.conv("c2", 13, 4, padding=2, bias=False)
    b.relu("r2")
    b.max_pool("p2", 2)
    b.flatten("flat")
    b.linear("f1", 35)
    b.relu("r3")
    b.linear("f2", 18)
    b.batch_norm("bn4")
    b.linear("f3", 4)
    return b.build()


def residual():
    b = NetworkBuilder("residual", (1, 12, 12))
    b.conv("c1", 6, 3, padding=1)
    b.batch_norm("bn1")
    trunk = b.relu("r1")
    for i in (2, 4):
        b.conv(f"c{i}", 5, 3, padding=1)
        b.relu(f"r{i}")
        b.conv(f"c{i + 1}", 6, 3, padding=1)
        b.batch_norm(f"bn{i + 1}")
        b.add(f"sum{i}", b.last, trunk)
        trunk = b.relu(f"out{i}")
    b.global_avg_pool("gap")
    b.linear("f", 4)
    return b.build()


def concatenated():
    b = NetworkBuilder("concatenated", (1, 12, 12))
    left = b.conv("c1", 4, 3, padding=1, source="input")
    right = b.conv("c2", 5, 1, source="input")
    b.concat("cat", left, "input", right)
    b.relu("r")
    b.conv("c3", 6, 3, stride=2)
    b.concat("cat2", "c3", b.max_pool("p", 3, stride=2, source="r"))
    b.flatten("flat")
    b.linear("f", 4)
    return b.build()


def depthwise():
    b = NetworkBuilder("depthwise", (1, 12, 12))
    b.conv("c1", 5, 3, stride=2, padding=1)
    b.relu("r1")
    b.conv("dw", 10, 3, padding=1, groups=5)
    b.batch_norm("bn")
    b.relu("r2")
    b.conv("c2", 6, 1)
    b.relu("r3")
    b.global_avg_pool("gap")
    b.linear("f", 4)
    return b.build()


def normalised():
    b = NetworkBuilder("normalised", (1, 12, 12))
    b.conv("c1", 7, 3)
    b.relu("r1")
    b.local_response_norm("norm1", size=3, alpha=6.0)
    b.max_pool("p1", 2)
    b.conv("c2", 6, 3)
    b.local_response_norm("norm2", size=5, alpha=5.0)
    b.flatten("flat")
    b.linear("f", 4)
    return b.build()


def padded():
    return networks.build("resnet20", (1, 12, 12), 4, widths=(4, 6, 7))


NETWORKS = [sequential, single, lenet_like, residual, concatenated, depthwise, normalised, padded]


def prepared(build, seed=0, images=61):
    net = build()
    rng = np.random.default_rng(seed)
    params = {}
    for name, value in net.init(seed).items():
        drawn = rng.normal(0, 0.4, value.shape)
        params[name] = (0.5 + np.abs(drawn) if name.endswith("var") else drawn).astype(np.float32)
    x = rng.normal(size=(images, *net.input_shape)).astype(np.float32)
    return net, params, x, rng.integers(0, 4, images)


def population(layout, seed=1, size=9):
    """Random genomes with duplicates and with common beginnings."""
    rng = np.random.default_rng(seed)
    rows = layout.random(rng.uniform(0.2, 1, size), rng)
    half = layout.n_bits // 2
    rows[1] = rows[0]
    rows[2, half:] = rows[0, half:]
    rows[3, :half] = rows[0, :half]
    rows[4, :-2] = rows[0, :-2]
    rows[5] = True
    return layout.repair(rows, rng)


def one_by_one(net, params, x, y, layout, rows, backend):
    return [nn.evaluate(*slim(net, params, layout.masks(row)), x, y, backend).wrong for row in rows]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("build", NETWORKS)
def test_counts_are_those_of_each_candidate_alone(build, backend):
    net, params, x, y = prepared(build)
    layout = FilterGenome(net)
    rows = population(layout)
    found = PopulationEvaluator(net, params, x, y, layout, backend, block_size=17).wrong_counts(rows)
    assert found.dtype == np.int64
    assert found.tolist() == one_by_one(net, params, x, y, layout, rows, backend)
    assert len(set(found.tolist())) > 2  # the candidates do differ


@pytest.mark.parametrize("build", NETWORKS)
def test_logits_are_equal_bit_for_bit(build, monkeypatch):
    net, params, x, y = prepared(build)
    layout = FilterGenome(net)
    rows = np.unique(population(layout), axis=0)
    seen = []
    monkeypatch.setattr(evaluator, "count_wrong", lambda logits, labels: seen.append(logits) or 0)
    PopulationEvaluator(net, params, x, y, layout, block_size=17).wrong_counts(rows)
    blocks = -(-len(x) // 17)
    found = {np.concatenate(seen[i :: len(seen) // blocks]).tobytes() for i in range(len(seen) // blocks)}
    alone = {nn.predict(*slim(net, params, layout.masks(row)), x).tobytes() for row in rows}
    assert found == alone


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (sequential, ["c2", "f1"]),
        (lenet_like, ["c1", "c2", "f1", "f2"]),
        (lenet_like, ["f1"]),
        (lenet_like, ["c2"]),
        (lenet_like, ["c1", "f2"]),
    ],
)
def test_hidden_units_can_be_pruned_too(build, layers):
    net, params, x, y = prepared(build)
    layout = FilterGenome(net, layers=layers)
    rows = population(layout)
    found = PopulationEvaluator(net, params, x, y, layout).wrong_counts(rows)
    assert found.tolist() == one_by_one(net, params, x, y, layout, rows, "cpu")


@pytest.mark.parametrize("build", [sequential, lenet_like])
@pytest.mark.parametrize(
    "options", [{"block_size": 1}, {"block_size": 1000}, {"memory_bytes": 1}, {"cache_size": 0}]
)
def test_sizes_do_not_change_the_counts(build, options):
    net, params, x, y = prepared(build, images=20)
    layout = FilterGenome(net)
    rows = population(layout)
    usual = PopulationEvaluator(net, params, x, y, layout).wrong_counts(rows)
    other = PopulationEvaluator(net, params, x, y, layout, **options)
    assert other.wrong_counts(rows).tolist() == usual.tolist()
    assert other.wrong_counts(rows[::-1]).tolist() == usual.tolist()[::-1]


@pytest.mark.parametrize(
    ("build", "stem"),
    [
        (sequential, ("c1", "bn1", "r1", "p1")),
        (single, ("c1", "r1", "p1")),
        (lenet_like, ("c1", "bn1", "r1", "p1")),
        (residual, ("c1", "bn1", "r1")),
        (concatenated, ("c1", "c2", "cat", "r", "p")),
        (depthwise, ("c1", "r1")),
    ],
)
def test_stem(build, stem):
    net, params, x, y = prepared(build)
    assert PopulationEvaluator(net, params, x, y, FilterGenome(net)).stem == stem


def test_stem_is_longer_where_only_later_layers_are_pruned():
    net, params, x, y = prepared(sequential)
    layout = FilterGenome(net, layers=["c3"])
    assert PopulationEvaluator(net, params, x, y, layout).stem[-4:] == ("r2", "c3", "bn3", "r3")


def test_equal_work_is_done_once(monkeypatch):
    net, params, x, y = prepared(sequential)
    layout = FilterGenome(net)
    ran = []
    original = PopulationEvaluator._run_part

    def recording(self, net, params, values, outputs, plans):
        ran.append((tuple(values), tuple(outputs)))
        found = original(self, net, params, values, outputs, plans)
        return {name: found[name] for name in outputs}

    monkeypatch.setattr(PopulationEvaluator, "_run_part", recording)
    rows = np.ones((4, layout.n_bits), bool)
    rows[1, 0] = False  # another first layer
    rows[2, -1] = False  # as 0 up to the second layer
    rows[3, -2] = False  # likewise
    evaluated = PopulationEvaluator(net, params, x, y, layout, block_size=1000)
    evaluated.wrong_counts(np.concatenate([rows, rows]))
    assert evaluated.evaluated == 4
    assert ran.count((("input",), ("p1",))) == 1
    assert ran.count((("p1",), ("r2",))) == 1
    assert ran.count((("r2",), ("f2",))) == 3
    assert ran.count((("p1",), ("f2",))) == 1
    assert len(ran) == 6


def test_memory_of_counts_is_used_and_bounded(monkeypatch):
    net, params, x, y = prepared(single, images=10)
    layout = FilterGenome(net)
    rows = np.unique(population(layout, size=8), axis=0)
    n = len(rows)
    remembering = PopulationEvaluator(net, params, x, y, layout)
    first = remembering.wrong_counts(rows)
    assert remembering.evaluated == n
    np.testing.assert_array_equal(remembering.wrong_counts(rows[::-1]), first[::-1])
    assert remembering.evaluated == n
    bounded = PopulationEvaluator(net, params, x, y, layout, cache_size=2)
    np.testing.assert_array_equal(bounded.wrong_counts(rows), first)
    assert len(bounded.cache) == 2
    bounded.wrong_counts(rows[-2:])
    assert bounded.evaluated == n
    bounded.wrong_counts(rows[:1])
    assert bounded.evaluated == n + 1


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_not_a_number_is_a_wrong_prediction(backend):
    net, params, x, y = prepared(sequential)
    layout = FilterGenome(net)
    params["f1.weight"][:, : 3 * 3] = np.nan  # the columns of the first filter of c3
    rows = np.ones((2, layout.n_bits), bool)
    rows[1, layout.index["c3"][0]] = False
    found = PopulationEvaluator(net, params, x, y, layout, backend)
    counts = found.wrong_counts(rows)
    assert counts[0] == found.total == len(x)
    assert counts[1] < len(x)
    assert counts.tolist() == one_by_one(net, params, x, y, layout, rows, backend)


def test_no_candidates():
    net, params, x, y = prepared(single)
    layout = FilterGenome(net)
    found = PopulationEvaluator(net, params, x, y, layout).wrong_counts(np.empty((0, layout.n_bits), bool))
    assert found.shape == (0,)
    assert found.dtype == np.int64


def test_errors():
    net, params, x, y = prepared(sequential)
    layout = FilterGenome(net)
    good = PopulationEvaluator(net, params, x, y, layout)
    rows = np.ones((3, layout.n_bits), bool)
    rows[2, layout.index["c2"]] = False
    with pytest.raises(ProblemError, match="genome 2 keeps no filter of layer 'c2'"):
        good.wrong_counts(rows)
    with pytest.raises(ShapeError, match="genomes"):
        good.wrong_counts(rows[:, 1:])
    with pytest.raises(DataError, match="no images"):
        PopulationEvaluator(net, params, x[:0], y[:0], layout)
    with pytest.raises(DataError, match="labels"):
        PopulationEvaluator(net, params, x, y[1:], layout)
    with pytest.raises(DataError, match="labels"):
        PopulationEvaluator(net, params, x, y + 1, layout)
    with pytest.raises(ConfigError, match="block_size must be at least 1, got 0"):
        PopulationEvaluator(net, params, x, y, layout, block_size=0)


def test_whole_lenet_and_standard_networks_count_as_each_candidate_alone():
    for name, options in (
        ("lenet", {}),
        ("vgg16", {"widths": (9, 10, 12, 12, 9, 10, 11, 12, 16, 17, 16, 20, 16)}),
        ("resnet20", {"widths": (9, 10, 18)}),
        ("mobilenet-v1", {"width_multiplier": 0.25}),
    ):
        net = networks.build(name, **options)
        rng = np.random.default_rng(5)
        params = net.init(5)
        x = rng.normal(size=(9, *net.input_shape)).astype(np.float32)
        y = rng.integers(0, 10, 9)
        layout = FilterGenome(net)
        rows = population(layout, size=6)
        found = PopulationEvaluator(net, params, x, y, layout, block_size=5).wrong_counts(rows)
        assert found.tolist() == one_by_one(net, params, x, y, layout, rows, "cpu")


def test_memory_of_a_large_population_is_bounded():
    net = networks.build("vgg16", widths=(32,) * 13)
    layout = FilterGenome(net)
    rng = np.random.default_rng(0)
    evaluated = PopulationEvaluator(
        net, net.init(0), np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, int), layout, memory_bytes=2**21
    )
    rows = layout.random(np.full(12, 0.5), rng)
    chunks = list(evaluated._chunks(rows, range(len(rows))))
    assert len(chunks) > 2
    for chunk in chunks:
        packed = sum(value.nbytes for candidate in chunk for value in candidate.params.values())
        assert 5 * packed <= 2**21 or len(chunk) == 1
