"""Runs small enough for tests, on a few embedded images, and what interrupts or spreads them.

Makes the small EMO-DIR run, `emo_dir_runs`, importable.
"""

import functools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

TINY = """
system = "emofp"
name = "tiny"
seed = 3

[data]
name = "fashion-mnist-small"
validation = 200
train_limit = 500

[base]
network = "lenet"
[base.train]
epochs = 2
lr = 0.03

[search]
population = 12
generations = 5

[select]
count = 2
kept_filters = [40]

[finetune]
epochs = 2
lr = 0.01
"""


@pytest.fixture(scope="session")
def tiny_toml():
    return TINY


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """One finished tiny run; tests must not change it."""
    return execute_tiny(tmp_path_factory.mktemp("runs") / "tiny")


def execute_tiny(path, *overrides, progress=None, toml=TINY):
    import tomllib

    from emoref.runs.config import apply_overrides, to_toml
    from emoref.runs.folder import RunFolder
    from emoref.runs.progress import Silent
    from emoref.systems import execute, parse_config

    config = parse_config(apply_overrides(tomllib.loads(toml), list(overrides)), "tiny")
    folder = RunFolder.create(path, to_toml(config))
    execute(config, folder, progress or Silent())
    return folder


@pytest.fixture(scope="session")
def run_tiny():
    """Return the function that executes the tiny run with overrides in a new folder."""
    return execute_tiny


TINY_EMOMC = """
system = "emomc"
name = "tiny-emomc"
seed = 3

[data]
name = "fashion-mnist-small"
validation = 200
train_limit = 400

[base]
network = "lenet5"
[base.train]
epochs = 2
lr = 0.03

[library]
ratios = [0.3, 0.8]
[library.train]
epochs = 2
lr = 0.01

[search]
population = 8
offspring = 4
generations = 2
images = 100
dataflows = ["X:Y"]
codings = ["csr"]

[select]
max_error_increase = 0.05
"""


@pytest.fixture(scope="session")
def emomc_run(tmp_path_factory):
    """One finished tiny EMOMC run; tests must not change it."""
    return execute_tiny(tmp_path_factory.mktemp("runs") / "emomc", toml=TINY_EMOMC)


@pytest.fixture(scope="session")
def run_emomc():
    """Return the function that executes the tiny EMOMC run with overrides in a new folder."""
    return functools.partial(execute_tiny, toml=TINY_EMOMC)


@pytest.fixture(scope="session")
def stop_at():
    """Return the class of what interrupts a run at one step of one stage, as Ctrl-C or a lost power line."""
    from emoref.runs.progress import Silent

    class StopAt(Silent):
        def __init__(self, title, step):
            self.wanted, self.title = (title, step), ""

        def stage(self, title, total):
            self.title = title

        def step(self, done, text):
            if self.title == self.wanted[0] and done >= self.wanted[1]:
                raise KeyboardInterrupt

    return StopAt


@pytest.fixture
def threads_for_processes(monkeypatch):
    """Let threads stand for processes: the tasks travel the same way, and start at once."""
    from emoref.runs import executors

    monkeypatch.setattr(executors, "process_pool", ThreadPoolExecutor)


@pytest.fixture(scope="session")
def residual_file(tmp_path_factory):
    """Return the file of the untrained network of the small EMO-DIR run."""
    from emo_dir_runs import residual

    from emoref import nn

    path, net = tmp_path_factory.mktemp("base") / "base.h5", residual()
    nn.save(path, net, net.init(0))
    return path
