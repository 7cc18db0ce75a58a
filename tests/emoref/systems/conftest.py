"""A run small enough for tests: a narrow LeNet on a few embedded images."""

import pytest

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


def execute_tiny(path, *overrides, progress=None):
    import tomllib

    from emoref.runs.config import apply_overrides, to_toml
    from emoref.runs.folder import RunFolder
    from emoref.runs.progress import Silent
    from emoref.systems import execute, parse_config

    config = parse_config(apply_overrides(tomllib.loads(TINY), list(overrides)), "tiny")
    folder = RunFolder.create(path, to_toml(config))
    execute(config, folder, progress or Silent())
    return folder


@pytest.fixture(scope="session")
def run_tiny():
    """Return the function that executes the tiny run with overrides in a new folder."""
    return execute_tiny
