"""Lanes: streams of the device on which work runs side by side, each with memory of its own.

Kernels of one lane run in the order of their launches. A lane takes its arrays from blocks that were its own
before (:mod:`emoref_kernels.cuda.memory`), so that two lanes never write to one block without knowing of each
other. Between lanes nothing is ordered unless one follows the other; arrays see to that themselves
(:mod:`emoref_kernels.cuda.array`).

Work outside :func:`on_lane` runs on :data:`MAIN`, the device's default stream.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from emoref_kernels.cuda.provider import SIMULATED, cuda, require_device

__all__ = ["MAIN", "Lane", "current_lane", "elapsed_seconds", "on_lane", "side_lanes"]


class Lane:
    """A stream of the device; made by :func:`side_lanes`.

    Parameters
    ----------
    name : str
        For messages.
    default : bool
        Whether it is the device's default stream.
    """

    def __init__(self, name: str, default: bool = False) -> None:
        self.name = name
        self._stream: Any = 0 if default else None
        self._mark: Any = None

    @property
    def stream(self) -> Any:
        """What Numba launches on; made at the first use, when a device has been chosen."""
        if self._stream is None:
            require_device()
            self._stream = cuda.stream()
        return self._stream

    def mark(self, timed: bool = False) -> Any:
        """Return an event that is over as soon as all that was launched here up to now is."""
        event = cuda.event() if timed or SIMULATED else cuda.event(timing=False)
        event.record(self.stream)
        return event

    def wait(self, event: Any) -> None:
        """Let what is launched here from now on run after an event; the host goes on."""
        event.wait(self.stream)

    def follow(self, other: "Lane") -> None:
        """Let what is launched here from now on run after all that was launched on another lane up to now."""
        if other is self:
            return
        # A lane that waits remembers what was recorded when it began to, so one event serves all.
        if other._mark is None:
            other._mark = other.mark()
        else:
            other._mark.record(other.stream)
        self.wait(other._mark)

    def synchronize(self) -> None:
        """Let the host wait for all that was launched here; on the default stream, for everything."""
        if self._stream == 0:
            cuda.synchronize()
        elif self._stream is not None:
            self._stream.synchronize()

    def __repr__(self) -> str:
        return f"Lane({self.name!r})"


MAIN = Lane("main", default=True)
"""The default stream: where everything runs that does not ask for another lane."""

_current: ContextVar[Lane] = ContextVar("lane", default=MAIN)
_side: list[Lane] = []


def current_lane() -> Lane:
    """Return the lane that kernels are launched on."""
    return _current.get()


@contextmanager
def on_lane(lane: Lane) -> Iterator[None]:
    """Launch kernels, and take memory, on a lane while the context lasts."""
    before = _current.set(lane)
    try:
        yield
    finally:
        _current.reset(before)


def side_lanes(count: int) -> list[Lane]:
    """Return the first `count` lanes beside :data:`MAIN`, the same ones at every call."""
    while len(_side) < count:
        _side.append(Lane(f"side {len(_side)}"))
    return _side[:count]


def elapsed_seconds(start: Any, end: Any) -> float:
    """Return the time between two timed events that are over; 0 on the simulator."""
    return 0.0 if SIMULATED else float(start.elapsed_time(end)) / 1e3
