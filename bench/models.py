"""The same networks in emoref and in PyTorch, for the benchmarks that compare whole networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoref.nn import Network, NetworkBuilder

__all__ = ["build", "images", "torch_model"]


def build(name: str) -> Network:
    """Return a network by its name in :mod:`emoref.networks`."""
    from emoref import networks

    return networks.build(name)


def images(net: Network, count: int) -> np.ndarray:
    """Return random images, always the same ones."""
    return np.random.default_rng(0).standard_normal((count, *net.input_shape)).astype(np.float32)


def torch_model(net: Network, params: Mapping[str, Any]) -> Any:
    """Return a PyTorch module that computes what `net` computes, in evaluation mode, with the same weights.

    It is a straight translation, node by node, for the operations of the networks that are measured.
    """
    import torch
    from torch import nn

    def tensor(name: str) -> Any:
        return torch.from_numpy(np.array(params[name]))

    layers = nn.ModuleDict()
    for node in net.nodes:
        a, name = node.attrs, node.name
        channels = net.shapes[node.inputs[0]][0]
        if node.op == "conv2d":
            how = (a["kernel"], a["stride"], a["padding"])
            layer: Any = nn.Conv2d(channels, a["filters"], *how, groups=a["groups"], bias=a["bias"])
        elif node.op == "linear":
            layer = nn.Linear(channels, a["units"], bias=a["bias"])
        elif node.op == "batch_norm":
            layer = (nn.BatchNorm2d if len(net.shapes[name]) == 3 else nn.BatchNorm1d)(channels, a["eps"])
            layer.weight.data, layer.bias.data = tensor(f"{name}.gamma"), tensor(f"{name}.beta")
            layer.running_mean = tensor(f"{name}.running_mean")
            layer.running_var = tensor(f"{name}.running_var")
        elif node.op == "max_pool2d":
            layer = nn.MaxPool2d(a["kernel"], a["stride"], a["padding"])
        elif node.op == "avg_pool2d":
            layer = nn.AvgPool2d(a["kernel"], a["stride"], a["padding"])
        else:
            continue
        if node.op in ("conv2d", "linear"):
            layer.weight.data = tensor(f"{name}.weight")
            if a["bias"]:
                layer.bias.data = tensor(f"{name}.bias")
        layers[name] = layer

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Any) -> Any:
            values = {"input": x}
            for node in net.nodes:
                values[node.name] = _run(node, [values[source] for source in node.inputs], self.layers)
            return values[net.output.name]

    return Model().eval()


def _run(node: Any, inputs: Sequence[Any], layers: Any) -> Any:
    """Run one node in PyTorch."""
    import torch

    x = inputs[0]
    if node.name in layers:
        return layers[node.name](x)
    if node.op == "relu":
        return torch.relu(x)
    if node.op == "add":
        return x + inputs[1]
    if node.op == "flatten":
        return torch.flatten(x, 1)
    if node.op == "global_avg_pool2d":
        return x.mean((2, 3))
    if node.op == "pad_channels":
        return torch.nn.functional.pad(x, (0, 0, 0, 0, node.attrs["before"], node.attrs["after"]))
    assert node.op == "dropout", node.op
    return x


def small_network() -> Network:
    """Return a network with every operation that is translated, for a check of the translation."""
    b = NetworkBuilder("small", (3, 8, 8))
    trunk = b.conv("c1", 4, 3, padding=1, bias=False)
    b.batch_norm("bn1")
    b.relu("r1")
    b.conv("dw", 4, 3, padding=1, groups=4)
    b.add("sum", "dw", trunk)
    b.avg_pool("avg", 1, 2)
    b.pad_channels("pad", after=2)
    b.max_pool("max", 2)
    b.flatten("flat")
    b.linear("f1", 7)
    b.relu("r2")
    b.linear("f2", 3)
    return b.build()
