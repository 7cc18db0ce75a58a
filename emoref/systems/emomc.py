"""EMOMC: pruning and quantisation together, searched for accuracy, energy and size.

Z. Wang, T. Luo, M. Li, J. T. Zhou, R. S. M. Goh, L. Zhen: *Evolutionary Multi-Objective Model Compression for
Deep Neural Networks*, IEEE Computational Intelligence Magazine 16(3), pp. 10-21, 2021.

The method, step by step, and the functions that do it:

1. a trained network is given                                     :func:`emoref.systems.steps.base_network`
2. stage I: a library of gradually pruned models                  :mod:`emoref.systems.library`
3. stage II: for each dataflow a search for (error, energy), for
   each coding one for (error, size)                              :mod:`emoref.systems.emomc_search`
4. networks are chosen from the fronts                            :mod:`emoref.systems.emomc_select`
5. they are written as ``.emz`` and measured on the test set      :mod:`emoref.systems.emomc_select`

Sources are the paper and the authors' published code, which was read, not copied. What emoref does another
way: candidates are judged on images held out of the training set (``search.paper_protocol`` takes the test
set, as that code does); bits are whole numbers from the start; what is chosen is written to real bits. All
three objectives at once, coders beyond the paper's and measured costs are emoref's own.
"""

from typing import Literal

from pydantic import model_validator

from emoref.runs.config import ExperimentConfig
from emoref.runs.executors import workers_of
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.systems import steps
from emoref.systems.emomc_costs import Costs, ModelSection
from emoref.systems.emomc_search import Accuracy, SearchSection, run_search, searches
from emoref.systems.emomc_select import SelectSection, select_all, test_all, write_models
from emoref.systems.library import LibrarySection, build_library, check_library_file

__all__ = ["EmomcConfig", "run"]


class EmomcConfig(ExperimentConfig):
    """An EMOMC experiment."""

    system: Literal["emomc"] = "emomc"
    library: LibrarySection = LibrarySection()
    model: ModelSection = ModelSection()
    search: SearchSection = SearchSection()
    select: SelectSection = SelectSection()

    @model_validator(mode="after")
    def _authors_arithmetic(self) -> "EmomcConfig":
        authors = self.model.quantizer == "emomc" and self.model.rules == "emomc_compat"
        if self.search.paper_protocol and not authors:
            raise ValueError(
                "search.paper_protocol is for the authors' arithmetic: model.quantizer must be emomc and "
                "model.rules emomc_compat"
            )
        return self


def _check_early(config: EmomcConfig, splits: steps.Splits, folder: RunFolder) -> None:
    """Refuse before hours of training what would otherwise be refused when it is needed."""
    if not config.search.paper_protocol:
        steps.fitness_images(splits, config.search.images, config.seed)
    if config.library.file and not folder.library.exists():
        check_library_file(config.library)


def run(config: EmomcConfig, folder: RunFolder, progress: Progress) -> None:
    """Do one EMOMC experiment, or what is left of it.

    Every stage first looks at what the folder already holds, so the same call starts, resumes and completes.
    """
    splits = steps.load_splits(config)
    _check_early(config, splits, folder)
    base = steps.base_network(config, splits, folder, progress)
    library = build_library(config, config.library, base, splits, folder, progress)
    costs = Costs(library, config.model)
    report = steps.reporter(folder, progress)
    accuracy = Accuracy(config, base, library, splits, workers_of(config.engine), report)
    steps.keep_counts(accuracy.evaluator, config, folder, "errors")
    try:
        stores = {
            plan.name: run_search(plan, accuracy, costs, config, folder, progress)
            for plan in searches(config.search)
        }
        selections = select_all(stores, accuracy, costs, config, splits, folder, progress)
    finally:
        accuracy.close()
    write_models(selections, costs, config, folder, progress)
    test_all(config, base, folder, progress)
