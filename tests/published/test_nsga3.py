"""NSGA-III against its paper: a quick form with three seeds, and gates with eleven (minutes).

The figures are those of `emoref.verify.published`; all rows with twenty seeds are `emoref verify --full`.
"""

import numpy as np
import pytest

from emoref.verify.published import ROWS
from emoref.verify.tables import summarise
from emoref.verify.trials import Trial, run_trial


def lines(entrant, keys, seeds):
    """Run rows and return what the tables make of them, by key."""
    results = {}
    for key in keys:
        for seed in range(seeds):
            trial = Trial(key, entrant, seed)
            results[trial] = run_trial(trial)
    return {line.row.key: line for line in summarise(results)}


@pytest.mark.parametrize(
    ("entrant", "key"),
    [
        ("nsga3", "plain DTLZ1 M=3"),
        ("nsga3", "plain DTLZ2 M=3"),
        ("nsga3", "plain DTLZ2 M=5"),
        ("nsga3", "scaled DTLZ2 M=3"),
        ("nsga3-no-swap", "plain DTLZ2 M=3"),
    ],
)
def test_quick(entrant, key):
    """The median of three seeds is at most the paper's worst on the plain problem."""
    worst = ROWS[key.replace("scaled", "plain")].figures("paper", "igd").worst
    assert np.median([run_trial(Trial(key, entrant, seed))["igd"] for seed in range(3)]) <= worst


@pytest.mark.gates
@pytest.mark.parametrize("entrant", ["nsga3", "nsga3-deb2014"])
@pytest.mark.parametrize("n_obj", [3, 5])
@pytest.mark.parametrize("problem", ["DTLZ1", "DTLZ2", "DTLZ3", "DTLZ4"])
def test_median(problem, n_obj, entrant):
    """At most 1.2 times the larger of the paper's and pymoo's median."""
    key = f"plain {problem} M={n_obj}"
    line = lines(entrant, [key], 11)[key]
    assert line.passed, f"{line.value:.3e} is above {line.limit:.3e}"


@pytest.mark.gates
@pytest.mark.parametrize("problem", ["DTLZ1", "DTLZ2"])
def test_scaled_is_as_good_as_plain(problem):
    """Objectives multiplied by 1, 10 and 100, measured after rescaling."""
    plain, scaled = f"plain {problem} M=3", f"scaled {problem} M=3"
    line = lines("nsga3", [plain, scaled], 11)[scaled]
    assert line.passed, f"{line.value:.3e} is above {line.limit:.3e}"
