"""Which technique computes each convolution of a network, and why: what ``emoref info --plan`` prints."""

from typing import NamedTuple

from emoref.nn.graph import Network

__all__ = ["LayerPlan", "convolution_plans"]


class LayerPlan(NamedTuple):
    """The techniques of one convolution.

    Attributes
    ----------
    layer, shape : str
        Name, and for instance ``64 -> 128 @ 16x16, 3x3``: channels, filters, rows and columns of the result,
        kernel, and where they are not 1 stride and groups.
    forward, input_grad, weight_grad : str
        Names of techniques.
    reason : str
        Why the forward pass uses its own.
    """

    layer: str
    shape: str
    forward: str
    input_grad: str
    weight_grad: str
    reason: str


def convolution_plans(net: Network, mode: str = "fast") -> list[LayerPlan]:
    """Return the techniques of the cpu back end for every convolution of a network.

    Parameters
    ----------
    net : Network
        The architecture.
    mode : {"fast", "exact"}
        Mode of the back end.

    Examples
    --------
    >>> import emoref
    >>> for row in convolution_plans(emoref.networks.build("alexnet"))[1:3]:
    ...     print(row.layer, row.shape, row.forward)
    conv2 64 -> 192 @ 16x16, 3x3 winograd 4x4
    conv3 192 -> 384 @ 8x8, 3x3 winograd 4x4
    """
    from emoref_kernels.cpu.planner import plan_convolution, plan_input_grad

    rows = []
    for node in net.nodes:
        if node.op != "conv2d":
            continue
        channels, *x_extents = net.input_shapes(node)[0]
        filters, *extents = net.shapes[node.name]
        kernel, stride, padding, groups = (
            node.attrs[name] for name in ("kernel", "stride", "padding", "groups")
        )
        how = ((kernel, kernel), (stride, stride), (padding, padding), groups, mode)
        y_size, x_size = (extents[0], extents[1]), (x_extents[0], x_extents[1])
        forward = plan_convolution(channels, filters, y_size, *how)
        input_grad = plan_input_grad(channels, filters, x_size, *how)
        shape = f"{channels} -> {filters} @ {extents[0]}x{extents[1]}, {kernel}x{kernel}"
        shape += f", stride {stride}" if stride != 1 else ""
        shape += f", {groups} groups" if groups != 1 else ""
        rows.append(LayerPlan(node.name, shape, forward.name, input_grad.name, forward.name, forward.reason))
    return rows
