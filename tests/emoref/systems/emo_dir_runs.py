"""The small EMO-DIR run that several test files share: its settings, its network, and how it is executed."""

import tomllib

from emoref import nn
from emoref.runs.config import apply_overrides, to_toml
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.systems import execute, parse_config

TINY = """
system = "emo-dir"
name = "tiny"
seed = 3

[data]
name = "fashion-mnist-small"
validation = 100
train_limit = 100

[constraint.train]
epochs = 2
lr = 0.01
[constraint.probe]
epochs = 1

[search]
population = 6
generations = 2
images = 40
recalibration_batches = 2
recalibration_batch_size = 10

[joint]
targets = [0.25]

[finetune]
epochs = 2
lr = 0.01
distill = true

[baselines]
enabled = true

[engine]
backend = "reference"
"""


def residual(width=4):
    """A stem that halves the maps, and two stages of one residual block each, with shortcuts of kind A."""
    b = nn.NetworkBuilder("tiny-residual", (1, 28, 28))
    b.conv("conv", width, 3, stride=4, padding=1, bias=False)
    b.batch_norm("bn")
    b.relu("relu")
    for stage, wider in ((1, 0), (2, width)):
        at, source, stride = f"s{stage}b1", b.last, 2 if wider else 1
        b.conv(f"{at}_conv1", 2 * width, 3, stride=stride, padding=1, bias=False)
        b.batch_norm(f"{at}_bn1")
        b.relu(f"{at}_relu1")
        b.conv(f"{at}_conv2", width + wider, 3, padding=1, bias=False)
        main = b.batch_norm(f"{at}_bn2")
        if wider:
            source = b.avg_pool(f"{at}_skip_pool", 1, stride=2, source=source)
            source = b.pad_channels(f"{at}_skip_pad", after=wider, source=source)
        b.add(f"{at}_add", main, source)
        b.relu(f"{at}_relu")
    b.global_avg_pool("gap")
    b.linear("fc", 10)
    return b.build()


def config_of(base, *overrides):
    table = apply_overrides(tomllib.loads(TINY), [f'base.file="{base}"', *overrides])
    return parse_config(table, "tiny")


def execute_tiny(path, base, *overrides, progress=None):
    config = config_of(base, *overrides)
    folder = RunFolder.create(path, to_toml(config))
    execute(config, folder, progress or Silent())
    return folder


def files_that_count(folder):
    kinds = ("base.h5", "stages/*.h5", "searches/*.h5", "joint/*.json", "models/*.h5", "baselines/*/*.h5")
    paths = [path for kind in kinds for path in sorted(folder.path.glob(kind))]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}
