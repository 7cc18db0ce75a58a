"""Which technique computes a convolution on the device, by its shape and the back end's mode.

As on the CPU, "fast" may use Winograd's F(4x4, 3x3) and "exact" goes no further than F(2x2, 3x3). The
thresholds follow from operations and bytes counted, not from measurements.
"""

from emoref_kernels.cuda.provider import SIMULATED

__all__ = ["DEPTHWISE", "DIRECT", "MODES", "plan_convolution"]

MODES = ("fast", "exact")
"""Modes of the back end; the first is the default."""

DIRECT, DEPTHWISE = 0, -1
"""Answers of :func:`plan_convolution` beside the m of Winograd's F(m x m, 3 x 3)."""

_OUTPUTS = {"fast": (4, 2), "exact": (2,)}
_LEAST_CHANNELS = 4 if SIMULATED else 32
_MOST_WORK = 0.6


def plan_convolution(
    channels: int,
    filters: int,
    extents: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    mode: str,
) -> int:
    """Choose how a convolution, or one of its gradients, is computed.

    Parameters
    ----------
    channels, filters
        Of all groups.
    extents
        Rows and columns of the result: the output, or the input for its gradient.
    kernel, stride, padding
        (height, width).
    groups
        Number of groups.
    mode
        Mode of the back end.

    Returns
    -------
    int
        :data:`DEPTHWISE`, :data:`DIRECT`, or the m of Winograd's F(m x m, 3 x 3).
    """
    if groups > 1:
        return DEPTHWISE if groups == channels == filters else DIRECT
    if kernel != (3, 3) or stride != (1, 1) or max(padding) > 2 or min(channels, filters) < _LEAST_CHANNELS:
        return DIRECT
    work = {m: -(-extents[0] // m) * -(-extents[1] // m) * (m + 2) ** 2 for m in _OUTPUTS[mode]}
    outputs = min(work, key=lambda m: work[m])
    return outputs if work[outputs] <= _MOST_WORK * 9 * extents[0] * extents[1] else DIRECT
