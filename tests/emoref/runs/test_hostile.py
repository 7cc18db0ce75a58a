"""Run folders that were changed by hand, damaged, full, read-only or contested: one message, nothing lost."""

import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tomllib

import h5py
import numpy as np
import pytest

from emoref.errors import ConfigError, FileFormatError, RunFolderError
from emoref.hdf5 import write_array, write_atomic
from emoref.runs.config import apply_overrides, read_table, to_toml
from emoref.runs.folder import RunFolder, write_text_atomic
from emoref.runs.store import SearchStore
from emoref.systems import load_run_config, parse_config


def snapshot(path):
    """Everything that a run has stored, apart from its log."""
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(path.rglob("*"))
        if p.is_file() and p.suffix in (".h5", ".toml", ".csv", ".html")
    }


# config.toml changed by hand


def edit(run, old, new):
    text = run.config.read_text()
    assert old in text
    run.config.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("generations = 2", "generations = 3", ["search.generations (was 2, is 3)"]),
        ("seed = 1", "seed = 2", ["seed (was 1, is 2)"]),
        ('network = "lenet"', 'network = "conv1"', ["base.network (was 'lenet', is 'conv1')"]),
        ("generations = 2\n", "", ["search.generations (was 2, is absent)"]),
    ],
)
def test_a_changed_configuration_is_refused_with_the_fields(run, refused, old, new, says):
    edit(run, old, new)
    before = snapshot(run.path)
    for command in ("resume", "report"):
        refused(command, run.path, says=[*says, "emoref run", "--out"])
    assert snapshot(run.path) == before


def test_many_changes_are_counted(run):
    config = parse_config(
        apply_overrides(
            tomllib.loads(run.config.read_text()),
            ["seed=9", "data.flip=true", "search.population=12", "finetune.epochs=7", "finetune.lr=0.5"],
        ),
        "x",
    )
    run.config.write_text(to_toml(config))
    with pytest.raises(RunFolderError, match=r"\(was .*\(was .*\(was .* and 2 more\n"):
        run.check_config()


def test_comments_layout_and_threads_may_change(run):
    edit(run, "threads = 0", "threads = 1")
    run.config.write_text("# mine\n" + run.config.read_text().replace(" = ", "  =  "))
    assert load_run_config(run).engine.threads == 1


def test_folders_without_the_record_still_work(run):
    run.config_record.unlink()
    edit(run, "generations = 2", "generations = 3")
    assert load_run_config(run).search.generations == 3


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"sha256": 1, "config": {}}', "[" * 100_000, "9" * 5000]
)
def test_a_damaged_record_is_named(run, refused, content):
    run.config_record.write_text(content)
    refused("resume", run.path, says=[".config.json is damaged", "delete"])


def test_equal_runs_have_equal_records(tmp_path):
    for name in "ab":
        RunFolder.create(tmp_path / name, "seed = 1\n")
    assert (tmp_path / "a" / ".config.json").read_bytes() == (tmp_path / "b" / ".config.json").read_bytes()


# Files that are not what they should be


def test_a_configuration_of_100_mb_is_not_read(run, refused):
    with open(run.config, "r+b") as file:
        file.truncate(100_000_000)
    refused("resume", run.path, says=["100,000,000 bytes is too large"])
    refused("run", run.config, "--out", run.path / "x", says=["too large"])


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 50_000, "a = " + "9" * 10_000, "a = 1\na = 2", "\0", "seed = 1e999999999"]
)
def test_configurations_that_upset_a_parser(run, refused, text):
    run.config.write_text(text)
    refused("resume", run.path, says=["config.toml"])


@pytest.mark.parametrize("path", ["a" * 5000, "x/" * 3000])
def test_paths_that_no_file_can_have(refused, tmp_path, path):
    refused("run", path)
    refused("resume", path)
    refused("run", "demo", "--out", path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\0b", "a\0b.toml"])
def test_names_with_a_zero_byte(name):
    with pytest.raises(ConfigError):
        read_table(name)
    with pytest.raises(RunFolderError):
        RunFolder.open(name)
    with pytest.raises(RunFolderError):
        RunFolder.create(name, "")


def replace_by_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "inside").write_text("x")


@pytest.mark.parametrize(
    "name", ["config.toml", "base.h5", "search.h5", "log.jsonl", ".lock", ".config.json"]
)
def test_a_folder_where_a_file_belongs(run, refused, name):
    replace_by_folder(run.path / name)
    refused("resume", run.path, says=[name if name != ".lock" else str(run.path)])
    assert (run.path / name / "inside").exists()


@pytest.mark.parametrize("name", ["models", "tables"])
def test_a_file_where_a_folder_belongs(run, refused, name):
    shutil.rmtree(run.path / name)
    (run.path / name).write_text("in the way")
    refused("resume", run.path, says=[f"{run.path / name}: is a file; a folder is needed"])
    assert (run.path / name).read_text() == "in the way"
    (run.path / name).unlink()
    (run.path / name).symlink_to(run.config)
    refused("resume", run.path, says=["is a file; a folder is needed"])


def test_the_report_is_a_folder(run, refused):
    pytest.importorskip("plotly")
    replace_by_folder(run.report)
    refused("report", run.path, says=["report.html", "cannot be written"])


def test_the_run_folder_is_a_file(run, refused):
    refused("resume", run.config, says=["is a file; a run folder is needed"])
    refused("run", "demo", "--out", run.config, says=["not an empty folder"])


def test_a_pipe_instead_of_the_configuration(run, refused):
    run.config.unlink()
    os.mkfifo(run.config)
    refused("resume", run.path, says=["config.toml is not a file"])
    refused("run", run.config, says=["device or pipe"])


# HDF5 that leads elsewhere or claims too much


def poison(path, how):
    with h5py.File(path, "r+") as file:
        if how == "external link":
            del file["generations/genomes"]
            file["generations/genomes"] = h5py.ExternalLink("/etc/other.h5", "/x")
        elif how == "soft link":
            del file["generations/genomes"]
            file["generations/genomes"] = h5py.SoftLink("/state/X")
        elif how == "external data":
            del file["generations/ranks"]
            place = [("/etc/passwd", 0, 8 * 24)]
            file["generations"].create_dataset("ranks", (3, 8), "i8", external=place)
        elif how == "claimed shape":
            del file["generations/objectives"]
            file["generations"].create_dataset("objectives", (10**6, 10**6, 2), "f8", chunks=(1, 1000, 2))
        elif how == "rows":
            file["generations/individuals"][1] = 10**12
        elif how == "no generation":
            for name, shape in (("ranks", (0, 8)), ("individuals", (0,)), ("evaluations", (0,))):
                del file[f"generations/{name}"]
                write_array(file["generations"], name, np.empty(shape, np.int64))
        elif how == "other kind":
            del file["generations/ranks"]
            write_array(file["generations"], "ranks", np.zeros((3, 8)))
        elif how == "no state":
            del file["state"]
        elif how == "state is data":
            del file["state"]
            write_array(file, "state", np.zeros(3))
        elif how == "layout":
            del file["layout"]
            file.create_dataset("layout", data=b"[1, 2]", dtype="S6")
        elif how == "state of others":
            del file["state/X"]
            write_array(file["state"], "X", np.zeros(()))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("external link", "external link"),
        ("soft link", "soft or external link"),
        ("external data", "keeps its data in another file"),
        ("claimed shape", "cannot hold them"),
        ("rows", "individuals must be 1 to 8"),
        ("no generation", "number of generations"),
        ("other kind", "ranks has data type"),
        ("no state", "/state is missing"),
        ("state is data", "/state is missing"),
        ("layout", "/layout"),
        ("state of others", "stored state"),
    ],
)
def test_poisoned_searches(run, refused, how, says):
    poison(run.search, how)
    before = snapshot(run.path)
    refused("resume", run.path, says=[says])
    assert snapshot(run.path) == before


# Writing that fails


def test_disk_full_keeps_the_last_generation(run, monkeypatch):
    """The next generation does not fit: the stored search is the one before, and the run can go on."""
    before = run.search.read_bytes()
    store = SearchStore.open(run.search)
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileFormatError) as caught:
        store.append(store.generations[-1], store.state)
    text = str(caught.value)
    assert text == f"{run.search}: cannot be written (No space left on device); the file of before is kept"
    assert run.search.read_bytes() == before
    for write in (lambda: write_text_atomic(run.config, "x"), lambda: RunFolder.create(run.path / "new", "")):
        with pytest.raises(RunFolderError, match=r"cannot be written \(No space left on device\)"):
            write()
    monkeypatch.setattr(os, "fsync", real)
    assert not [p for p in run.path.iterdir() if p.suffix == ".tmp"]
    assert snapshot(run.path)["search.h5"] == before


FULL = """
import os, resource, signal, sys
import numpy as np
from pathlib import Path
from emoref.errors import EmorefError
from emoref.hdf5 import write_array, write_atomic
from emoref.runs.folder import RunFolder, write_text_atomic

os.chdir(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = RunFolder(Path("."))
actions = {
    "hdf5": lambda: write_atomic("a.h5", lambda f: write_array(f, "x", np.zeros(100_000))),
    "hdf5 in parts": lambda: write_atomic(
        "a.h5", lambda f: [write_array(f.create_group(str(i)), "x", np.zeros(500)) for i in range(100)]),
    "text": lambda: write_text_atomic(Path("a.txt"), "x" * 100_000),
    "log": lambda: folder.log("event", text="x" * 100_000),
}
results = []
descriptors = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
for limit in (0, 1000, 20_000):
    for name, action in actions.items():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            action()
            results.append(f"{name}: no error")
        except EmorefError as error:
            results.append(f"{name}: {error}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
left = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
results.append(f"descriptors left open: {left - descriptors}")
folder.log("after")
sys.stdout.write("\\n".join(results))
"""


def test_writes_that_stop_in_the_middle(tmp_path):
    """The system refuses to let a file grow beyond a limit, in the middle of writing it."""
    write_atomic(tmp_path / "a.h5", lambda f: write_array(f, "old", np.ones(3)))
    write_text_atomic(tmp_path / "a.txt", "old")
    before = (tmp_path / "a.h5").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 13
    assert all("cannot be written (File too large)" in line for line in lines[:-1]), done.stdout
    assert lines[-1] == "descriptors left open: 0"
    assert (tmp_path / "a.h5").read_bytes() == before
    assert (tmp_path / "a.txt").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "a.txt", "log.jsonl"]
    assert [e["event"] for e in RunFolder(tmp_path).events()] == ["after"], "a cut line swallows no other"


def test_disk_full_in_a_run_and_resume_gives_the_same(finished, tmp_path, tiny_toml):
    """A whole run under a limit that the trained network exceeds, then without the limit."""
    target = tmp_path / "run"
    config = tmp_path / "tiny.toml"
    config.write_text(tiny_toml)

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "emoref"]
    failed = subprocess.run(
        [*command, "run", str(config), "--out", str(target)],
        capture_output=True, text=True, preexec_fn=limited, check=False,
    )  # fmt: skip
    assert failed.returncode == 2, failed.stderr
    assert "File too large" in failed.stderr
    assert "Traceback" not in failed.stderr
    subprocess.run([*command, "resume", str(target)], capture_output=True, check=True)
    assert (target / "search.h5").read_bytes() == (finished / "search.h5").read_bytes()
    assert (target / "base.h5").read_bytes() == (finished / "base.h5").read_bytes()


def obey_permissions():
    """Let permissions hold for root too (Linux: drop CAP_DAC_OVERRIDE at the next exec)."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.parametrize("command", [("resume", "run"), ("report", "run"), ("run", "demo", "--out", "run/x")])
def test_a_read_only_folder(run, command):
    before = snapshot(run.path)
    for path in (run.path, *run.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    run.path.parent.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "emoref", *command], cwd=run.path.parent,
            capture_output=True, text=True, preexec_fn=obey_permissions, check=False,
        )  # fmt: skip
    finally:
        for path in (run.path.parent, run.path, *run.path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("emoref: ")]
    assert len(errors) == 1
    assert "cannot be written (Permission denied)" in errors[0]
    assert "Traceback" not in done.stderr
    assert snapshot(run.path) == before


# Two processes, one folder


def test_a_second_process_is_refused(run, refused):
    before = snapshot(run.path)
    code = (
        "import sys; from emoref.runs.folder import RunFolder\n"
        "with RunFolder.open(sys.argv[1]).writing(): print('holding', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline().strip() == "holding"
        refused("resume", run.path, says=["another process is writing to this run"])
        refused("run", "demo", "--out", run.path, says=["already holds a run"])
    finally:
        holder.communicate("")
    assert snapshot(run.path) == before


def test_two_processes_that_create_one_folder(tmp_path, monkeypatch):
    """The second comes between the look and the writing of the first."""
    real, path = RunFolder._check_new, tmp_path / "run"
    seen = []

    def slow(self):
        real(self)
        seen.append(self)
        if len(seen) == 1:
            RunFolder.create(path, "seed = 2\n")

    monkeypatch.setattr(RunFolder, "_check_new", slow)
    with pytest.raises(RunFolderError, match=r"already holds a run|not an empty folder"):
        RunFolder.create(path, "seed = 1\n")
    assert (path / "config.toml").read_text() == "seed = 2\n"


def test_odd_lines_in_the_log_are_passed_over(run):
    count = len(run.events())
    with open(run.log_file, "ab") as file:
        file.write(b'3\n[]\n"x"\n{"event": 3}\n{}\n\xff\xfe\n' + b"[" * 50_000 + b"\n" + b"9" * 6000)
    run.log("more")
    assert len(run.events()) == count + 1
