"""The papers' systems: each a flow from a trained network to a Pareto set of smaller ones.

A configuration's ``system`` key says which one runs; :data:`SYSTEMS` maps it to the model of its
configuration and to the function that runs it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emoref.errors import ConfigError, suggest
from emoref.runs.config import ExperimentConfig, read_table, validate
from emoref.runs.folder import RunFolder
from emoref.runs.messages import messages_to
from emoref.runs.progress import Progress
from emoref.runs.provenance import machine, versions
from emoref.systems import emo_dir, emomc, filter_sharing, joint_sparse, one_shot

__all__ = ["SYSTEMS", "System", "execute", "load_run_config", "parse_config"]


@dataclass(frozen=True)
class System:
    """One paper's method."""

    title: str
    config: type[ExperimentConfig]
    run: Callable[[Any, RunFolder, Progress], None]


SYSTEMS = {
    "filter-sharing": System(
        "Multi-task pruning by filter index sharing",
        filter_sharing.FilterSharingConfig,
        filter_sharing.run,
    ),
    "joint-sparse": System(
        "Joint sparse compression of several applications",
        joint_sparse.JointSparseConfig,
        joint_sparse.run,
    ),
    "emo-dir": System("EMO-DIR: divide, search, join", emo_dir.EmoDirConfig, emo_dir.run),
    "emomc": System("EMOMC: pruning and quantisation", emomc.EmomcConfig, emomc.run),
    "emofp": System("EMOFP: one-shot filter pruning", one_shot.OneShotConfig, one_shot.run),
}


def parse_config(table: dict[str, Any], where: str) -> ExperimentConfig:
    """Check a configuration table against the system that it names; errors begin with `where`.

    Raises
    ------
    ConfigError
        If the system is missing or unknown, or a field is wrong.
    """
    name = table.get("system")
    if name is None:
        raise ConfigError(f'{where}: the key "system" is missing; known: {", ".join(SYSTEMS)}')
    if not isinstance(name, str) or name not in SYSTEMS:
        raise ConfigError(f"{where}: unknown system {name!r}{suggest(str(name), SYSTEMS)}")
    return validate(SYSTEMS[name].config, table, where)


def load_run_config(folder: RunFolder) -> ExperimentConfig:
    """Return the configuration that a run folder was made with.

    Raises
    ------
    ConfigError
        If ``config.toml`` is damaged.
    RunFolderError
        If it was changed after the run began.
    """
    config = parse_config(read_table(folder.config), str(folder.config))
    folder.check_config()
    return config


def execute(config: ExperimentConfig, folder: RunFolder, progress: Progress) -> None:
    """Run the experiment `config`, or what is left of it, in its folder, telling `progress`."""
    folder.log("start", versions=versions(), machine=machine(), seed=config.seed)
    with messages_to(folder):
        SYSTEMS[config.system].run(config, folder, progress)
    folder.log("end")
