"""What a long run tells the person who waits for it.

A system calls the methods of :class:`Progress`; where they go is the caller's choice: live bars on a
terminal, one plain line per generation or epoch otherwise, nothing in a test.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichBars


class Progress(Protocol):
    """Receives what happens in a run: stages, steps of a stage, and remarks."""

    def stage(self, title: str, total: int) -> None:
        """Begin a stage of ``total`` steps."""

    def step(self, done: int, text: str) -> None:
        """Say that ``done`` steps of the stage are finished, with one line about the last."""

    def note(self, text: str) -> None:
        """Say something once."""

    def close(self) -> None:
        """Finish the last stage."""


class Silent:
    """Says nothing."""

    def stage(self, title: str, total: int) -> None:
        """Ignore the stage."""

    def step(self, done: int, text: str) -> None:
        """Ignore the step."""

    def note(self, text: str) -> None:
        """Ignore the remark."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """One plain line a step, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title, self._total = "", 0

    def stage(self, title: str, total: int) -> None:
        """Remember the stage that the following lines belong to."""
        self._title, self._total = title, total

    def step(self, done: int, text: str) -> None:
        """Write the line of one step."""
        self._line(f"{self._title} {done}/{self._total}: {text}")

    def note(self, text: str) -> None:
        """Write a remark as a line."""
        self._line(text)

    def close(self) -> None:
        """Do nothing."""

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class Bars:
    """Live bars on a terminal; finished stages stay in view with their last line."""

    def __init__(self, console: Console) -> None:
        self._bars = RichBars(
            TextColumn("[bold]{task.description:<22}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=console,
        )
        self._task: TaskID | None = None
        self._bars.start()

    def stage(self, title: str, total: int) -> None:
        """Add a bar."""
        self._task = self._bars.add_task(title, total=total, text="")

    def step(self, done: int, text: str) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, text=text)

    def note(self, text: str) -> None:
        """Write a line above the bars."""
        self._bars.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Leave the bars as they are and give the terminal back."""
        self._bars.stop()


def for_console(console: Console) -> Progress:
    """Return bars on a terminal, plain lines elsewhere."""
    return Bars(console) if console.is_terminal else Lines(console)


class DownloadBar:
    """The bar of one file, in the form in which pooch drives one.

    Parameters
    ----------
    bars : rich.progress.Progress
        Where the bar is shown.
    title : str
        The file.
    """

    def __init__(self, bars: RichBars, title: str) -> None:
        self._bars, self._total = bars, 0
        self._task = bars.add_task(title, total=None)

    @property
    def total(self) -> int:
        """Length of the file in bytes; 0 where the server did not say it."""
        return self._total

    @total.setter
    def total(self, n_bytes: int) -> None:
        self._total = n_bytes
        self._bars.update(self._task, total=n_bytes or None)

    def update(self, n_bytes: int, /) -> None:
        """Count bytes that arrived."""
        self._bars.advance(self._task, n_bytes)

    def reset(self) -> None:
        """Count from 0 again."""
        self._bars.update(self._task, completed=0)

    def close(self) -> None:
        """Leave the bar as it is."""


@contextlib.contextmanager
def download_bars(console: Console) -> Iterator[Callable[[str, str], DownloadBar | None]]:
    """Give what :func:`emoref.download.get` calls for each file: a bar on a terminal, else a plain line."""
    if not console.is_terminal:

        def line(file: str, origin: str) -> None:
            console.print(f"fetching {origin}", highlight=False, markup=False, soft_wrap=True)

        yield line
        return
    columns = (
        TextColumn("{task.description:<26}"), BarColumn(bar_width=24), DownloadColumn(),
        TransferSpeedColumn(), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with RichBars(*columns, console=console) as bars:
        yield lambda file, origin: DownloadBar(bars, file)
