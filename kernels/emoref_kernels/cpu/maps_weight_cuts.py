"""How the weight gradient of a convolution on channels-last maps is cut into items, slices, parts and units.

:mod:`emoref_kernels.cpu.maps_weight` says what these are. Every cut is made by the shapes alone: some of them
decide the order of additions.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.simd import LANES, ROWS, VECTORS
from emoref_kernels.cpu.winograd_cuts import ceil_div, whole

__all__ = ["BLOCK", "Cut", "Plan", "cut"]

BLOCK = 128
"""Terms of a sum for which the columns of the widest tile stay in the first-level cache."""

_UNIT_PIXELS = 512
_UNIT_FLOATS = 32 * 1024
"""Most pixels of a unit of work, and floats of its image scratch (128 KB), where one row allows it."""

_FOLDED_FLOATS = 8 * 1024
"""Most floats of a unit with its taps folded: 32 KB, to stay in the first-level cache."""

_NEAR_FLOATS = 64
"""Most floats from one pixel to the next for which BLOCK of them share the first-level cache well."""

_GROUPS = 16
"""Most groups of parts with sums of their own."""

_GROUP_FLOATS = 256 * 1024
"""Most floats in the sums of all groups: 1 MB."""

_CHAIN = 512
"""Most pixels of a part, where a row allows it: the more parts, the smaller the error."""

_ITEM_PANELS = 32
_ENOUGH_ITEMS = 8
"""Panels of rows of an item, and items for which the threads share the product, not the sum."""

_SLICE_VECTORS = 12
"""Widest slice of columns that are read in place: four of the widest tiles."""

_TILE_CYCLES = 0, 11, 16, 24
"""Half cycles that a term takes in a tile of so many vectors; the narrowest waits for its operands."""


class Plan(NamedTuple):
    """Extents and distances of the operands, and how the work is cut; distances are in floats."""

    images: int
    x_h: int
    x_w: int
    y_h: int
    y_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding_h: int
    padding_w: int
    x_stride: int
    y_stride: int
    swapped: int  # 1: the rows of the product are channels of x, its columns filters
    rows: int
    columns: int
    copied: int  # 1: the image is copied between zeros into scratch memory
    folded: int  # 1: all taps of a pixel are copied next to each other
    blocks: int  # products of their own: rows of the kernel, 1 if folded
    pixel: int  # of the image, or of its copy, from one column to the next
    row: int  # from one row to the next
    image: int  # from one image to the next
    scratch_w: int  # columns of the scratch memory
    slice: int  # columns of the product, in channels, that are copied and summed together
    slices: int
    width: int  # columns of the sums of a slice, in whole vectors
    y_pixel: int  # from one pixel of the output's gradient to the next
    left_copied: int  # 1: it is copied, so that each pixel has whole panels of rows
    panels: int  # of an item
    row_items: int
    shared: int  # 1: the threads share the product; 0: they share the groups
    groups: int  # sums that are independent, each of some parts
    parts: int
    units: int
    unit_images: int
    band: int  # rows of pixels of a unit
    bands: int
    item_floats: int  # sums of an item
    scratch_floats: int  # of the image
    folded_floats: int
    left_floats: int
    thread_floats: int  # of all of a thread's memory
    left_step: int  # floats from one pixel to the next, if the left operand is fetched ahead, or 0
    right_step: int


class Cut(NamedTuple):
    """A plan as the kernels take it.

    Attributes
    ----------
    plan : Plan
        All of it.
    numbers : ndarray of int64, 1-D
        The plan; then for each block its first and last row of pixels that meet the image, and where its
        places begin, counted in pairs; then for each block the places of both operands for all pixels of a
        unit.
    """

    plan: Plan
    numbers: NDArray[Any]


def _tile_cycles(vectors: int) -> int:
    """Return the cost of a term in tiles of at most VECTORS vectors that are all about alike."""
    tiles = ceil_div(vectors, VECTORS)
    return sum(_TILE_CYCLES[vectors * (tile + 1) // tiles - vectors * tile // tiles] for tile in range(tiles))


def _copied_slice(columns: int, kernel_w: int, stride_w: int) -> int:
    """Return the channels of a slice that is copied: the cheapest, and of these the largest near enough."""
    most = ceil_div(columns, LANES)
    sizes = [ceil_div(columns, slices) for slices in range(1, most + 1)]
    near = [size for size in sizes if size * stride_w <= _NEAR_FLOATS] or sizes[-1:]

    def cost(size: int) -> int:
        return ceil_div(columns, size) * _tile_cycles(ceil_div(kernel_w * size, LANES))

    return min(near, key=lambda size: (cost(size), -size))


def _fold_pays(channels: int, kernel: tuple[int, int], panels: int) -> bool:
    """Return whether copying all taps next to each other saves more than it costs, both in half cycles."""
    run = ceil_div(kernel[1] * channels, LANES)
    apart = kernel[0] * _tile_cycles(run)
    together = _tile_cycles(ceil_div(kernel[0] * kernel[1] * channels, LANES))
    return kernel[0] > 1 and panels * (apart - together) > 8 * kernel[0] * run


def _extents(
    x_shape: tuple[int, ...],
    x_stride: int,
    y_shape: tuple[int, ...],
    y_stride: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> dict[str, int]:
    """Choose the operands of the product, and where the one of the image is read."""
    channels, x_h, x_w = x_shape[1:]
    filters, y_h, y_w = y_shape[1:]
    panels = ceil_div(filters, ROWS)
    fold = _fold_pays(channels, kernel, panels)
    # Under a row of taps, pixels must be near, and without values that are padding.
    dense = ceil_div(kernel[1] * x_stride, LANES) == ceil_div(kernel[1] * channels, LANES)
    usable = kernel[1] == 1 or (dense and stride[1] * x_stride <= _NEAR_FLOATS)
    in_place = x_stride % LANES == 0 and padding[1] == 0 and not fold and usable
    # One vector of columns costs two thirds of two: then the other operand has the columns.
    swapped = (
        in_place and kernel == (1, 1) and padding[0] == 0 and channels <= LANES < filters
        and y_stride <= _NEAR_FLOATS and whole(channels, ROWS) <= x_stride
    )  # fmt: skip
    rows, columns = (channels, filters) if swapped else (filters, channels)
    left_copied = whole(rows, ROWS) > (x_stride if swapped else y_stride)
    if in_place:
        pixel, scratch_w, size = x_stride, x_w, columns
        if kernel[1] == 1:
            vectors = ceil_div(columns, LANES)
            size = ceil_div(vectors, ceil_div(vectors, _SLICE_VECTORS)) * LANES
    else:
        pixel = size = channels if fold else _copied_slice(columns, kernel[1], stride[1])
        scratch_w = (y_w - 1) * stride[1] + kernel[1]
    taps = kernel[0] * kernel[1] if fold else kernel[1]
    return {
        "images": x_shape[0], "x_h": x_h, "x_w": x_w, "y_h": y_h, "y_w": y_w,
        "kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": stride[0],
        "stride_w": stride[1], "padding_h": padding[0], "padding_w": padding[1],
        "x_stride": x_stride, "y_stride": y_stride, "swapped": int(swapped),
        "rows": rows, "columns": columns, "copied": int(not in_place),
        "folded": int(fold), "blocks": 1 if fold else kernel[0],
        "pixel": pixel, "row": scratch_w * pixel, "scratch_w": scratch_w,
        "slice": size, "slices": ceil_div(columns, size),
        "width": whole(taps * (size if kernel[1] == 1 else pixel), LANES),
        "y_pixel": whole(rows, ROWS) if left_copied else y_stride, "left_copied": int(left_copied),
    }  # fmt: skip


def _make_plan(*arguments: Any) -> Plan:
    """Cut the sum and the product."""
    e = _extents(*arguments)
    plane, pixels = e["y_h"] * e["y_w"], e["images"] * e["y_h"] * e["y_w"]
    all_panels = ceil_div(e["rows"], ROWS)
    row_items = ceil_div(all_panels, _ITEM_PANELS)
    panels = ceil_div(all_panels, row_items)
    item_floats = e["blocks"] * panels * ROWS * e["width"]
    size = e["slices"] * row_items * item_floats
    shared = e["slices"] * row_items >= _ENOUGH_ITEMS or size * 4 > _GROUP_FLOATS

    wanted = max(min(_UNIT_PIXELS, ceil_div(pixels, 1 if shared else _GROUPS)), BLOCK)
    if e["folded"]:
        wanted = max(min(wanted, _FOLDED_FLOATS // e["width"]), BLOCK)
    halo = e["kernel_h"] - e["stride_h"]
    unit_images = bands = 1
    image_rows = (e["y_h"] - 1) * e["stride_h"] + e["kernel_h"]
    if plane <= wanted:
        band = e["y_h"]
        allowed = max(_UNIT_FLOATS // (image_rows * e["row"]), 1) if e["copied"] else wanted
        unit_images = min(max(wanted // plane, 1), allowed, e["images"])
    else:
        allowed = (_UNIT_FLOATS // e["row"] - halo) // e["stride_h"] if e["copied"] else wanted
        band = max(min(wanted // e["y_w"], allowed), 1)
        bands = ceil_div(e["y_h"], band)
        band = ceil_div(e["y_h"], bands)
        bands = ceil_div(e["y_h"], band)
    unit_rows = (band - 1) * e["stride_h"] + e["kernel_h"]
    image = unit_rows * e["row"] if e["copied"] else e["x_h"] * e["row"]
    unit_pixels = unit_images * band * e["y_w"]
    units = ceil_div(e["images"], unit_images) * bands
    parts = min(max(ceil_div(pixels, _CHAIN), 1 if shared else _GROUPS), units)
    groups = 1 if shared else min(_GROUPS, max(_GROUP_FLOATS // size, 1), parts)
    # A vector more: copies of whole vectors may go on behind the last value.
    scratch = whole(unit_images * image, LANES) + LANES if e["copied"] else 0
    folded = unit_pixels * e["width"] + LANES if e["folded"] else 0
    left = whole(unit_pixels * e["y_pixel"], LANES) if e["left_copied"] else 0
    x_step, y_step = e["x_stride"] * e["stride_w"], e["y_stride"]
    left_step, right_step = (x_step, y_step) if e["swapped"] else (y_step, x_step)
    own_sums = item_floats * ((1 if shared else 0) + (1 if parts > groups else 0))
    return Plan(
        **e, image=image, panels=panels, row_items=row_items, shared=int(shared), groups=groups,
        parts=parts, units=units, unit_images=unit_images, band=band, bands=bands, item_floats=item_floats,
        scratch_floats=scratch, folded_floats=folded, left_floats=left,
        thread_floats=scratch + folded + left + own_sums,
        left_step=0 if e["left_copied"] else left_step, right_step=0 if e["copied"] else right_step,
    )  # fmt: skip


def _block_places(plan: Plan, block: int, low: int, high: int) -> NDArray[Any]:
    """Return the places of both operands for the rows of pixels from `low` to before `high` of a unit."""
    image = np.arange(plan.unit_images)[:, None, None]
    i = np.arange(low, high)[:, None]
    j = np.arange(plan.y_w)
    y = ((image * plan.band + i) * plan.y_w + j) * plan.y_pixel
    x = image * plan.image + (i * plan.stride_h + block) * plan.row + j * plan.stride_w * plan.pixel
    if plan.folded:
        x = ((image * plan.band + i) * plan.y_w + j) * plan.width
    return np.stack((x, y) if plan.swapped else (y, x), axis=-1).reshape(-1)


@lru_cache(maxsize=256)
def cut(
    x_shape: tuple[int, ...],
    x_stride: int,
    y_shape: tuple[int, ...],
    y_stride: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Cut:
    """Cut the weight gradient of one convolution.

    Parameters
    ----------
    x_shape, y_shape : tuple of int
        (N, C, H, W) of the images and of the output.
    x_stride, y_stride : int
        Floats from one pixel to the next.
    kernel, stride, padding : tuple of int
        (height, width).
    """
    plan = _make_plan(x_shape, x_stride, y_shape, y_stride, kernel, stride, padding)
    # Pairs begin at even places.
    head = whole(len(plan) + 3 * plan.blocks, 2)
    numbers, places, first = [*plan], [], head // 2
    for block in range(plan.blocks):
        # Rows of taps that lie above or below the image add nothing.
        low = min(max(ceil_div(padding[0] - block, stride[0]), 0), plan.y_h)
        high = max(min((plan.x_h - 1 + padding[0] - block) // stride[0] + 1, plan.y_h), low)
        if plan.folded:
            low, high = 0, plan.y_h
        numbers += [low, high, first]
        table = _block_places(plan, block, *((low, high) if plan.bands == 1 else (0, plan.band)))
        places.append(table)
        first += table.size // 2
    numbers += [0] * (head - len(numbers))
    return Cut(plan, np.concatenate((np.array(numbers), *places)).astype(np.int64))
