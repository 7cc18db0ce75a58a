"""Timing of two sides of a comparison, each in a process of its own.

Thread pools of different libraries disturb each other when they live in one process (idle workers of one
spin while the other computes), so a ratio of two libraries is claimed only from separate processes. The
processes take turns, because the speed of a machine drifts; each measures its own medians.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+popcnt,+sse4.2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Environment in which both sides do without AVX-512."""


def median_seconds(function: Callable[[], object], seconds: float = 0.3, most: int = 200) -> float:
    """Call `function` for about `seconds` after two calls to warm up, and return the median time."""
    function()
    function()
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < 5 or (perf_counter() < end and len(times) < most):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return median(times)


def run_side(
    module: str, side: str, threads: int, settings: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Run ``python -m <module> --side <side>`` and return the times that it prints as JSON.

    `settings` are added to its environment.
    """
    count = str(threads)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        "NUMBA_NUM_THREADS": count,
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": "1",
        **(settings or {}),
    }
    output = subprocess.run(
        [sys.executable, "-m", module, "--side", side],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {str(name): float(value) for name, value in json.loads(output.splitlines()[-1]).items()}


def compare(
    module: str,
    sides: Sequence[str],
    threads: int,
    rounds: int,
    settings: Mapping[str, str] | None = None,
) -> dict[str, dict[str, float]]:
    """Let the sides take turns for `rounds` rounds, with `settings` added to their environment.

    Returns
    -------
    dict
        For each side, the median over the rounds of the seconds of each case.
    """
    results: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            results[side].append(run_side(module, side, threads, settings))
    return {
        side: {name: median(times[name] for times in runs) for name in runs[0]}
        for side, runs in results.items()
    }
