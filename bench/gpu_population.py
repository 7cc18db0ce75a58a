"""The part of ``bench/gpu.py`` on populations: slimmed candidates of one network, beside PyTorch.

Every variant of :data:`VARIANTS` is measured with an evaluator that has run before, so that its images are on
the device, as PyTorch's are. Slimming the candidates is part of emoref's time; PyTorch's were slimmed and
uploaded before. Beside each time stands where it went, from which the defaults are to be chosen:

* ``launch`` near the whole, ``wait`` near 0: the host cannot keep up. Larger blocks help, streams do not.
* ``wait`` large: the device is busy. More streams help as long as small layers leave a part of it idle.
* ``upload``, and what is missing up to the whole: the host between two chunks. Larger chunks help.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.gpu_table import Row
from bench.models import torch_model
from emoref import nn
from emoref.search import FilterGenome, PopulationEvaluator
from emoref_kernels.cuda.provider import SIMULATED

if TYPE_CHECKING:
    from bench.gpu import Setting

__all__ = ["VARIANTS", "population"]

Array = np.ndarray[Any, Any]


class Variant(NamedTuple):
    """How a population is evaluated: candidates side by side, images at a time, bytes of weights a chunk."""

    streams: int
    block: int
    memory: int = 2**28


VARIANTS = (
    *(Variant(streams, block) for block in (500, 2000) for streams in (1, 2, 4, 8)),
    *(Variant(streams, 2000, 2**31) for streams in (1, 4)),
)
_TINY_VARIANTS = (Variant(1, 2), Variant(2, 1))


def population(s: "Setting", net: nn.Network) -> Iterator[Row]:
    """Measure each variant: 50 candidates, 2,000 images.

    The error is the share of predictions that differ: from the CPU's, on some of the images, and for all but
    the first variant of a block size from those of that one, of which there must be none.
    """
    params = net.init(seed=0)
    candidates, count = (2, 2) if SIMULATED else (50, 2000)
    images, labels = s.floats(count, *net.input_shape), s.rng.integers(0, net.classes, count)
    layout = FilterGenome(net)
    genomes = layout.repair(s.rng.random((candidates, layout.n_bits)) < 0.6, s.rng)

    def make(some: int, backend: str, **options: int) -> PopulationEvaluator:
        data = images[:some], labels[:some]
        return PopulationEvaluator(net, params, *data, layout, backend, cache_size=0, **options)

    checked = min(count, 500)
    counts = [
        make(checked, backend, block_size=checked).wrong_counts(genomes)
        for backend in (s.backend_name, "reference" if SIMULATED else "cpu")
    ]
    error = float(np.abs(counts[0] - counts[1]).sum()) / (candidates * checked)
    peer = None if s.torch is None else min(
        s.times(lambda: None, way)["torch_ms"] or 0.0
        for way in _peers(s, net, params, layout, genomes, images, labels)
    )  # fmt: skip
    first: dict[int, Array] = {}
    for variant in _TINY_VARIANTS if SIMULATED else VARIANTS:
        options = {"block_size": variant.block, "memory_bytes": variant.memory, "streams": variant.streams}
        evaluator = make(count, s.backend_name, **options)
        found = evaluator.wrong_counts(genomes)
        changed = int(np.abs(found - first.setdefault(variant.block, found)).sum())
        case = (
            f"{candidates} candidates, {count} images, streams {variant.streams}, blocks of {variant.block}, "
            f"chunks of {variant.memory >> 20} MiB"
        )
        row = Row("population", case, error if not changed else float(changed))
        if row.right:
            row.emoref_ms = s.times(lambda e=evaluator: e.wrong_counts(genomes), None)["emoref_ms"]
            row.torch_ms = peer
            row.detail = _where_time_goes(evaluator, genomes) if s.rounds else ""
        evaluator.close()
        yield row


def _where_time_goes(evaluator: PopulationEvaluator, genomes: Array) -> str:
    """Evaluate once more and return where the time went."""
    device = evaluator.device
    assert device is not None
    if SIMULATED:
        return "simulated"
    before, start = asdict(device.spent), perf_counter()
    evaluator.wrong_counts(genomes)
    whole = perf_counter() - start
    parts = ", ".join(
        f"{name} {1e3 * (value - before[name]):.1f}" for name, value in asdict(device.spent).items()
    )
    where = "images stay on the device" if device.is_resident else "images are uploaded for every chunk"
    return f"{1e3 * whole:.1f} ms on the host, of them {parts}; {where}"


def _peers(
    s: "Setting",
    net: nn.Network,
    params: Mapping[str, Array],
    layout: FilterGenome,
    genomes: Array,
    images: Array,
    labels: Array,
) -> Iterator[Callable[[], object]]:
    """Yield the ways of PyTorch: slimmed networks, images on the GPU in two sizes of blocks, one download."""
    from emoref.compress import slim

    models = [torch_model(*slim(net, params, layout.masks(row))).cuda() for row in genomes]
    held = s.peer(images), s.peer(labels)
    for size in sorted({min(500, len(images)), len(images)}):
        blocks = list(zip(*(values.split(size) for values in held), strict=True))
        yield from _counted(s, models, blocks)


def _counted(s: "Setting", models: list[Any], blocks: list[Any]) -> Iterator[Callable[[], object]]:
    """Yield counting with models one after the other, and the same captured as a graph."""

    def count() -> Any:
        with s.torch.no_grad():
            wrong = [(model(part).argmax(1) != of).sum() for model in models for part, of in blocks]
        return s.torch.stack(wrong)

    yield lambda: count().cpu()
    graph = s.torch.cuda.CUDAGraph()
    try:
        side = s.torch.cuda.Stream()
        side.wait_stream(s.torch.cuda.current_stream())
        with s.torch.cuda.stream(side):
            count()
        s.torch.cuda.current_stream().wait_stream(side)
        with s.torch.cuda.graph(graph):
            result = count()
    except RuntimeError as error:
        print(f"PyTorch cannot capture the population as a graph: {error}", flush=True)
        return

    def replay() -> Any:
        graph.replay()
        return result.cpu()

    yield replay
