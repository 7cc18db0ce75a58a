"""What a waiting person sees: bars on a terminal, plain lines elsewhere, nothing in silence."""

import io

import pytest
from rich.console import Console

from emoref.runs.progress import Bars, Lines, Silent, download_bars, for_console


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=120), written


def tell(progress) -> None:
    progress.note("12 images")
    progress.stage("search", 3)
    for done in (1, 2, 3):
        progress.step(done, f"front of {done}")
    progress.close()


def test_lines_where_there_is_no_terminal():
    plain, written = console(False)
    progress = for_console(plain)
    assert isinstance(progress, Lines)
    tell(progress)
    assert written.getvalue().splitlines() == [
        "12 images",
        "search 1/3: front of 1",
        "search 2/3: front of 2",
        "search 3/3: front of 3",
    ]


def test_bars_on_a_terminal():
    terminal, written = console(True)
    progress = for_console(terminal)
    assert isinstance(progress, Bars)
    progress.step(1, "no stage yet")
    tell(progress)
    for text in ("12 images", "search", "3/3", "front of 3"):
        assert text in written.getvalue()
    assert "no stage yet" not in written.getvalue()


def test_silence(capsys):
    tell(Silent())
    assert capsys.readouterr() == ("", "")


def test_downloads_as_lines():
    plain, written = console(False)
    with download_bars(plain) as bar_of:
        assert bar_of("a.gz", "mirror/a.gz") is None
    assert written.getvalue() == "fetching mirror/a.gz\n"


@pytest.mark.parametrize("length", [2048, 0])
def test_downloads_as_bars(length):
    terminal, written = console(True)
    with download_bars(terminal) as bar_of:
        bar = bar_of("a.gz", "mirror/a.gz")
        bar.total = length
        assert bar.total == length
        bar.update(500)
        bar.reset()
        bar.update(2048)
        bar.close()
    assert "a.gz" in written.getvalue()
    assert "2.0" in written.getvalue()
