"""Planes of the pixels that a pointwise convolution with a stride sees, and back.

A 1 x 1 filter at a stride sees one pixel of each window. Once these are planes of their own, the convolution
and its gradients are those at stride 1; the gradient of the input lies between zeros.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_run, copy_strided
from emoref_kernels.cpu.shares import share
from emoref_kernels.cpu.simd_planes import halve_run, spread_run
from emoref_kernels.cpu.winograd_cuts import workspace

__all__ = ["picked_pixels", "seen_pixels", "spread_pixels"]

_ZERO = np.float32(0)


@jit()
def _pick_planes(chunk, chunks, n, _, x, out, _c, _d, _e):
    y_h, y_w, x_h, x_w, step_h, step_w, planes = n[0], n[1], n[2], n[3], n[4], n[5], n[6]
    for plane in range(planes * chunk // chunks, planes * (chunk + 1) // chunks):
        for i in range(y_h):
            target, source = (plane * y_h + i) * y_w, (plane * x_h + i * step_h) * x_w
            if step_w == 2:
                halve_run(out, target, x, source, y_w)
            else:
                copy_strided(out, target, x, source, y_w, step_w)


@jit()
def _spread_planes(chunk, chunks, n, _, x, out, zeros, _d, _e):
    y_h, y_w, x_h, x_w, step_h, step_w, planes = n[0], n[1], n[2], n[3], n[4], n[5], n[6]
    for plane in range(planes * chunk // chunks, planes * (chunk + 1) // chunks):
        for i in range(x_h):
            target, source = (plane * x_h + i) * x_w, (plane * y_h + i // step_h) * y_w
            if i % step_h or i // step_h >= y_h:
                copy_run(out, target, zeros, 0, x_w)
            elif step_w == 2 and x_w == 2 * y_w:
                spread_run(out, target, x, source, y_w)
            else:
                copy_run(out, target, zeros, 0, x_w)
                add_strided(out, target, x, source, y_w, step_w, _ZERO)


def seen_pixels(extents: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """Return how many rows and columns of pixels 1 x 1 windows see."""
    return (extents[0] - 1) // stride[0] + 1, (extents[1] - 1) // stride[1] + 1


def picked_pixels(x: NDArray[Any], shape: tuple[int, ...], stride: tuple[int, int]) -> NDArray[Any]:
    """Return every stride-th pixel of planes.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Planes of `shape` (N, C, H, W), flat.
    shape : tuple of int
        Their shape, no extent 0.
    stride : tuple of int
        Rows and columns from one pixel to the next.

    Returns
    -------
    ndarray of float32, shape (N, C, OH, OW)
        In memory that the next call uses again.
    """
    images, channels, x_h, x_w = shape
    y_h, y_w = seen_pixels((x_h, x_w), stride)
    planes = images * channels
    size = planes * y_h * y_w
    out = workspace.array("picked pixels", size)[:size]
    numbers = np.array((y_h, y_w, x_h, x_w, *stride, planes), np.int64)
    share(_pick_planes, min(numba.get_num_threads(), planes), (numbers,), (x, out))
    return out.reshape(images, channels, y_h, y_w)


def spread_pixels(y: NDArray[Any], x: NDArray[Any], shape: tuple[int, ...], stride: tuple[int, int]) -> None:
    """Write planes to every stride-th pixel of larger ones, and zeros between them.

    Parameters
    ----------
    y : ndarray of float32, 1-D
        Planes (N, C, OH, OW), flat: as many pixels as :func:`seen_pixels` says.
    x : ndarray of float32, 1-D
        Result of `shape`, flat; written in full.
    shape : tuple of int
        (N, C, H, W), no extent 0.
    stride : tuple of int
        Rows and columns from one pixel to the next.
    """
    images, channels, x_h, x_w = shape
    y_h, y_w = seen_pixels((x_h, x_w), stride)
    planes = images * channels
    numbers, zeros = np.array((y_h, y_w, x_h, x_w, *stride, planes), np.int64), np.zeros(x_w, np.float32)
    share(_spread_planes, min(numba.get_num_threads(), planes), (numbers,), (y, x, zeros))
