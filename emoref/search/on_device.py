"""Counting the wrong predictions of many slimmed candidates on a GPU, with one wait of the host a chunk.

What all candidates need stays on the device as long as the evaluator lives: the images and their labels, and
the parameters of the unpruned network. For a chunk of candidates one array of integers is uploaded, the
numbers of the channels that each keeps, and their weights are cut out there. Block after block of images, the
shared first layers run once; then candidates run side by side, each on the stream that it was given, and add
their wrong predictions to counts on the device, which are fetched at the end of the chunk.

On which stream a candidate runs changes nothing in what is computed, so counts are the same for any number of
streams and any chunk. When memory runs out, fewer candidates are tried at a time; then images are uploaded
block by block; then blocks are halved. Halving blocks is the one of these that can change how a sum is cut
into parts, and so a prediction where two logits are equal but for rounding.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.slim import cut_axes
from emoref.errors import ConfigError
from emoref.nn import INPUT, Network, run_nodes
from emoref.nn.batches import slices
from emoref.nn.device import HalvedBatches, resident
from emoref.search.candidates import Candidate, Runs, descend, pick, split
from emoref.search.sharing import SharingPlan
from emoref_kernels.errors import DeviceMemoryError

__all__ = ["RESIDENT_SHARE", "STREAMS", "DevicePopulation", "Spent"]

STREAMS = 4
"""Candidates side by side, unless somebody says otherwise. Not measured on a GPU yet."""

RESIDENT_SHARE = 0.5
"""Largest share of the device's free memory that images may take to stay there."""

Values = Mapping[str, Any]
Block = slice | NDArray[np.int64]
_log = logging.getLogger(__name__)


@dataclass
class Spent:
    """Where the time of evaluations went, in seconds.

    Attributes
    ----------
    upload : float
        Host: copying images, parameters and lists of channels to the device.
    launch : float
        Host: starting what the device computes.
    prepare : float
        Host: preparing the next candidates after everything was started.
    wait : float
        Host: waiting for the device after that.
    kernels : float
        Device: from the first kernel of a chunk to the last; runs while the host launches and waits.
    """

    upload: float = 0.0
    launch: float = 0.0
    prepare: float = 0.0
    wait: float = 0.0
    kernels: float = 0.0


class DevicePopulation:
    """Wrong predictions of slimmed candidates of one network on a device.

    Parameters
    ----------
    net : Network
        The unpruned network.
    plan : SharingPlan
        Where its candidates share work.
    stem_params, later_params : mapping of str to array
        Parameters of the shared first layers, and of all others.
    images : float32 array, shape (N, C, H, W)
        The images.
    labels : int64 array, shape (N,)
        Their classes.
    backend : Backend
        The loaded back end, which computes on a device.
    streams : int
        How many candidates run side by side.
    resident_share : float
        The largest share of free memory that the images may take to stay on the device.

    Attributes
    ----------
    spent : Spent
        Where the time went so far.
    is_resident : bool
        Whether the images are on the device now.

    Raises
    ------
    ConfigError
        If the share is not in [0, 1].
    """

    def __init__(
        self,
        net: Network,
        plan: SharingPlan,
        stem_params: Values,
        later_params: Values,
        images: NDArray[Any],
        labels: NDArray[np.int64],
        backend: Any,
        streams: int = STREAMS,
        resident_share: float = RESIDENT_SHARE,
    ) -> None:
        if not 0 <= resident_share <= 1:
            raise ConfigError(f"resident_share must be in [0, 1], got {resident_share}")
        self._net, self._plan, self._backend = net, plan, backend
        self._stem_params, self._later_params = stem_params, later_params
        self._images, self._labels = images, labels
        self._share, self._streams = resident_share, streams
        self._axes = {name: cut_axes(net, name) for name in later_params}
        self._stem_runs, self._batches = Runs(), HalvedBatches("candidate")
        self._most_images: int | None = None
        self._largest_block = 0
        self._held: _Held | None = None
        self.spent = Spent()

    @property
    def is_resident(self) -> bool:
        """Whether the images are on the device now."""
        return self._held is not None and self._held.images is not None

    def counts(
        self,
        chunk: Sequence[Candidate],
        blocks: Sequence[Block],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[list[int], int]:
        """Count the wrong predictions of candidates.

        Parameters
        ----------
        chunk : sequence of Candidate
            The candidates; for those without parameters they are cut out of the network's.
        blocks : sequence of slice or int array
            Numbers of the images, those of a block together.
        meanwhile : callable, optional
            Called while the device computes; again, if the candidates do not fit together.

        Returns
        -------
        counts : list of int
            One for each candidate.
        macs : int
            Multiply-accumulates of all forward passes.

        Raises
        ------
        BackendError
            If memory does not suffice for one candidate and one image.
        """
        counts: list[int] = []
        macs = 0
        work = self._batches.run(
            len(chunk), lambda part: self._count_together(chunk[part], blocks, meanwhile), self._give_up
        )
        for _, (found, executed) in work:
            counts += found
            macs += executed
        return counts, macs

    def close(self) -> None:
        """Give the device's memory back; what is needed comes back with the next evaluation."""
        from emoref_kernels.cuda.memory import POOL

        self._held = None
        POOL.trim()

    # ---------------------------------------------------------------------------------------- memory

    def _load(self) -> "_Held":
        """Upload what all candidates need, on the current stream."""
        from emoref_kernels.cuda.array import on_device

        stem, later = (dict(resident(p, self._backend)) for p in (self._stem_params, self._later_params))
        return _Held(stem, later, on_device(self._labels), self._resident_images())

    def _resident_images(self) -> Any:
        """Upload all images, if memory suffices; None if not."""
        from emoref_kernels.cuda.array import upload
        from emoref_kernels.cuda.memory import POOL

        size, bound = self._images.nbytes, self._share * POOL.available_bytes()
        if not self._share:
            return None
        if size <= bound:
            try:
                return upload(self._images)
            except DeviceMemoryError as error:
                _log.warning("%s; images are uploaded block by block", str(error))
                return None
        _log.warning(
            "the images take %.1f MiB of the device's memory, more than the %.1f MiB that they may take; "
            "they are uploaded block by block",
            size / 2**20,
            bound / 2**20,
        )
        return None

    def _give_up(self) -> bool:
        """Free memory when one candidate does not fit: first the images, then halves of a block."""
        if self._held is not None and self._held.images is not None:
            self._held.images = None
            _log.warning("the device's memory does not suffice; images are uploaded block by block")
            return True
        if self._largest_block <= 1:
            return False
        images, self._largest_block = self._largest_block, self._largest_block // 2
        self._most_images = self._largest_block
        _log.warning("going on with %d images at a time instead of %d", self._most_images, images)
        return True

    def _cut_blocks(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks, none of more images than were found to fit."""
        pieces: list[Block] = []
        for block in blocks:
            count = _images_of(block)
            for piece in slices(count, min(self._most_images or count, count)):
                if isinstance(block, slice):
                    pieces.append(slice(block.start + piece.start, block.start + piece.stop))
                else:
                    pieces.append(block[piece])
        self._largest_block = max(map(_images_of, pieces), default=0)
        return pieces

    # ---------------------------------------------------------------------------------------- a chunk

    def _count_together(
        self, chunk: Sequence[Candidate], blocks: Sequence[Block], meanwhile: Callable[[], None]
    ) -> tuple[list[int], int]:
        """Count for candidates that are in work together; raises DeviceMemoryError."""
        from emoref_kernels.cuda.array import upload
        from emoref_kernels.cuda.lanes import elapsed_seconds, on_lane, side_lanes

        begin = perf_counter()
        # A single stream does everything; of several, the first computes what candidates share.
        trunk, *sides = side_lanes(self._streams + (self._streams > 1))
        sides = sides or [trunk]
        with on_lane(trunk), np.errstate(over="ignore", invalid="ignore"):
            if self._held is None:
                self._held = self._load()
            lists, places = self._lists(chunk)
            work = _Chunk(upload(lists), upload(np.zeros(len(chunk), np.int64)), places, {}, {})
            uploaded, first = perf_counter(), trunk.mark(timed=True)
            for place, candidate in enumerate(chunk):
                work.lanes[candidate] = sides[place % len(sides)]
                with on_lane(work.lanes[candidate]):
                    work.params[candidate] = self._cut(candidate, work)
            for block in self._cut_blocks(blocks):
                self._count_block(chunk, block, work)
            for side in sides:
                trunk.follow(side)
            last, launched = trunk.mark(timed=True), perf_counter()
            meanwhile()
            prepared = perf_counter()
            counts = [int(count) for count in np.asarray(work.counts)]
        self.spent.upload += uploaded - begin
        self.spent.launch += launched - uploaded
        self.spent.prepare += prepared - launched
        self.spent.wait += perf_counter() - prepared
        self.spent.kernels += elapsed_seconds(first, last)
        return counts, work.macs

    def _lists(
        self, chunk: Sequence[Candidate]
    ) -> tuple[NDArray[np.int64], dict[tuple[Candidate, str], tuple[int, int]]]:
        """Return the numbers of all channels that candidates keep, and where those of a value are."""
        parts, places, start = [np.zeros(1, np.int64)], {}, 1
        frontier = set(self._plan.frontier)
        cut = frontier.union(value for axes in self._axes.values() for value in axes if value is not None)
        for candidate in chunk:
            for name in sorted(frontier if candidate.params else cut):
                numbers = np.flatnonzero(candidate.kept[name])
                parts.append(numbers)
                places[candidate, name] = start, len(numbers)
                start += len(numbers)
        return np.concatenate(parts).astype(np.int64, copy=False), places

    def _cut(self, candidate: Candidate, work: "_Chunk") -> Values:
        """Return a candidate's parameters behind the stem, on the device."""
        from emoref_kernels.cuda.population import cut_weight

        if candidate.params:
            return resident(candidate.params, self._backend)
        assert self._held is not None
        params = {}
        for name, whole in self._held.later.items():
            rows_of, columns_of = self._axes[name]
            rows = work.places[candidate, rows_of]
            columns = None if columns_of is None else work.places[candidate, columns_of]
            stays = rows[1] == whole.shape[0] and (columns is None or columns[1] == whole.shape[1])
            params[name] = whole if stays else cut_weight(whole, work.lists, rows, columns)
        return params

    def _count_block(self, chunk: Sequence[Candidate], block: Block, work: "_Chunk") -> None:
        """Start the counting of a block of images for all candidates."""
        images, labels, first_label = self._block(block)
        full = self._stem(images, work)
        # This gives back what the block before had, for which all streams must have come so far: far enough
        # back for the shared layers of the next block to run while candidates are at work on this one.
        work.shared = full, labels
        self._count_from(full, chunk, labels, first_label, work)

    def _stem(self, images: Any, work: "_Chunk") -> Values:
        """Return the values of one block of images that all candidates read."""
        assert self._held is not None
        frontier, given = self._plan.frontier, {INPUT: images}
        wanted = [name for name in frontier if name != INPUT]
        if wanted:
            work.macs += self._stem_runs.macs_between(self._net, given, wanted) * len(images)
        full: Values = run_nodes(self._net, self._held.stem, given, frontier, self._backend)
        for value in full.values():
            value.finish()
        return full

    def _block(self, block: Block) -> tuple[Any, Any, int]:
        """Return the images of a block and labels on the device, and where the labels of these begin."""
        from emoref_kernels.cuda.array import upload
        from emoref_kernels.cuda.population import take_rows

        assert self._held is not None
        images, labels = self._held.images, self._held.labels
        if isinstance(block, slice):
            if images is None:
                return upload(self._images[block]), labels, block.start
            return images.part(block.start, block.stop), labels, block.start
        own = upload(self._labels[block])
        return (upload(self._images[block]) if images is None else take_rows(images, upload(block)), own, 0)

    def _count_from(
        self, full: Values, chunk: Sequence[Candidate], labels: Any, first_label: int, work: "_Chunk"
    ) -> None:
        """Start all candidates on one block, given the values that they share."""
        from emoref_kernels.cuda.lanes import on_lane
        from emoref_kernels.cuda.population import add_wrong

        places = {candidate: place for place, candidate in enumerate(chunk)}

        def run(candidate: Candidate, values: Values, wanted: str) -> Any:
            macs = candidate.runs.macs_between(candidate.net, values, [wanted])
            work.macs += macs * len(next(iter(values.values())))
            params = work.params[candidate]
            with on_lane(work.lanes[candidate]):
                result: Any = run_nodes(candidate.net, params, values, [wanted], self._backend)[wanted]
                if wanted != candidate.net.output.name:
                    result.finish()
            return result

        for group in split(chunk, 0):
            with on_lane(work.lanes[group[0]]):
                values = self._picked(full, group, work)
            for candidate, logits in descend(self._plan, group, 0, values, run):
                with on_lane(work.lanes[candidate]):
                    add_wrong(logits, labels, first_label, work.counts, places[candidate])

    def _picked(self, full: Values, group: Sequence[Candidate], work: "_Chunk") -> Values:
        """Return the channels of shared values that a group of candidates reads."""
        picked: dict[str, Any] = {}
        for name in self._plan.frontier:
            start, length = work.places[group[0], name]
            channels = work.lists.part(start, start + length)
            picked[name] = pick(full[name], group[0].kept[name], channels)
            if len(group) > 1:
                picked[name].finish()
        return picked


@dataclass
class _Held:
    """What stays on the device between chunks; the images, where memory suffices."""

    stem: Values
    later: Values
    labels: Any
    images: Any


@dataclass
class _Chunk:
    """A chunk of candidates on its way.

    ``lists`` and ``counts`` are integers on the device, ``places`` says where the list of a candidate and a
    value begins and how long it is, ``shared`` is what candidates read of the block of images in work.
    """

    lists: Any
    counts: Any
    places: dict[tuple[Candidate, str], tuple[int, int]]
    lanes: dict[Candidate, Any]
    params: dict[Candidate, Values]
    macs: int = 0
    shared: Any = None


def _images_of(block: Block) -> int:
    return block.stop - block.start if isinstance(block, slice) else len(block)
