"""Maps with the channels of a pixel next to each other: the layout in which networks train on the CPU.

A convolution multiplies all channels under a tap by the weights of all filters. With channels innermost, both
are read, and the result is written, as whole vectors where they lie; in (N, C, H, W) planes every kernel has
to gather them first. So training converts the images once, works on :class:`Maps`, and converts back only
what a caller wants to see.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_strided
from emoref_kernels.cpu.simd import LANES

__all__ = ["Maps", "as_maps", "pixel_stride"]

_FEW_CHANNELS = 4
"""Maps of fewer channels, the images, are not padded: their values are read one by one anyway."""

_ZERO = np.float32(0)


def pixel_stride(channels: int) -> int:
    """Return the floats from one pixel to the next: `channels`, in whole vectors but for images."""
    return channels if channels < _FEW_CHANNELS else -(-channels // LANES) * LANES


class Maps:
    """A float32 array of shape (N, C, H, W) that lies in memory as (N, H, W, S).

    S is :func:`pixel_stride` of C. Whoever writes a map writes zeros behind the C channels of every pixel.

    Parameters
    ----------
    pixels : ndarray of float32, shape (N, H, W, S)
        Its memory, C-contiguous.
    channels : int
        C.

    Attributes
    ----------
    shape : tuple of int
        (N, C, H, W), as of the array that it stands for; so are ``ndim``, ``size`` and ``dtype``.
    """

    __slots__ = ("channels", "pixels", "shape")

    from_backend = True
    dtype = np.dtype(np.float32)
    ndim = 4

    def __init__(self, pixels: NDArray[Any], channels: int) -> None:
        self.pixels, self.channels = pixels, channels
        images, height, width, _ = pixels.shape
        self.shape = (images, channels, height, width)

    @classmethod
    def empty(cls, shape: Sequence[int]) -> "Maps":
        """Return maps of shape (N, C, H, W) whose values, zeros included, are still to be written."""
        images, channels, height, width = (int(extent) for extent in shape)
        return cls(np.empty((images, height, width, pixel_stride(channels)), np.float32), channels)

    @classmethod
    def zeros(cls, shape: Sequence[int]) -> "Maps":
        """Return maps of zeros."""
        images, channels, height, width = (int(extent) for extent in shape)
        return cls(np.zeros((images, height, width, pixel_stride(channels)), np.float32), channels)

    @classmethod
    def from_planes(cls, planes: NDArray[Any]) -> "Maps":
        """Return a copy of an array (N, C, H, W) of float32."""
        maps = cls.empty(planes.shape)
        flat = np.ascontiguousarray(planes, dtype=np.float32).reshape(-1)
        _to_maps(flat, *_extents(maps), maps.flat)
        return maps

    @property
    def stride(self) -> int:
        """Floats from one pixel to the next."""
        return int(self.pixels.shape[3])

    @property
    def flat(self) -> NDArray[Any]:
        """The memory as a 1-D array that shares it."""
        return self.pixels.reshape(-1)

    @property
    def size(self) -> int:
        """Number of values, padding not counted."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the memory, padding included."""
        return int(self.pixels.nbytes)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Maps(shape={self.shape})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        planes = np.empty(self.shape, np.float32)
        _to_planes(self.flat, *_extents(self), planes.reshape(-1))
        return planes.astype(dtype or np.float32, copy=False)

    def reshape(self, *shape: Any) -> NDArray[Any]:
        """Return the values in the order of planes as an ordinary array of another shape."""
        if self.shape[2] == self.shape[3] == 1:
            return np.ascontiguousarray(self.pixels[:, 0, 0, : self.channels]).reshape(*shape)
        return np.asarray(self).reshape(*shape)


def _extents(maps: Maps) -> tuple[int, int, int, int]:
    images, channels, height, width = maps.shape
    return images, channels, height * width, maps.stride


@jit()
def _to_maps(planes, images, channels, plane, stride, pixels):
    for n in range(images):
        for c in range(channels):
            target = n * plane * stride + c
            add_strided(pixels, target, planes, (n * channels + c) * plane, plane, stride, _ZERO)
        for c in range(channels, stride):
            for p in range(plane):
                pixels[(n * plane + p) * stride + c] = _ZERO


@jit()
def _to_planes(pixels, images, channels, plane, stride, planes):
    for n in range(images):
        for c in range(channels):
            source = n * plane * stride + c
            copy_strided(planes, (n * channels + c) * plane, pixels, source, plane, stride)


def as_maps(values: Any) -> Maps:
    """Return (N, C, H, W) values as maps; maps are returned as they are."""
    return values if isinstance(values, Maps) else Maps.from_planes(values)
