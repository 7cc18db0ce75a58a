import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from emoref.errors import MissingDependencyError
from emoref.report import html, write_report, write_tables
from emoref.runs.record import RunRecord

VOID = {"meta", "link", "br", "input", "img", "rect"}
NASTY = '</script><script>alert(1)</script><img src="http://x/y" onerror=alert(2)> "&\' $title'


class Page(HTMLParser):
    """Collects visible text and resources; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.resources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.resources += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)


def page(record: RunRecord) -> Page:
    return Page(html.render(record, "/* plotly.js */"))


def test_the_summary_is_one_sentence_with_the_numbers(record: RunRecord) -> None:
    assert html.summary(record).replace("\u00a0", " ") == (
        "tiny on tiny-images: 10 filters; the smallest selected network keeps 2 (80.0 % removed), "
        "test error 12.50 % against 2.50 %."
    )


def test_the_page_holds_every_section_and_its_numbers(record: RunRecord) -> None:
    shown = page(record).text
    for title, _ in html.SECTIONS:
        assert (title in shown) == (title != "Against the baselines")
    for number in ("50.0 %", "80.0 %", "2.00", "5.00", "2.30 MMAC", "999 MAC", "1,234", "9.88 kB", "12.50 %"):
        assert number in shown
    for number in ("2 + 3", "4,000,123", "16.0 MB", "9.8.8", "seed = 7", "1 min 06 s"):
        assert number in shown
    assert "conv2d" in shown
    assert "6 × 4 × 4" in shown  # two unpadded 3x3 convolutions make 8x8 into 4x4
    assert "yet" not in shown


def test_figures_come_in_the_order_of_the_page(record: RunRecord) -> None:
    text = html.render(record, "")
    places = [
        text.index(f'<div class="plot" id="{name}"') for name in ("front", "hypervolume", "layers", "curve-1")
    ]
    assert places == sorted(places)
    assert text.index("<h2>Networks</h2>") < places[-1]


def test_nothing_is_loaded_from_elsewhere(record: RunRecord) -> None:
    assert page(record).resources == ["data:,"]
    text = html.render(record, "")
    assert "@import" not in text
    assert "url(" not in text


def test_strings_from_outside_are_escaped(record: RunRecord) -> None:
    selected = [replace(record.selected[0], name=NASTY, choice=NASTY, kept={NASTY: 2, "conv2": 3})]
    layout = {**record.layout, "layers": [[NASTY, 4], ["conv2", 6]]}
    config = {**record.config, "name": NASTY, "description": NASTY, "data": {"name": NASTY}, "system": NASTY}
    record.folder.config.write_text(f"# {NASTY}\n")
    events = [{"time_s": 1.0, "event": "start"}, {"time_s": 2.0, "event": NASTY}]
    hostile = page(replace(record, config=config, selected=selected, layout=layout, events=events))

    assert hostile.tags.count("script") == 3
    assert "img" not in hostile.tags
    assert hostile.resources == ["data:,"]
    assert NASTY in hostile.text


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (
            "started",
            ["base network is not trained yet", "No search yet", "No network is selected", "No base network"],
        ),
        ("based", ["The search has not begun yet", "No search yet", "No network is selected yet", "conv2d"]),
        ("searched", ["the front has 3 networks, the smallest with 2 filters", "No network is selected yet"]),
        ("nothing feasible", ["no feasible network yet", "holds no feasible network"]),
        ("untested", ["validation error 12.00 % against 2.00 % (not measured on the test set yet)", "(–)"]),
    ],
)
def test_an_unfinished_run_says_what_is_missing(
    unfinished: dict[str, RunRecord], stage: str, said: list[str]
) -> None:
    shown = page(unfinished[stage]).text
    for words in said:
        assert words in shown


def test_missing_plotly_is_named_and_the_tables_do_not_need_it(
    record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "emoref\[report\]"'):
        write_report(record)
    assert not record.folder.report.exists()
    assert len(write_tables(record)) == 3


def test_the_report_is_one_file_with_plotly_inside(record: RunRecord) -> None:
    pytest.importorskip("plotly")
    path = write_report(record)
    text = path.read_text("utf-8")
    assert path == record.folder.report
    assert "plotly.js v" in text
    assert Page(text).resources == ["data:,"]
    names = sorted(p.name for p in record.folder.path.iterdir() if not p.name.startswith("."))
    assert names == ["config.toml", "report.html"]


def chromium() -> str:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium installed")
    return browser


def dump_dom(browser: str, page: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Let the browser run the page for a while and return its document and its log."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", "--virtual-time-budget=8000",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=480,2000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_pointing_at_a_network_of_the_front_shows_its_filters(record: RunRecord, tmp_path: Path) -> None:
    """The page's own figure, with one line added that does what a mouse over the first point does."""
    pytest.importorskip("plotly")
    point = """<script>
    const figure = document.getElementById("front");
    const curve = figure.data.findIndex(trace => trace.name.startsWith("front"));
    Plotly.Fx.hover(figure, [{curveNumber: curve, pointNumber: 0}]);
    </script></body>"""
    page = tmp_path / "page.html"
    page.write_text(write_report(record).read_text("utf-8").replace("</body>", point), "utf-8")
    done = dump_dom(chromium(), page, tmp_path)
    assert "CONSOLE" not in done.stderr
    hover = done.stdout.split('class="hovertext"')[1].split("</g>")[0]
    layer, _ = record.layers[0]
    assert layer in hover
    assert "wrong" in hover or "error" in hover


@pytest.mark.parametrize(
    "stage", ["finished", "compared", "nasty", "started", "searched", "nothing feasible"]
)
def test_a_browser_draws_the_figures_without_complaint(
    record: RunRecord, compared: RunRecord, unfinished: dict[str, RunRecord], stage: str, tmp_path: Path
) -> None:
    pytest.importorskip("plotly")
    browser = chromium()
    nasty = replace(record, selected=[replace(n, name=f"{NASTY} %{{x}} {n.name}") for n in record.selected])
    shown = {"finished": record, "compared": compared, "nasty": nasty, **unfinished}[stage]
    path = write_report(shown)
    done = dump_dom(browser, path, tmp_path)

    assert "CONSOLE" not in done.stderr
    expected = {"finished": 7, "compared": 9, "nasty": 7, "started": 0, "searched": 6, "nothing feasible": 6}[
        stage
    ]
    assert done.stdout.count('class="plot-container plotly"') == expected
    assert ('class="main-svg"' in done.stdout) == (expected > 0)
    assert "var(--" not in "".join(
        part.split("</svg>")[0] for part in done.stdout.split('class="main-svg"')[1:]
    )


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0, "B", "0 B"),
        (999, "B", "999 B"),
        (1000, "B", "1.00 kB"),
        (12_345, "B", "12.3 kB"),
        (999_499, "MAC", "999 kMAC"),
        (999_500, "MAC", "1.00 MMAC"),
        (2_293_000, "MAC", "2.29 MMAC"),
        (4_100_000_000, "MAC", "4.10 GMAC"),
        (5_000_000_000_000_000, "MAC", "5000 TMAC"),
    ],
)
def test_counts_are_shown_with_three_digits(value: int, unit: str, shown: str) -> None:
    assert html.scaled(value, unit).replace("\u00a0", " ") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7800.4, "2 h 10 min")],
)
def test_durations_are_readable(seconds: float, shown: str) -> None:
    assert html.duration(seconds).replace("\u00a0", " ") == shown
