"""Compiling what the engine needs ahead of time, and measuring what a start costs.

Compiled functions are kept on disk beside the source, or in ``NUMBA_CACHE_DIR``. :func:`warm_up` calls every
kind of layer forward and backward, training, inference, the population evaluator and the Pareto functions,
each once with tiny arrays. It does so in new processes, twice: the first compiles what is missing, the second
shows what a start costs from then on.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

import emoref
from emoref import emo, nn
from emoref.data.catalog import cache_folder
from emoref.emo.problems import DTLZ2
from emoref.errors import BackendError
from emoref.runs.folder import write_text_atomic
from emoref.search import FilterGenome, PopulationEvaluator

__all__ = ["StartTimes", "read_start_times", "steps", "warm_up"]

_FILE = "start-times.json"


@dataclass(frozen=True)
class StartTimes:
    """Seconds from the start of a process until every part of the engine has run once.

    Attributes
    ----------
    version : str
        Of emoref.
    first_s : float
        The process that compiled what was missing; a cold start only if nothing had been compiled before.
    again_s : float
        The process after it.
    parts_s : dict of str to float
        Seconds of each part in the first of them.
    """

    version: str
    first_s: float
    again_s: float
    parts_s: dict[str, float]


def _every_layer(name: str, channels: int) -> nn.Network:
    """Return a small network with nearly every kind of node, most of so many channels."""
    b = nn.NetworkBuilder(name, (3, 12, 12))
    b.conv("first", channels, 3, padding=1, bias=False)
    b.batch_norm("norm1")
    trunk = b.relu("relu1")
    b.conv("winograd", channels, 3, padding=1)
    b.add("sum", b.last, trunk)
    b.max_pool("pool1", 2)
    b.conv("depthwise", channels, 3, padding=1, groups=channels)
    b.tanh("tanh")
    b.conv("pointwise", channels, 1)
    b.local_response_norm("lrn", size=3, alpha=1e-4, beta=0.75, k=1.0)
    left = b.conv("strided", channels, 3, stride=2, padding=1)
    right = b.avg_pool("pool2", 2, source="lrn")
    b.concat("concat", left, right)
    b.pad_channels("pad", 48)
    b.global_avg_pool("mean")
    b.linear("linear1", 24)
    b.relu("relu2")
    b.dropout("dropout", 0.5)
    b.linear("linear2", 4)
    return b.build()


def _sequential() -> nn.Network:
    """Return a network like those of the papers on MNIST."""
    b = nn.NetworkBuilder("sequential", (1, 28, 28))
    for i, filters in enumerate((12, 24), 1):
        b.conv(f"conv{i}", filters, 5)
        b.relu(f"relu{i}")
        b.max_pool(f"pool{i}", 2)
    b.flatten("flatten")
    b.linear("fc", 4)
    return b.build()


def steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the parts of the engine: a name, and what runs it once."""
    from emoref_kernels.cpu.simd import LANES

    rng = np.random.default_rng(0)
    labels = np.arange(8) % 4
    # Channels that fill their vectors train in the layout of maps; one more, in planes.
    nets = (_every_layer("maps", LANES), _every_layer("planes", LANES + 1), _sequential())
    for net in nets:
        images = rng.standard_normal((8, *net.input_shape)).astype(np.float32)
        params, data = net.init(0), nn.ArrayData(images, labels)

        def train(net=net, params=params, data=data):  # type: ignore[no-untyped-def]
            for optimizer in ("sgd", "adam"):
                nn.fit(
                    net, params, data, nn.TrainConfig(epochs=1, batch_size=8, optimizer=optimizer, lr=1e-3)
                )

        def search(net=net, params=params, images=images):  # type: ignore[no-untyped-def]
            layout = FilterGenome(net)
            genomes = np.ones((3, layout.n_bits), dtype=bool)
            genomes[1, 1::2] = genomes[2, 2::3] = False
            PopulationEvaluator(net, params, images, labels, layout).wrong_counts(genomes)

        yield f"training ({net.name})", train
        yield f"inference ({net.name})", partial(nn.predict, net, params, images)
        yield f"population ({net.name})", search

    def evolve() -> None:
        problem, W = DTLZ2(3), emo.das_dennis(3, 4)
        emo.NSGA2(problem, population_size=12, seed=0).run(2)
        emo.NSGA3(problem, reference_points=W, seed=0).run(2)
        for n_obj in (2, 3, 4):
            F = rng.random((40, n_obj))
            emo.nondominated_ranks(F)
            emo.hypervolume(F, np.ones(n_obj))

    yield "evolution", evolve


def run_steps() -> dict[str, float]:
    """Run every part once in this process; return the seconds of each, and of the whole start."""
    found = {}
    for name, step in steps():
        begin = time.perf_counter()
        step()
        found[name] = time.perf_counter() - begin
    return found


def warm_up() -> StartTimes:
    """Compile what the engine needs, measure both starts, and store the figures for ``emoref info``.

    Raises
    ------
    BackendError
        If a process fails; with its last line.
    """
    first_s, parts = _timed_process()
    again_s, _ = _timed_process()
    times = StartTimes(emoref.__version__, first_s, again_s, parts)
    folder = cache_folder().parent
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / _FILE, json.dumps(asdict(times)))
    return times


def read_start_times() -> StartTimes | None:
    """Return what :func:`warm_up` stored last; None if it never ran for this version, or is unreadable."""
    try:
        text = (cache_folder().parent / _FILE).read_text("utf-8")
        times = StartTimes(**json.loads(text))
    except (OSError, ValueError, TypeError):
        return None
    return times if times.version == emoref.__version__ else None


def _timed_process() -> tuple[float, dict[str, float]]:
    code = "import json; from emoref.runs.warmup import run_steps; print(json.dumps(run_steps()))"
    roots = [str(Path(module).resolve().parents[1]) for module in _sources()]
    path = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BackendError(f"the engine could not be compiled: {last}")
    return seconds, json.loads(done.stdout.splitlines()[-1])


def _sources() -> tuple[str, str]:
    import emoref_kernels

    return str(emoref.__file__), str(emoref_kernels.__file__)
