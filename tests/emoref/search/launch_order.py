"""A watch over launches on several lanes: which accesses to one block of memory nothing keeps in order.

The simulator runs everything at once, so a missing wait changes no result there. This follows what the device
would be told instead: each lane has a clock for every lane, events carry clocks from one to another, and two
accesses to one block, one of them a write, must be ordered by them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from emoref_kernels.cuda import array, lanes, memory
from emoref_kernels.cuda.array import DeviceArray
from emoref_kernels.cuda.jit import Kernel
from emoref_kernels.cuda.lanes import current_lane

Clock = dict[int, int]
Stamp = tuple[int, int]


def _merge(clock: Clock, other: Clock) -> None:
    for stream, count in other.items():
        clock[stream] = max(clock.get(stream, 0), count)


@dataclass
class Watch:
    """What was launched, and which pairs of accesses are in no order.

    ``ahead`` has the name of each operation, and how many of those that other lanes had been given by then it
    need not wait for.
    """

    ahead: list[tuple[str, int]] = field(default_factory=list)
    races: list[str] = field(default_factory=list)
    launches: dict[int, int] = field(default_factory=dict)
    uploads: list[tuple[int, ...]] = field(default_factory=list)
    downloads: int = 0
    _clocks: dict[int, Clock] = field(default_factory=dict)
    _host: Clock = field(default_factory=dict)
    _written: dict[Any, Stamp] = field(default_factory=dict)
    _read: dict[Any, list[Stamp]] = field(default_factory=dict)

    def clock(self, stream: Any) -> Clock:
        """Return the clock of a stream."""
        return self._clocks.setdefault(id(stream) if stream else 0, {})

    def operation(self, what: str, reads: list[Any], writes: list[Any]) -> None:
        """Note an operation on the current lane, and hold it against the earlier ones."""
        stream = current_lane().stream
        own, clock = id(stream) if stream else 0, self.clock(stream)
        _merge(clock, self._host)
        self.ahead.append((what, sum(n - clock.get(s, 0) for s, n in self.launches.items())))
        clock[own] = clock.get(own, 0) + 1
        self.launches[own] = self.launches.get(own, 0) + 1

        def check(key: Any, stamps: list[Stamp], kind: str) -> None:
            late = [stamp for stamp in stamps if clock.get(stamp[0], 0) < stamp[1]]
            if late:
                self.races.append(f"{what}: {kind} {key} is not ordered after {late}")

        for key in reads:
            check(key, [self._written[key]] if key in self._written else [], "read of")
            self._read.setdefault(key, []).append((own, clock[own]))
        for key in writes:
            check(
                key,
                [*self._read.pop(key, []), *([self._written[key]] if key in self._written else [])],
                "write of",
            )
            self._written[key] = own, clock[own]

    def keys_of(self, memory_of: Any) -> list[Any]:
        """Return all keys that stand for a block or for places in it."""
        return [key for key in {*self._written, *self._read} if key[0] == id(memory_of)]

    def host_waits(self, stream: Any) -> None:
        """The host goes on after all that a stream, or every stream for None, was given."""
        for clock in self._clocks.values() if stream is None else [self.clock(stream)]:
            _merge(self._host, clock)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Watch all launches, copies and waits while the context lasts, on lanes that are new."""
    watch = Watch()
    memories: list[Any] = []  # kept, so that no number of an object comes back

    class Stream:
        def synchronize(self) -> None:
            watch.host_waits(self)

    class Event:
        def __init__(self) -> None:
            self.clock: Clock = {}

        def record(self, stream: Any = 0) -> None:
            self.clock = dict(watch.clock(stream))

        def wait(self, stream: Any = 0) -> None:
            _merge(watch.clock(stream), self.clock)

    def key(value: DeviceArray) -> tuple[int, int]:
        memories.append(value._block.memory)
        return id(value._block.memory), -1

    launch, assign, fetch, stage, give = (
        Kernel.__call__, DeviceArray.assign, DeviceArray.__array__, array._STAGING.copy, memory.POOL.give
    )  # fmt: skip

    def watched_launch(self: Kernel, blocks: Any, threads: int, *values: Any) -> None:
        arrays = [value for value in values if isinstance(value, DeviceArray)]
        before = [np.array(value._block.memory._ary) for value in arrays]
        launch(self, blocks, threads, *values)
        changed = [
            value
            for value, old in zip(arrays, before, strict=True)
            if not np.array_equal(old, value._block.memory._ary, equal_nan=old.dtype.kind == "f")
        ]
        names = [key(value) for value in arrays]
        writes = [key(value) for value in changed]
        if self.name == "count_wrong":  # candidates share the array of counts, each has a place in it
            names[2], writes = (names[2][0], values[3]), [(names[2][0], values[3])]
        watch.operation(self.name, [name for name in names if name not in writes], writes)

    def watched_assign(self: DeviceArray, values: Any) -> None:
        assign(self, values)
        if isinstance(values, np.ndarray):
            watch.uploads.append(values.shape)
            watch.operation("upload", [], [key(self)])

    def watched_fetch(self: DeviceArray, *given: Any, **named: Any) -> Any:
        watch.downloads += 1
        result = fetch(self, *given, **named)
        watch.operation("download", [key(self), *watch.keys_of(self._block.memory)], [])
        watch.host_waits(current_lane().stream)
        return result

    def watched_stage(values: Any, target: DeviceArray, lane: Any) -> None:
        stage(values, target, lane)
        watch.operation("table", [], [key(target)])

    def poisoning_give(block: Any, *lane: Any) -> None:
        block._ary[:] = np.nan if block.dtype.kind == "f" else -(2**40) if block.dtype.kind == "i" else 0
        give(block, *lane)

    with monkeypatch.context() as patch:
        patch.setattr(lanes, "_side", [])
        patch.setattr(lanes.cuda, "stream", Stream)
        patch.setattr(lanes.cuda, "event", Event)
        patch.setattr(lanes.cuda, "synchronize", lambda: watch.host_waits(None))
        patch.setattr(Kernel, "__call__", watched_launch)
        patch.setattr(DeviceArray, "assign", watched_assign)
        patch.setattr(DeviceArray, "__array__", watched_fetch)
        patch.setattr(array._STAGING, "copy", watched_stage)
        patch.setattr(memory.POOL, "give", poisoning_give)
        array.constant_table.cache_clear()
        yield watch
    array.constant_table.cache_clear()
