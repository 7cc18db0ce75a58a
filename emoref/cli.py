"""The command line: ``emoref`` and ``python -m emoref``.

Bad input ends in one clear message on standard error and exit code 2; ``--debug`` shows the traceback.
Ctrl-C stops cleanly (exit code 130) and says how to go on.
"""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

import emoref
from emoref.errors import (
    ConfigError,
    DataError,
    EmorefError,
    FileFormatError,
    MissingDependencyError,
    NetworkError,
    RunFolderError,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Evolutionary multi-objective compression of convolutional networks.",
)
data_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")
# What is printed is data (paths, names, messages), in which [x] and :x: mean nothing else.
_out = Console(markup=False, emoji=False)
_err = Console(stderr=True, markup=False, emoji=False)
_MOST_WORKERS = 1024  # as in the configuration
_state: dict[str, Any] = {"debug": False}

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="The run folder to make.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="The run's seed.")]
BackendOption = Annotated[str | None, typer.Option("--backend", help="cpu, reference, cuda or cuda:N.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="Number of threads.")]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Convolve with the smallest error, not the shortest time.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, max=_MOST_WORKERS, help="Processes that evaluate candidates, one thread each."
    ),
]
DaskOption = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="Dask scheduler whose workers evaluate them.")
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"emoref {emoref.__version__}")
        raise typer.Exit


@app.callback()
def _main_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    _state["debug"] = debug


@app.command()
def demo(out: OutOption = None, seed: SeedOption = None, threads: ThreadsOption = None) -> None:
    """Train, search, fine-tune and report on the embedded images: a minute or two on a laptop."""
    _start("demo", out or _free_folder(Path("emoref-demo")), [], seed, None, _Means(threads))


@app.command()
def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A TOML file or the name of a preset.")],
    settings: SetOption = None,
    out: OutOption = None,
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    workers: WorkersOption = None,
    dask: DaskOption = None,
    seed: SeedOption = None,
    exact: ExactOption = False,
) -> None:
    """Run one experiment into a run folder."""
    settings = [*(settings or []), *(["engine.exact=true"] if exact else [])]
    _start(config, out, settings, seed, backend, _Means(threads, workers, dask))


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    workers: WorkersOption = None,
    dask: DaskOption = None,
) -> None:
    """Go on with an interrupted run; the result is the same as uninterrupted.

    With another --backend than before, it is the same up to rounding.
    """
    from emoref.runs.devices import split_backend
    from emoref.runs.folder import RunFolder
    from emoref.systems import load_run_config

    run_folder = RunFolder.open(folder)
    config = load_run_config(run_folder)
    if backend is not None:
        fields = {**config.engine.model_dump(), "backend": split_backend(backend)}
        config = config.model_copy(update={"engine": type(config.engine).model_validate(fields)})
    means = _Means(threads, workers, dask)
    _prepare(config, means)
    _execute(run_folder, config, means)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Rebuild report.html and the CSV tables of a run."""
    from emoref.runs.folder import RunFolder
    from emoref.systems import load_run_config

    run_folder = RunFolder.open(folder)
    _write_report(run_folder, load_run_config(run_folder))


@app.command()
def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR DIR ...", help="Finished runs that differ in their seed only."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", dir_okay=False, help="Also write the table as this CSV file.")
    ] = None,
) -> None:
    """Compare the searched networks with their baselines over several seeds."""
    from emoref.report import comparison_of
    from emoref.runs.folder import write_text_atomic

    comparison = comparison_of(folders)
    result = comparison.compare(folders)
    for network, rows in comparison.rows(result).items():
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in comparison.columns:
            side: Any = "left" if title in ("method", "tuning", "quantity") else "right"
            table.add_column(title, justify=side, no_wrap=True)
        for row in rows:
            table.add_row(*row)
        _out.print(f"{network} ({len(folders)} seeds)", highlight=False, markup=False)
        _out.print(table)
        _out.print()
    if out is not None:
        write_text_atomic(out, result.to_csv())


@app.command()
def presets() -> None:
    """List the experiments that ship with emoref."""
    from emoref.runs.config import preset_names, read_table

    table = Table("preset", "description", box=None, pad_edge=False)
    for name in preset_names():
        table.add_row(name, read_table(name).get("description", ""))
    _out.print(table)


@data_app.callback()
def data(context: typer.Context) -> None:
    """List the data sets, found where or how to get them; 'data get' fetches one."""
    if context.invoked_subcommand is not None:
        return
    from emoref.data import describe

    table = Table("data set", "training", "test", "shape", "classes", "found in", box=None, pad_edge=False)
    entries = describe()
    for entry in entries:
        shape = "x".join(str(extent) for extent in entry.image_shape)
        where = str(entry.found) if entry.found else "(not found)"
        table.add_row(
            entry.name, f"{entry.train_images:,}", f"{entry.test_images:,}", shape, str(entry.classes), where
        )
    _out.print(table)
    for entry in entries:
        if not entry.found:
            _out.print(f"\n{entry.name}: {entry.how_to_get}", highlight=False, markup=False)


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, fashion-mnist, cifar10 or cifar100.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL_OR_FOLDER", help="Another place with the official files."),
    ] = None,
) -> None:
    """Fetch a data set into the user's cache, with checksums."""
    from emoref.download import get
    from emoref.runs.progress import download_bars

    with download_bars(_err) as bars:
        folder = get(name, source, bars)
    _out.print(f"{name}: {folder}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def info(
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="NETWORK", help="How its convolutions are computed.")
    ] = None,
    exact: ExactOption = False,
) -> None:
    """Show versions, threads and back ends, or how a network's convolutions are computed."""
    if plan is not None:
        _show_plan(plan, "exact" if exact else "fast")
        return
    import numba
    import numpy as np

    from emoref.runs.devices import device_rows
    from emoref.runs.provenance import machine, versions
    from emoref.runs.warmup import read_start_times
    from emoref_kernels import backend_names, load_backend

    load_backend("cpu").relu(np.zeros((1, 1), np.float32))  # the threading layer is chosen at the first use
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in {**versions(), **machine()}.items():
        table.add_row(name, str(value))
    table.add_row("threads", f"{numba.get_num_threads()} ({numba.threading_layer()})")
    table.add_row("back ends", ", ".join(backend_names()))
    for name, value in device_rows().items():
        table.add_row(name, value)
    times = read_start_times()
    table.add_row("engine", _start_line(times) if times else "start not measured; run 'emoref warmup'")
    _out.print(table)


@app.command()
def warmup() -> None:
    """Compile what the engine needs, so that no run waits for it, and measure both starts."""
    from emoref.runs.warmup import warm_up

    with _err.status("compiling ..."):
        times = warm_up()
    for name, seconds in times.parts_s.items():
        _out.print(f"{name:30}{seconds:8.1f} s", highlight=False, markup=False)
    _out.print(_start_line(times), highlight=False, markup=False)


def _show_plan(name: str, mode: str) -> None:
    from emoref.networks import build
    from emoref.nn.layout import training_layout
    from emoref.nn.plan import LayerPlan, convolution_plans

    net = build(name)
    titles = tuple(title.replace("_", " ") for title in LayerPlan._fields)
    rows = [titles, *convolution_plans(net, mode)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        _out.print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)
    layout = training_layout(net)
    line = f"trains in {layout.name}: {layout.reason}"
    _out.print(line, highlight=False, markup=False, soft_wrap=True)


def _start_line(times: Any) -> str:
    return f"first start {times.first_s:.1f} s, again {times.again_s:.1f} s"


@app.command()
def verify(
    backend: BackendOption = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Check a library instead: torch, pymoo, deap, pygmo, or emoref's own algorithms.",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Run the published tables of NSGA-II and -III.")
    ] = False,
    rows: Annotated[
        str, typer.Option("--rows", metavar="NAMES", help="With --full: these, e.g. DTLZ1,scaled.")
    ] = "",
    objectives: Annotated[
        str, typer.Option("--objectives", metavar="NUMBERS", help="With --full: these, e.g. 3,5.")
    ] = "",
    entrants: Annotated[
        str, typer.Option("--entrants", metavar="NAMES", help="With --full: these, e.g. nsga3,nsga2.")
    ] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="With --full: number of seeds.")] = 20,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=_MOST_WORKERS, help="With --full: number of processes.")
    ] = 1,
    results: Annotated[
        Path,
        typer.Option("--results", dir_okay=False, help="With --full: the file of results, to go on with."),
    ] = Path("emoref-trials.jsonl"),
    table: Annotated[
        Path, typer.Option("--table", dir_okay=False, help="With --full: the page to write.")
    ] = Path("docs/nsga3-table.md"),
) -> None:
    """Check this installation, or another library; exit code 1 if a check of emoref fails."""
    if full:
        options = {"rows": _names(rows), "objectives": _numbers(objectives), "entrants": _names(entrants)}
        _verify_full({**options, "seeds": seeds, "workers": workers, "results": results, "table": table})
        return
    from emoref.verify import verify as checks
    from emoref.verify.display import remarks, result_tables

    found = []
    with _err.status("checking ..."):
        for result in checks(backend=backend, against=against):
            found.append(result)
    for shown in result_tables(found):
        _out.print(shown)
    for remark in remarks(found):
        _out.print(remark, highlight=False, markup=False, soft_wrap=True)
    if any(result.is_our_failure for result in found):
        raise typer.Exit(1)


def _verify_full(options: dict[str, Any]) -> None:
    from emoref.runs.progress import for_console
    from emoref.verify.display import full_table
    from emoref.verify.full import verify_full

    progress = for_console(_err)
    try:
        lines = verify_full(**options, progress=progress)
    except KeyboardInterrupt:
        progress.close()
        hint = f"emoref: stopped; {options['results']} holds what was finished, the same command goes on"
        _err.print(hint, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        progress.close()
    _out.print(full_table(lines))
    failed = [line for line in lines if line.passed is False]
    judged = [line for line in lines if line.passed is not None]
    _out.print(f"{len(judged) - len(failed)} of {len(judged)} judged rows pass", highlight=False)
    _out.print(f"page: {options['table']}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(name) for name in _names(text)]
    except ValueError:
        raise ConfigError(f"--objectives {text}: give whole numbers, separated by commas") from None


class _Means(NamedTuple):
    """What a command gives beside the configuration; the result does not depend on it."""

    threads: int | None = None
    workers: int | None = None
    dask: str | None = None


def _start(
    source: str,
    out: Path | None,
    settings: list[str],
    seed: int | None,
    backend: str | None,
    means: _Means,
) -> None:
    from emoref.runs.config import apply_overrides, read_table, to_toml
    from emoref.runs.devices import split_backend
    from emoref.runs.folder import RunFolder
    from emoref.systems import parse_config

    settings = list(settings)
    settings += [f"seed={seed}"] if seed is not None else []
    settings += [f'engine.backend="{split_backend(backend)}"'] if backend is not None else []
    config = parse_config(apply_overrides(read_table(source), settings), where=source)
    _prepare(config, means)  # before a folder is made: what is refused leaves none behind
    path = out or Path("emoref-runs") / f"{config.name}-seed{config.seed}"
    folder = RunFolder.create(path, to_toml(config))
    try:
        _execute(folder, config, means)
    except (ConfigError, DataError, FileFormatError, NetworkError):  # what was asked for, not the machine
        with contextlib.suppress(RunFolderError):  # the first error is the one to be reported
            folder.discard_unused()
        raise


def _prepare(config: Any, means: _Means) -> None:
    """Look whether what is to compute is there."""
    from emoref.runs.devices import check_backend
    from emoref.runs.executors import workers_of

    check_backend(config.engine.backend)
    _set_threads(means.threads or config.engine.threads)
    workers_of(_engine(config, means))  # asks a Dask scheduler, which is needed after hours of training only


def _engine(config: Any, means: _Means) -> Any:
    chosen = {"workers": means.workers, "dask": means.dask}
    return config.engine.model_copy(update={k: v for k, v in chosen.items() if v is not None})


def _execute(folder: Any, config: Any, means: _Means) -> None:
    from emoref.runs.progress import for_console
    from emoref.systems import execute

    engine = _engine(config, means)
    progress = for_console(_err)
    try:
        with folder.writing():
            execute(config.model_copy(update={"engine": engine}), folder, progress)
    except KeyboardInterrupt:
        progress.close()
        hint = f"emoref: stopped; go on with: emoref resume {folder.path}"
        _err.print(hint, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        progress.close()
    _write_report(folder, config)


def _write_report(folder: Any, config: Any) -> None:
    from emoref.report import write_report, write_tables
    from emoref.runs.record import read_run

    record = read_run(folder, config.model_dump(mode="json", exclude_none=True))
    write_tables(record)
    _print_networks(record)
    try:
        _out.print(f"report: {write_report(record)}", highlight=False, soft_wrap=True)
    except MissingDependencyError as error:
        _out.print(f"tables: {folder.tables} (no report: {error})", highlight=False, soft_wrap=True)


def _print_networks(record: Any) -> None:
    from emoref.report import network_lines

    titles, rows = network_lines(record)
    if not rows:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    _out.print(table)


def _set_threads(threads: int) -> None:
    import numba

    if threads == 0:
        return
    most = numba.get_num_threads()  # what this process was started with
    if threads > most:
        raise ConfigError(f"--threads {threads}: this machine offers {most}; give 1 to {most}")
    numba.set_num_threads(threads)


def _free_folder(wanted: Path) -> Path:
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def main() -> None:
    """Run the command line; the entry point of the ``emoref`` script."""
    try:
        app()
    except EmorefError as error:
        if _state["debug"]:
            raise
        _err.print(f"emoref: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
