"""A finished run, small and quick, for tests that damage it."""

import shutil
import tomllib

import pytest

from emoref.report import write_tables
from emoref.runs.config import to_toml
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.record import read_run
from emoref.systems import execute, parse_config

TINY = """
system = "emofp"
name = "tiny"
[data]
name = "fashion-mnist-small"
validation = 100
train_limit = 200
[base]
network = "lenet"
train = { epochs = 1 }
[search]
population = 8
generations = 2
[select]
count = 1
[finetune]
epochs = 1
"""


@pytest.fixture(scope="session")
def tiny_toml():
    """Return the configuration of the run."""
    return TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run; tests work on copies."""
    path = tmp_path_factory.mktemp("hostile") / "run"
    config = parse_config(tomllib.loads(TINY), "tiny")
    folder = RunFolder.create(path, to_toml(config))
    with folder.writing():
        execute(config, folder, Silent())
    write_tables(read_run(folder, config.model_dump(mode="json")))
    return path


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return RunFolder(shutil.copytree(finished, tmp_path / "run"))
