"""The CUDA back end on this machine's GPU: first whether it is right, then how fast, beside PyTorch.

``PYTHONPATH=.:kernels python bench/gpu.py --out gpu`` writes ``gpu.md`` and ``gpu.json`` and needs numpy,
numba, numba-cuda, scipy, h5py and torch alone. Both sides run in one process on one GPU, PyTorch in float32
with TF32 off, and take turns. A time is that of back-to-back calls up to a synchronisation, the median over
rounds, so it holds what launching costs.

A part is measured only if its results are right: relative to the reference back end in float64,
``norm(found - expected) / norm(expected)``, at most 1e-4; a training step layer by layer
(:mod:`bench.gpu_steps` says why). ``--rounds 0`` only checks, for tools that watch every access to memory.
Without a GPU (``NUMBA_ENABLE_CUDASIM=1``) all parts run once on tiny shapes, and no time is written.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from bench.gpu_population import population
from bench.gpu_steps import layer_errors, relative_error, whole_pass
from bench.gpu_table import Row, to_markdown, write_table
from bench.models import torch_model
from emoref import data, networks, nn
from emoref.nn.device import placed, resident
from emoref_kernels import Backend, BackendError, load_backend
from emoref_kernels.cuda import niching as device_niching
from emoref_kernels.cuda.jit import KERNELS
from emoref_kernels.cuda.memory import POOL
from emoref_kernels.cuda.provider import SIMULATED, cuda, device_info, provider_name
from emoref_kernels.reference import niching as reference_niching

Array = np.ndarray[Any, Any]
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4

CONVOLUTIONS = {
    # name: channels, filters, rows and columns of the input, kernel, stride, groups
    "VGG conv1_1": (3, 64, 32, 3, 1, 1),
    "VGG conv1_2": (64, 64, 32, 3, 1, 1),
    "VGG conv2_1": (64, 128, 16, 3, 1, 1),
    "VGG conv2_2": (128, 128, 16, 3, 1, 1),
    "VGG conv3_1": (128, 256, 8, 3, 1, 1),
    "VGG conv3_2": (256, 256, 8, 3, 1, 1),
    "VGG conv4_1": (256, 512, 4, 3, 1, 1),
    "VGG conv4_2": (512, 512, 4, 3, 1, 1),
    "VGG conv5": (512, 512, 2, 3, 1, 1),
    "ResNet first": (3, 16, 32, 3, 1, 1),
    "ResNet 16": (16, 16, 32, 3, 1, 1),
    "ResNet 16 to 32": (16, 32, 32, 3, 2, 1),
    "ResNet 32": (32, 32, 16, 3, 1, 1),
    "ResNet 64": (64, 64, 8, 3, 1, 1),
    "one by one": (256, 128, 16, 1, 1, 1),
    "depthwise": (128, 128, 16, 3, 1, 128),
}
TINY_CONVOLUTIONS = {
    "first": (2, 3, 3, 3, 1, 1),
    "winograd": (4, 4, 3, 3, 1, 1),
    "strided": (2, 2, 4, 3, 2, 1),
}


@dataclass
class Setting:
    """What every part is given."""

    k: Backend
    torch: Any
    rounds: int
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def backend_name(self) -> str:
        """The back end's name and mode, as :func:`emoref_kernels.load_backend` takes them."""
        return f"{self.k.name}:{self.k.mode}"

    def floats(self, *shape: int) -> Array:
        """Return random float32 values."""
        return self.rng.standard_normal(shape, dtype=np.float32)

    def times(self, own: Callable[[], object], peer: Callable[[], object] | None) -> dict[str, float | None]:
        """Return milliseconds a call of both sides, which take turns; on the simulator, run emoref's once."""
        sides = {"emoref_ms": own, "torch_ms": peer if self.torch is not None else None}
        if SIMULATED:
            own()
        if SIMULATED or not self.rounds:
            return dict.fromkeys(sides)
        found: dict[str, list[float]] = {name: [] for name in sides}
        counts = {name: self._count(side) for name, side in sides.items() if side is not None}
        for _ in range(self.rounds):
            for name, count in counts.items():
                found[name].append(self._milliseconds(sides[name], count))  # type: ignore[arg-type]
        return {name: median(values) if values else None for name, values in found.items()}

    def _count(self, side: Callable[[], object]) -> int:
        """Warm up and return how many calls take about 50 ms."""
        for _ in range(3):
            side()
        return max(1, min(500, int(50 / max(self._milliseconds(side, 3), 1e-3))))

    def _milliseconds(self, side: Callable[[], object], count: int) -> float:
        cuda.synchronize()
        start = perf_counter()
        for _ in range(count):
            side()
        cuda.synchronize()
        if self.torch is not None:
            self.torch.cuda.synchronize()
        return 1e3 * (perf_counter() - start) / count

    def peer(self, array: Array) -> Any:
        """Return an array as PyTorch's on the GPU; None without PyTorch."""
        return None if self.torch is None else self.torch.from_numpy(np.array(array)).cuda()


# -------------------------------------------------------------------------------------------------- parts


def convolutions(s: Setting) -> Iterator[Row]:
    """Forward and both gradients of each layer shape, batch 128."""
    reference = load_backend("reference")
    batch, checked = (1, 1) if SIMULATED else (128, 4)
    for name, (channels, filters, size, kernel, stride, groups) in (
        TINY_CONVOLUTIONS if SIMULATED else CONVOLUTIONS
    ).items():
        pad, how = kernel // 2, (stride, kernel // 2, groups)
        x, w = s.floats(batch, channels, size, size), s.floats(filters, channels // groups, kernel, kernel)
        dy = s.floats(*reference.conv2d(x[:1], w, None, *how).shape[1:], batch)
        dy = np.ascontiguousarray(np.moveaxis(dy, -1, 0))
        small = {"x": x[:checked], "w": w, "dy": dy[:checked]}
        right = {n: a.astype(np.float64) for n, a in small.items()}
        own = {n: placed(a, s.k) for n, a in {"x": x, "w": w, "dy": dy}.items()}
        t = {n: s.peer(a) for n, a in {"x": x, "w": w, "dy": dy}.items()}

        def peer_gradient(which: int, t: dict[str, Any] = t, how: tuple[int, int, int] = how) -> object:
            mask = [which == 0, which == 1, False]
            return s.torch.ops.aten.convolution_backward(
                t["dy"], t["x"], t["w"], None, [how[0]] * 2, [how[1]] * 2, [1, 1], False, [0, 0], how[2], mask
            )

        calls: dict[str, tuple[Callable[..., Any], Callable[[], object]]] = {
            "forward": (
                lambda k, a, how=how: k.conv2d(a["x"], a["w"], None, *how),
                lambda t=t, pad=pad, stride=stride, groups=groups: s.torch.nn.functional.conv2d(
                    t["x"], t["w"], None, stride, pad, 1, groups
                ),
            ),
            "input gradient": (
                lambda k, a, how=how: k.conv2d_input_grad(a["dy"], a["w"], a["x"].shape, *how),
                lambda f=peer_gradient: f(0),
            ),
            "weight gradient": (
                lambda k, a, how=how: k.conv2d_weight_grad(a["dy"], a["x"], a["w"].shape, *how),
                lambda f=peer_gradient: f(1),
            ),
        }
        for direction, (call, peer) in calls.items():
            row = Row(
                "convolution",
                f"{name}, {direction}",
                relative_error(call(s.k, small), call(reference, right)),
            )
            yield _timed(s, row, lambda call=call, own=own: call(s.k, own), peer)


def _timed(s: Setting, row: Row, own: Callable[[], object], peer: Callable[[], object] | None) -> Row:
    """Measure a row whose results are right."""
    if row.right:
        for name, value in s.times(own, peer).items():
            setattr(row, name, value)
    return row


def _network(name: str) -> nn.Network:
    if not SIMULATED:
        return networks.build(name, input_shape=(3, 32, 32), classes=10)
    b = nn.NetworkBuilder(name, (1, 2, 2))
    b.conv("conv1", 2, 3, padding=1, bias=False)
    b.batch_norm("bn1")
    b.relu("relu1")
    b.conv("conv2", 2, 1, bias=False)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("out", 3)
    return b.build()


def steps(s: Setting) -> Iterator[Row]:
    """Whole training steps, batch 128, and inference, batch 512."""
    for name in ("vgg16",) if SIMULATED else ("vgg16", "resnet56"):
        net = _network(name)
        train, checked, infer = (2, 2, 2) if SIMULATED else (128, 8, 512)
        x, y = s.floats(max(train, infer), *net.input_shape), s.rng.integers(0, net.classes, train)
        params = net.init(seed=0)
        errors = layer_errors(net, params, x[:checked], s.k)
        worst = max(errors, key=lambda step: errors[step])
        loss, gradients = whole_pass(net, params, x[:checked], y[:checked], s.k)
        row = Row(name, f"training step, batch {train}", float(np.max([loss, *errors.values()])))
        row.detail = f"loss {loss:.1e}; of {len(errors)} steps {worst} is the least exact; {gradients}"
        yield _timed(
            s, row, _own_step(s, net, params, x[:train], y), _peer_step(s, net, params, x[:train], y)
        )
        logits = nn.run_nodes(net, params, {"input": x[:checked]}, [net.output.name], s.k)[net.output.name]
        right = nn.predict(net, params, x[:checked], "reference")
        row = Row(name, f"inference, batch {infer}", relative_error(logits, right))
        live, images = resident(params, s.k), placed(x[:infer], s.k)
        own = lambda net=net, live=live, images=images: nn.run_nodes(  # noqa: E731
            net, live, {"input": images}, [net.output.name], s.k
        )
        yield _timed(s, row, own, _graphed(s, net, params, x[:infer]))


def _own_step(
    s: Setting, net: nn.Network, params: Mapping[str, Array], x: Array, y: Array
) -> Callable[[], object]:
    config = nn.TrainConfig(lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    optimizer = nn.make_optimizer(net, params, config)
    optimizer.slots = {slot: dict(resident(values, s.k)) for slot, values in optimizer.slots.items()}
    live, rng = dict(resident(params, s.k)), np.random.default_rng(1)

    def step() -> float:
        result = nn.loss_and_gradients(net, live, x, y, backend=s.k, rng=rng)
        live.update(result.buffer_updates)
        optimizer.step(s.k, live, result.grads, LR)
        return result.loss

    return step


def _peer_step(
    s: Setting, net: nn.Network, params: Mapping[str, Array], x: Array, y: Array
) -> Callable[[], object] | None:
    if s.torch is None:
        return None
    model = torch_model(net, params).cuda().train()
    optimizer = s.torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        images, labels = (s.torch.from_numpy(a).cuda() for a in (x, y))
        loss = s.torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def _graphed(
    s: Setting, net: nn.Network, params: Mapping[str, Array], x: Array
) -> Callable[[], object] | None:
    """Return PyTorch's inference captured as a CUDA graph, its fastest way without another compiler."""
    if s.torch is None:
        return None
    model, images = torch_model(net, params).cuda(), s.peer(x)
    with s.torch.no_grad():
        side = s.torch.cuda.Stream()
        side.wait_stream(s.torch.cuda.current_stream())
        with s.torch.cuda.stream(side):
            for _ in range(3):
                model(images)
        s.torch.cuda.current_stream().wait_stream(side)
        graph = s.torch.cuda.CUDAGraph()
        with s.torch.cuda.graph(graph):
            model(images)
    return graph.replay  # type: ignore[no-any-return]


def pareto(s: Setting) -> Iterator[Row]:
    """Ranks, crowding and association of 10,000 points, beside the CPU back end in the place of PyTorch."""
    points = 12 if SIMULATED else 10_000
    k, cpu = s.k, load_backend("reference" if SIMULATED else "cpu")
    F = s.rng.random((points, 3))
    lines = np.abs(s.rng.standard_normal((4 if SIMULATED else 500, 3)))
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    calls: dict[str, Callable[[Any], Any]] = {
        "ranks": lambda own: (k if own else cpu).nondominated_ranks(F),
        "crowding": lambda own: np.minimum((k if own else cpu).crowding_distance(F), 1e9),
        "association": lambda own: (device_niching if own else reference_niching).associate(F, lines)[1],
    }
    for name, call in calls.items():
        row = Row(
            "pareto (beside the CPU)", f"{name}, {points} points", relative_error(call(True), call(False))
        )
        if row.right and s.rounds and not SIMULATED:
            row.emoref_ms = s.times(lambda call=call: call(True), None)["emoref_ms"]
            row.torch_ms = s.times(lambda call=call: call(False), None)["emoref_ms"]
        yield row


def accuracy(s: Setting, epochs: int) -> Iterator[Row]:
    """VGG-16 trained on CIFAR-10, which ``EMOREF_DATA`` names a folder of; the time is that of all epochs."""
    train, test = (data.load("cifar10", part) for part in ("train", "test"))
    train = train.with_augmentation(data.Augmentation(flip=True, crop_padding=4))
    net = networks.build("vgg16", input_shape=(3, 32, 32), classes=10)
    params = net.init(seed=1)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True, "schedule": "one-cycle"}
    config = nn.TrainConfig(epochs=epochs, batch_size=128, **settings)
    start = perf_counter()
    nn.fit(net, params, train, config, backend=s.k, seed=1)
    seconds = perf_counter() - start
    result = nn.evaluate_data(net, params, test, s.k)
    yield Row("VGG-16 on CIFAR-10", f"{epochs} epochs, test error {result.error:.4f}", 0.0, 1e3 * seconds)


PARTS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "convolutions": convolutions,
    "steps": steps,
    "population": lambda s: population(s, _network("vgg16")),
    "pareto": pareto,
}


# ------------------------------------------------------------------------------------------------- report


def main() -> int:
    """Run the parts that the command line names and write the table; 1 if wrong, 2 without GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="name of the files, without ending")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=7, help="how often the sides take turns; 0: check only")
    parser.add_argument("--mode", default="fast", choices=("fast", "exact"))
    parser.add_argument("--epochs", type=int, default=0, help="also train VGG-16 on CIFAR-10 for so long")
    chosen = parser.parse_args()
    names = [name for name in chosen.parts.split(",") if name]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    try:
        backend = load_backend("cuda", chosen.mode)
    except BackendError as error:
        print(error, file=sys.stderr)
        return 2
    s = Setting(backend, _torch() if chosen.rounds else None, chosen.rounds)
    device = device_info()
    about = {"device": device.name, "driver": device.driver, "compiler": provider_name(), "mode": chosen.mode}
    about["PyTorch"] = "none" if s.torch is None else f"{s.torch.__version__}, TF32 off"
    if SIMULATED:
        about["note"] = "simulated: nothing was measured"
    parts = {name: PARTS[name] for name in names}
    if chosen.epochs:
        parts["accuracy"] = lambda s: accuracy(s, chosen.epochs)
    rows: list[Row] = []
    failures: list[str] = []
    for name, part in parts.items():
        try:
            for row in part(s):
                rows.append(row)
                print(
                    f"{row.part}, {row.case}: error {row.error:.1e}, ms {row.emoref_ms} {row.torch_ms} "
                    f"{row.detail}".rstrip(),
                    flush=True,
                )
        except Exception:
            # The other parts are still worth the device's time.
            failures.append(f"{name}: {traceback.format_exc().strip().splitlines()[-1]}")
            traceback.print_exc()
        about["peak memory"] = f"{POOL.peak_bytes / 2**20:,.0f} MiB"
        launches = {name: kernel.launches for name, kernel in KERNELS.items()}
        write_table(chosen.out, rows, about, failures, launches)
    print(to_markdown(rows, about, failures))
    return int(bool(failures) or not all(row.right for row in rows))


def _torch() -> Any:
    """Return PyTorch if it sees a GPU, set to plain float32."""
    try:
        import torch
    except ImportError:
        return None
    if SIMULATED or not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return torch


if __name__ == "__main__":
    sys.exit(main())
