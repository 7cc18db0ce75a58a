"""Which technique computes a convolution, by its shape and the back end's mode, and why.

There are two modes. "fast", the default, may use Winograd's F(4x4, 3x3), whose error in single precision
stays below 1e-5 (root mean square) and 1e-4 (largest) of the largest magnitude of the result. "exact" stays
below 2e-6 and 1e-5: there the 3 x 3 layers use F(2x2, 3x3), or the direct product. The mode belongs to the
table of functions that ``load_backend`` returns, not to the process: threads may use both at once.

The choice looks at one image only, never at the number of images, so that the bits of an image's result do
not depend on the batch that it came in.
"""

from typing import NamedTuple

from emoref_kernels.cpu.simd import LANES, ROWS

__all__ = ["DEPTHWISE", "MODES", "Technique", "plan_convolution"]

MODES = ("fast", "exact")
"""Modes of the back end; the first is the default."""

DEPTHWISE = "depthwise"
"""Name of the technique for 3 x 3 filters that see one channel each."""

_OUTPUTS = {"fast": (4, 2), "exact": (2,)}
_LEAST_CHANNELS = 16


class Technique(NamedTuple):
    """How a convolution is computed."""

    name: str
    reason: str
    outputs: int = 0  # m of Winograd's F(m x m, 3 x 3); 0: not Winograd


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _winograd_cost(channels: int, filters: int, extents: tuple[int, int], outputs: int) -> float:
    """Return multiply-adds of one image, the transforms counted as measured against the products."""
    tiles = -(-extents[0] // outputs) * -(-extents[1] // outputs)
    depth, width = _whole(channels, LANES), _whole(filters, LANES)
    return float(tiles * (outputs + 2) ** 2 * (depth * width + 8 * (depth + width)))


def plan_convolution(
    channels: int,
    filters: int,
    extents: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    mode: str = MODES[0],
) -> Technique:
    """Choose how a convolution, or one of its gradients, is computed.

    Parameters
    ----------
    channels, filters : int
        Channels of the input, and filters, of all groups.
    extents : tuple of int
        Rows and columns of the result: the output, or the input for its gradient.
    kernel, stride, padding : tuple of int
        (height, width).
    groups : int
        Number of groups.
    mode : {"fast", "exact"}
        Mode of the back end.

    Returns
    -------
    Technique
        The choice and the reason.

    Examples
    --------
    >>> plan_convolution(64, 64, (32, 32), (3, 3), padding=(1, 1)).name
    'winograd 4x4'
    >>> plan_convolution(3, 64, (32, 32), (3, 3), padding=(1, 1))
    Technique(name='direct', reason='fewer than 16 channels', outputs=0)
    """
    if groups > 1:
        regular = kernel == (3, 3) and stride in ((1, 1), (2, 2)) and max(padding) <= 2
        if groups == channels == filters and regular:
            return Technique(DEPTHWISE, "3x3 filters of one channel each")
        return Technique("direct", f"{groups} groups")
    if kernel != (3, 3):
        return Technique("direct", f"the kernel is {kernel[0]}x{kernel[1]}, not 3x3")
    if stride != (1, 1):
        return Technique("direct", f"the stride is {stride[0]}x{stride[1]}")
    if max(padding) > 2:
        return Technique("direct", "the padding is wider than the kernel reaches")
    for what, count in (("channels", channels), ("filters", filters)):
        if count < _LEAST_CHANNELS:
            return Technique("direct", f"fewer than {_LEAST_CHANNELS} {what}")
    direct = 9.0 * extents[0] * extents[1] * channels * _whole(filters, ROWS)
    costs = {m: _winograd_cost(channels, filters, extents, m) for m in _OUTPUTS[mode]}
    outputs = min(costs, key=lambda m: costs[m])
    share = costs[outputs] / direct
    if share > 0.8:
        return Technique("direct", f"winograd {outputs}x{outputs} would do {share:.0%} of the work")
    return Technique(f"winograd {outputs}x{outputs}", f"{share:.0%} of the direct work", outputs)
