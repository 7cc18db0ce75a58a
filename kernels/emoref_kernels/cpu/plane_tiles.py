"""The sliding product on planes whose rows are whole vectors: every vector is computed where it belongs.

:mod:`~emoref_kernels.cpu.correlate` cuts the work into items and copies the pixels of one between zeros.
Where the rows of the result are whole vectors, no vector of a tile reaches over the end of a row, so that
nothing of it is dropped, and it can be stored in the result itself.
"""

import numpy as np

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import copy_run
from emoref_kernels.cpu.shares import keep_apart
from emoref_kernels.cpu.simd import LANES, ROWS, TILE, VECTORS
from emoref_kernels.cpu.simd_pixels import address_of
from emoref_kernels.cpu.simd_planes import PlaneTile, plane_tile

__all__ = ["row_tiles", "vector_tables"]

_SHORT, _MANY = 64, 4
"""Most terms of a sum, and fewest panels, with which the panels go over all tiles one after the other: then
few planes are written at a time, while the pixels stay in the first-level cache anyway."""


@jit()
def vector_tables(plan, place, terms):
    """Return the tables of an item whose vectors lie within rows of the result, and their number.

    Behind the terms come the places of the vectors in the scratch memory, those in the result, and those in
    a tile of its own.
    """
    count = plan.band * place.width // LANES
    tables = np.empty(plan.depth + 2 * count + VECTORS, np.int64)
    tables[: plan.depth] = terms[: plan.depth]
    for v in range(count):
        row, column = divmod(v * LANES, place.width)
        tables[plan.depth + v] = row * plan.scratch_w + column
        tables[plan.depth + count + v] = row * place.step_h * place.plane_w + column
    for v in range(VECTORS):
        tables[plan.depth + 2 * count + v] = v * LANES
    return tables, count


@jit()
def _keep_filters(tile, filters, vectors, y, y_start, plane, tables, targets):
    """Copy the filters that exist from a tile of its own to where they belong."""
    for m in range(filters):
        for v in range(vectors):
            copy_run(y, y_start + m * plane + tables[targets + v], tile, m * TILE + v * LANES, LANES)


@jit()
def row_tiles(
    plan, tables, all_vectors, vectors, packed, a_start, panels, filters, scratch, bias, bias_start, y,
    y_start, plane, tile, step,
):  # fmt: skip
    """Compute the vectors of an item, `step` terms at a time, each where it belongs.

    A panel that lacks filters is computed in `tile`, memory of its own, and what exists of it is copied.
    `tables` are those of :func:`vector_tables` for `all_vectors` vectors, of which there are `vectors`;
    `bias` has a summand for every row of every panel.
    """
    keep_apart()
    tiles = (vectors + VECTORS - 1) // VECTORS
    near = address_of(scratch, 0)  # nothing is fetched ahead
    sources, targets, own_targets = plan.depth, plan.depth + all_vectors, plan.depth + 2 * all_vectors
    together = 1 if plan.depth <= _SHORT and panels >= _MANY else panels
    for turn in range(0, panels, together):
        for t in range(tiles):
            first = vectors * t // tiles
            own = vectors * (t + 1) // tiles - first
            for k in range(0, plan.depth, step):
                count = min(step, plan.depth - k)
                final = k + count == plan.depth
                for panel in range(turn, min(turn + together, panels)):
                    row = panel * ROWS
                    y_row, a_place = y_start + row * plane, a_start + row * plan.depth + k * ROWS
                    addend = bias_start + row if final else -1
                    whole = filters - row >= ROWS
                    where = PlaneTile(
                        y_row if whole else 0, plane if whole else TILE, a_place, 0,
                        targets + first if whole else own_targets, sources + first, k, count, 1 if k else 0,
                        addend, near, 0,
                    )  # fmt: skip
                    plane_tile(y if whole else tile, packed, scratch, bias, tables, where, own)
                    if final and not whole:
                        _keep_filters(tile, filters - row, own, y, y_row, plane, tables, targets + first)
