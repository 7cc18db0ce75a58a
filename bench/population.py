"""Populations of pruned candidates beside PyTorch, which evaluates them one by one, masked or slimmed.

``python -m bench.population --threads 2 --rounds 3`` prints a table of ratios, each side timed in its own
processes; ``pytest bench/population.py`` times emoref's side. 30 to 70 % of the filters of each layer are
removed. Both PyTorch forms are measured in both layouts; slimming itself is part of the time on both sides.
Of VGG-16, PyTorch evaluates a few candidates only, and its time is scaled up to all.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bench.models import build, images, torch_model
from bench.peer import compare, median_seconds

SIDES = ("emoref", "torch masked", "torch masked channels-last", "torch", "torch channels-last")
CANDIDATES = 50
SETTINGS = {"lenet": 1000, "lenet and its hidden layer": 1000, "vgg16": 100}
"""Images of each setting."""
MEASURED = {"vgg16": 4}
"""Candidates that PyTorch evaluates, where they are not all."""
BATCH = 250

Case = tuple[str, Callable[[], object]]


def setting(name: str):
    """Return network, parameters, layout, genomes, images and labels."""
    from emoref.search import FilterGenome

    net = build(name.split()[0])
    count = SETTINGS[name]
    layers = ["conv1", "conv2", "fc1"] if name.endswith("layer") else None
    layout = FilterGenome(net, layers=layers)
    rng = np.random.default_rng(1)
    rows = np.zeros((CANDIDATES, layout.n_bits), bool)
    for row in rows:
        for where in layout.index.values():
            kept = round(rng.uniform(0.3, 0.7) * len(where))
            row[rng.choice(where, kept, replace=False)] = True
    return net, net.init(0), layout, rows, images(net, count), rng.integers(0, 10, count)


def emoref_cases(names=tuple(SETTINGS)) -> Iterator[Case]:
    """Yield the evaluation of each population as a call of emoref."""
    from emoref.search import PopulationEvaluator

    for name in names:
        net, params, layout, rows, x, y = setting(name)
        evaluator = PopulationEvaluator(net, params, x, y, layout, cache_size=0)
        yield name, lambda evaluator=evaluator, rows=rows: evaluator.wrong_counts(rows)


def torch_cases(side: str) -> Iterator[Case]:
    """Yield the same as calls of PyTorch, candidate by candidate."""
    import torch

    from emoref.compress import apply_masks, slim

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    layout_of = torch.channels_last if side.endswith("channels-last") else torch.contiguous_format
    for name in SETTINGS:
        net, params, layout, rows, x, y = setting(name)
        data = torch.from_numpy(x).contiguous(memory_format=layout_of)
        labels = torch.from_numpy(y)

        def run(net=net, params=params, layout=layout, rows=rows, data=data, labels=labels, name=name):
            wrong = []
            for row in rows[: MEASURED.get(name)]:
                masks = layout.masks(row)
                if "masked" in side:
                    model = torch_model(net, apply_masks(net, params, masks))
                else:
                    model = torch_model(*slim(net, params, masks))
                model = model.to(memory_format=layout_of)
                with torch.inference_mode():
                    wrong.append(
                        sum(
                            int((model(part).argmax(1) != some).sum())
                            for part, some in zip(data.split(BATCH), labels.split(BATCH), strict=True)
                        )
                    )
            return wrong

        yield name, run


def cases(side: str) -> Iterator[Case]:
    """Yield the cases of one side of :data:`SIDES`."""
    return emoref_cases() if side == "emoref" else torch_cases(side)


@pytest.mark.parametrize("name", SETTINGS)
def test_population(benchmark, name):
    benchmark(dict(emoref_cases((name,)))[name])


def main() -> None:
    """Print the table, or the times of one side as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, help="time this side and print its seconds as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.side:
        times = {name: median_seconds(call) for name, call in cases(arguments.side)}
        if arguments.side != "emoref":
            times |= {name: times[name] * CANDIDATES / count for name, count in MEASURED.items()}
        print(json.dumps(times))
        return
    times = compare("bench.population", SIDES, arguments.threads, arguments.rounds)
    print(f"{arguments.threads} threads, {CANDIDATES} candidates; ratio = best time of PyTorch / emoref's")
    print(f"{'':28}{'images':>7}{'emoref':>12}{'masked':>12}{'slimmed':>12}{'ratio':>7}{'ratio':>7}")
    for name, count in SETTINGS.items():
        ours = times["emoref"][name]
        masked = min(times[side][name] for side in SIDES if "masked" in side)
        slimmed = min(times[side][name] for side in ("torch", "torch channels-last"))
        print(
            f"{name:28}{count:7}{1e3 * ours:9.0f} ms{1e3 * masked:9.0f} ms{1e3 * slimmed:9.0f} ms"
            f"{masked / ours:7.1f}{slimmed / ours:7.1f}"
        )


if __name__ == "__main__":
    main()
