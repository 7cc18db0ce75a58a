"""Run folders: never two runs in one, nothing lost."""

import subprocess
import sys

import pytest

from emoref.errors import RunFolderError
from emoref.runs.folder import RunFolder, write_text_atomic


def test_create_and_open(tmp_path):
    folder = RunFolder.create(tmp_path / "a" / "b", "seed = 1\n")
    assert folder.config.read_text() == "seed = 1\n"
    assert RunFolder.open(folder.path).path == folder.path


def test_every_network_has_its_file(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.network_file("base") == tmp_path / "base.h5"
    assert folder.network_file("kept-9") == tmp_path / "models" / "kept-9.h5"
    assert folder.network_file("kept-9/l1") == tmp_path / "baselines" / "kept-9" / "l1.h5"


def test_a_folder_with_another_run_is_refused_and_kept(tmp_path):
    RunFolder.create(tmp_path / "run", "seed = 1\n")
    with pytest.raises(RunFolderError, match=r"already holds a run.*emoref resume"):
        RunFolder.create(tmp_path / "run", "seed = 2\n")
    assert (tmp_path / "run" / "config.toml").read_text() == "seed = 1\n"


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not an empty folder"):
        RunFolder.create(tmp_path, "")
    with pytest.raises(RunFolderError, match="not an empty folder"):
        RunFolder.create(tmp_path / "notes.txt", "")
    with pytest.raises(RunFolderError, match="cannot be written"):
        RunFolder.create(tmp_path / "notes.txt" / "run", "")


def test_an_unused_folder_is_removed_and_a_used_one_stays(tmp_path):
    unused, used = (RunFolder.create(tmp_path / name, "seed = 1\n") for name in ("unused", "used"))
    for folder in (unused, used):
        folder.log("start")
    used.base.write_text("a network")
    assert unused.discard_unused()
    assert not unused.path.exists()
    assert not used.discard_unused()
    assert used.config.exists()
    assert used.base.exists()


def test_open_refuses_what_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(RunFolderError, match=r"no config\.toml"):
        RunFolder.open(tmp_path)


def test_log_survives_a_line_cut_short(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "")
    folder.log("start", seed=3)
    folder.log("end")
    with open(folder.log_file, "a") as file:
        file.write('{"event": "half')
    assert [e["event"] for e in folder.events()] == ["start", "end"]
    assert folder.events()[0]["seed"] == 3


def test_a_second_writer_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "")
    code = (
        "import sys; from emoref.runs.folder import RunFolder; from emoref.errors import RunFolderError\n"
        "try:\n    with RunFolder.open(sys.argv[1]).writing(): print('entered')\n"
        "except RunFolderError as e: print(e)"
    )
    with folder.writing():
        second = subprocess.run(
            [sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, check=True
        )
    assert "another process is writing" in second.stdout
    with folder.writing():
        pass


def test_write_text_atomic_keeps_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(path, "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
