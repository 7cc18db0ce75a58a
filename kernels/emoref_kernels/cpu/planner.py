"""Which technique computes a convolution, by its shape and the back end's mode, and why.

There are two modes. "fast", the default, may use Winograd's F(4x4, 3x3) and F(4x4, 5x5), whose error in
single precision stays below 1e-5 (root mean square) and 1e-4 (largest) of the largest magnitude of the
result. "exact" stays below 2e-6 and 1e-5: there the 3 x 3 layers use F(2x2, 3x3), or the direct product, and
5 x 5 layers the direct product. The mode belongs to the table of functions that ``load_backend`` returns, not
to the process: threads may use both at once.

The choice looks at one image only, never at the number of images, so that the bits of an image's result do
not depend on the batch that it came in.
"""

import math
from typing import NamedTuple

from emoref_kernels.cpu.simd import LANES, ROWS

__all__ = [
    "DEPTHWISE",
    "DIRECT",
    "MAPS",
    "MODES",
    "SCATTER",
    "Technique",
    "plan_convolution",
    "plan_input_grad",
]

MODES = ("fast", "exact")
"""Modes of the back end; the first is the default."""

DEPTHWISE = "depthwise"
"""Name of the technique for 3 x 3 filters that see one channel each."""

DIRECT = "direct"
"""Name of the technique for every shape: the sliding product, or the product of pixels."""

MAPS = "maps"
"""Name of the technique by which planes are convolved as channels-last maps, a few images at a time."""

SCATTER = "scatter"
"""Name of the technique by which output pixels hand their gradient to the input pixels they saw."""

_SCATTER_FLOATS = 512 * 1024
"""Most memory of a thread for scattering, in floats: 2 MB, some of it in the third-level cache."""

_FIVE_PIXELS, _FIVE_FILTERS = 128 * 1024, 1024 * 1024
"""Most floats of an image's pixels, and of the transformed filters, for Winograd's F(4x4, 5x5)."""

_LARGEST_SHARE = 1.0
"""Share of the direct work up to which scattering is faster: its memory is simpler to read and write."""

_OUTPUTS = {"fast": (4, 2), "exact": (2,)}
_LEAST_CHANNELS = 16

_LEAST_OF_MAPS = 8
"""Fewest channels, and filters, for which maps are worth being made of planes: half of a vector is used."""


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
        return Technique(DIRECT, f"{groups} groups")
    if stride != (1, 1) and kernel != (1, 1) and min(channels, filters) >= _LEAST_OF_MAPS:
        return Technique(MAPS, f"the stride is {stride[0]}x{stride[1]}")
    if kernel not in ((3, 3), (5, 5)):
        return Technique(DIRECT, f"the kernel is {kernel[0]}x{kernel[1]}, neither 3x3 nor 5x5")
    if stride != (1, 1):
        return Technique(DIRECT, f"the stride is {stride[0]}x{stride[1]}")
    if kernel == (5, 5):
        return _plan_five(channels, filters, extents, padding, mode)
    if max(padding) > 2:
        return Technique(DIRECT, "the padding is wider than the kernel reaches")
    for what, count in (("channels", channels), ("filters", filters)):
        if count < _LEAST_CHANNELS:
            return Technique(DIRECT, f"fewer than {_LEAST_CHANNELS} {what}")
    direct = 9.0 * extents[0] * extents[1] * channels * _whole(filters, ROWS)
    costs = {m: _winograd_cost(channels, filters, extents, m) for m in _OUTPUTS[mode]}
    outputs = min(costs, key=lambda m: costs[m])
    share = costs[outputs] / direct
    if share > 0.8:
        return Technique(DIRECT, f"winograd {outputs}x{outputs} would do {share:.0%} of the work")
    return Technique(f"winograd {outputs}x{outputs}", f"{share:.0%} of the direct work", outputs)


def _plan_five(
    channels: int, filters: int, extents: tuple[int, int], padding: tuple[int, int], mode: str
) -> Technique:
    """Choose for 5 x 5 filters at stride 1; `extents` are those of the output, for gradients as well."""
    if mode != MODES[0]:
        return Technique(DIRECT, "winograd of 5x5 filters is not exact enough")
    if max(padding) > 4:
        return Technique(DIRECT, "the padding is wider than the kernel reaches")
    depth, width = _whole(channels, LANES), _whole(filters, LANES)
    tiles = [-(-extent // 4) for extent in extents]
    pixels = max((4 * tiles[0] + 4) * (4 * tiles[1] + 4) * depth, 16 * tiles[0] * tiles[1] * width)
    if max(pixels // _FIVE_PIXELS, 64 * depth * width // _FIVE_FILTERS):
        return Technique(DIRECT, "one image, or the filters, are too large for winograd of 5x5 filters")
    cost = 64.0 * tiles[0] * tiles[1] * (depth * width + 8 * (depth + width))
    share = cost / (25 * extents[0] * extents[1] * channels * _whole(filters, ROWS))
    if share > 0.8:
        return Technique(DIRECT, f"winograd 4x4 would do {share:.0%} of the work")
    return Technique("winograd 4x4", f"{share:.0%} of the direct work", 4)


def plan_input_grad(
    channels: int,
    filters: int,
    extents: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    mode: str = MODES[0],
) -> Technique:
    """Choose how the gradient of a convolution's input is computed.

    Parameters
    ----------
    channels, filters : int
        Channels of the input, and filters, of all groups.
    extents : tuple of int
        Rows and columns of the input.
    kernel, stride, padding, groups, mode
        As for :func:`plan_convolution`.

    Returns
    -------
    Technique
        The choice and the reason.

    Examples
    --------
    >>> plan_input_grad(6, 16, (14, 14), (5, 5))
    Technique(name='scatter', reason='41% of the direct work', outputs=0)
    """
    pairs = list(zip(extents, kernel, stride, padding, strict=True))
    outputs = [(x + 2 * pad - size) // step + 1 for x, size, step, pad in pairs]
    if kernel == (5, 5):
        # Both passes meet the same tiles.
        own = outputs[0], outputs[1]
        technique = plan_convolution(channels, filters, own, kernel, stride, padding, groups, mode)
    else:
        technique = plan_convolution(filters, channels, extents, kernel, stride, padding, groups, mode)
    if technique.name != DIRECT or groups > 1 or (kernel == (1, 1) and max(padding) == 0):
        return technique
    depth, width = _whole(filters, 4), _whole(kernel[1] * channels, LANES)
    scattered = outputs[0] * outputs[1] * depth * kernel[0] * width
    memory = math.prod(x + 2 * pad for x, _, _, pad in pairs) * channels + outputs[0] * outputs[1] * depth
    if ROWS * memory > _SCATTER_FLOATS:
        return technique
    # Up to two channels are taken one by one, at the price of half a tile.
    rows = _whole(channels, ROWS if channels > 2 else ROWS // 2)
    direct = extents[0] * extents[1] * filters * rows * kernel[0] * kernel[1] / (stride[0] * stride[1])
    share = scattered / direct
    return Technique(SCATTER, f"{share:.0%} of the direct work") if share <= _LARGEST_SHARE else technique
