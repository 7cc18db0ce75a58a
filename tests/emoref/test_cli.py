"""The command line as a person meets it: output, exit codes, messages without tracebacks."""

import os
import signal
import subprocess
import sys

import pytest

TINY = [
    "--set", "data.validation=200", "--set", "data.train_limit=300", "--set", "base.train.epochs=1",
    "--set", "search.population=8", "--set", "search.generations=3", "--set", "select.count=2",
    "--set", "finetune.epochs=1",
]  # fmt: skip


def emoref(*arguments, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "emoref", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "EMOREF_DATA": "", **(env or {})},
        check=False,
    )


def assert_refused(result, *fragments):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.strip().splitlines() if not line.startswith("fetching ")]
    assert len(lines) <= 2, result.stderr
    for fragment in fragments:
        assert fragment in result.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    result = emoref("run", "demo", *TINY, "--out", folder, "--seed", 5)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_run_leaves_a_complete_folder_and_prints_the_networks(finished):
    folder, result = finished
    for name in (
        "config.toml",
        "base.h5",
        "search.h5",
        "log.jsonl",
        "tables/front.csv",
        "tables/networks.csv",
    ):
        assert (folder / name).exists(), name
    assert "kept-" in result.stdout
    assert "search 3/3" in result.stderr, "one plain line a generation where there is no terminal"
    assert "seed = 5" in (folder / "config.toml").read_text()


def test_report_can_be_rebuilt(finished):
    folder, _ = finished
    before = (folder / "tables" / "front.csv").read_bytes()
    (folder / "tables" / "front.csv").unlink()
    assert emoref("report", folder).returncode == 0
    assert (folder / "tables" / "front.csv").read_bytes() == before


def test_resume_of_a_finished_run_is_harmless(finished):
    folder, _ = finished
    before = (folder / "search.h5").read_bytes()
    assert emoref("resume", folder).returncode == 0
    assert (folder / "search.h5").read_bytes() == before


def test_a_folder_that_holds_another_run_is_refused(finished):
    folder, _ = finished
    before = (folder / "search.h5").read_bytes()
    assert_refused(emoref("run", "demo", "--out", folder), "already holds a run", "emoref resume")
    assert (folder / "search.h5").read_bytes() == before


def test_kill_and_resume_give_the_same_search(finished, tmp_path):
    """A run killed with SIGKILL in its search, resumed, ends with the same bytes."""
    folder, _ = finished
    target = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "emoref", "run", "demo", *TINY, "--out", str(target), "--seed", "5"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("search 1/"):
            process.kill()
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert emoref("resume", target).returncode == 0
    assert (target / "search.h5").read_bytes() == (folder / "search.h5").read_bytes()
    assert (target / "base.h5").read_bytes() == (folder / "base.h5").read_bytes()


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path):
    target = tmp_path / "stopped"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "emoref",
            "run",
            "demo",
            *TINY,
            "--set",
            "search.generations=5000",
            "--out",
            str(target),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A shell's background jobs ignore the signal, and hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("search 1/"):
            process.send_signal(signal.SIGINT)
            break
    lines += process.stderr.readlines()
    process.wait()
    text = "".join(lines)
    assert process.returncode == 130, text
    assert f"emoref resume {target}" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["run", "wu2021-lenet-mnits"], ["did you mean 'wu2021-lenet-mnist'"]),
        (["run", "demo", "--set", "search.generatoins=3"], ["did you mean 'generations'"]),
        (["run", "demo", "--set", "search.population=many"], ["search.population"]),
        (["run", "demo", "--set", "nonsense"], ["key=value"]),
        (["run", "demo", "--set", "base.network=lennet"], ["lenet"]),
        (["run", "demo", "--set", "base.file=absent.h5"], ["absent.h5"]),
        (["run", "demo", "--set", "base.file=bundled:resnet2"], ["did you mean 'resnet20-cifar10-jpeg'"]),
        (["run", "demo", "--set", "data.name=fashion-mnits"], ["fashion-mnist"]),
        (["run", "wu2021-lenet-mnist"], ["mnist", "EMOREF_DATA"]),
        (["run", "demo", "--threads", "100000"], ["--threads 100000"]),
        (["run", "demo", "--backend", "cuda:x"], ["cuda:x: after the colon"]),
        (["resume", "absent"], ["absent", "no such folder"]),
        (["resume", "."], ["not a run folder"]),
        (["report", "."], ["not a run folder"]),
        (["data", "get", "mnits"], ["did you mean 'mnist'"]),
        (["data", "get", "mnist", "--from", "http://127.0.0.1:9"], ["no connection", "--from"]),
    ],
)
def test_mistakes(tmp_path, arguments, fragments):
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert_refused(emoref(*arguments, cwd=tmp_path, env=env), *fragments)


def test_a_refused_number_of_threads_leaves_no_folder(tmp_path):
    assert_refused(emoref("run", "demo", "--threads", "100000", "--out", tmp_path / "run"), "--threads")
    assert not (tmp_path / "run").exists()


def test_a_scheduler_that_is_not_there_is_missed_before_anything_is_trained(tmp_path):
    """Without the extra the message names that; either way nothing is left behind."""
    arguments = ("run", "demo", "--dask", "tcp://127.0.0.1:1", "--out", tmp_path / "run")
    assert_refused(emoref(*arguments), "--dask")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_refused_leaves_no_folder(tmp_path):
    wrong = emoref("run", "demo", "--set", "base.network=lenett", "--out", tmp_path / "run")
    assert_refused(wrong, "lenett", "lenet")
    assert not (tmp_path / "run").exists()


def test_damaged_state_is_reported_and_left_alone(finished, tmp_path):
    import shutil

    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name in ("search.h5", "base.h5"):
        data = (copy / name).read_bytes()
        (copy / name).write_bytes(data[: len(data) // 2])
        assert_refused(emoref("resume", copy), name)
        assert (copy / name).read_bytes() == data[: len(data) // 2]
        (copy / name).write_bytes(data)
    (copy / "config.toml").write_text("system = 3")
    assert_refused(emoref("resume", copy), "unknown system")


def test_lists_and_information(tmp_path):
    assert "wu2021-conv1-mnist" in emoref("presets").stdout
    data = emoref("data", env={"XDG_CACHE_HOME": str(tmp_path)})
    assert "fashion-mnist-small" in data.stdout
    assert "EMOREF_DATA" in data.stdout
    assert "emoref data get mnist" in data.stdout
    info = emoref("info")
    assert "numba" in info.stdout, info.stderr
    assert "threads" in info.stdout
    assert emoref("--version").stdout.startswith("emoref 0.")


def test_plan_of_a_network():
    lines = emoref("info", "--plan", "vgg16").stdout.splitlines()
    assert lines[0].split()[:3] == ["layer", "shape", "forward"]
    assert len(lines) == 15
    assert lines[-1].startswith("trains in channels-last: vectors of ")
    assert "fewer than 16 channels" in lines[1]
    assert "64 -> 64 @ 32x32, 3x3    winograd 4x4" in lines[2]
    assert "winograd 4x4" not in emoref("info", "--plan", "vgg16", "--exact").stdout
    assert_refused(emoref("info", "--plan", "vgg61"), "did you mean 'vgg16'")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["no-such-command"],
        ["run", "demo", "--workers", "5000"],
        ["run", "demo", "--seed", str(2**63)],
        ["verify", "--full", "--table", "."],
    ],
)
def test_usage_errors_end_with_code_two(tmp_path, arguments):
    result = emoref(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path):
    result = emoref("--debug", "resume", tmp_path / "absent")
    assert result.returncode != 0
    assert "Traceback" in result.stderr
