"""All benchmarks beside their peers, and the page that shows them.

``python -m bench.compare --threads 2 --rounds 3 --json bench.json --page docs/benchmarks.md`` measures every
module below and writes the page; ``--quick`` is a form of about three minutes that prints the table only.
``--avx2`` forbids both sides the AVX-512 instructions. What a module measured is stored in the JSON file at
once, so a run that was stopped goes on where it was; ``--page`` alone rewrites the page from that file.
"""

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

from bench.peer import AVX2, compare

Times = Mapping[str, Mapping[str, float]]
"""Seconds of each side and case."""


class Row(NamedTuple):
    """One line of the table: the cases of a module whose name matches, ours against the best of the peers.

    A row with floor 0 has neither floor nor target. A row is left out where one of its peers that it `needs`
    was not measured.
    """

    workload: str
    module: str
    pattern: str
    floor: float
    target: float
    ours: str = "emoref"
    peers: str = "torch(?! from)"
    needs: str = ""


CONV3 = r"(VGG|ResNet) (?!3-)(?!.* s2).*"
FIRST = r"(VGG 3-|ResNet 3-).*(forward|weight grad)"
MAPS = "emoref channels-last"
PLAIN = "emoref", r"torch( from plain arrays)?$", "torch from plain arrays"
ROWS = (
    Row("3x3 convolution, stride 1, C >= 16: forward", "kernels", CONV3 + "forward", 2.0, 3.0, MAPS),
    Row("the same: backward-data", "kernels", CONV3 + "input grad", 2.0, 3.0, MAPS),
    Row("the same, `exact`: forward", "kernels", CONV3 + "forward", 1.4, 2.0, MAPS + " exact"),
    Row("the same, `exact`: backward-data", "kernels", CONV3 + "input grad", 1.4, 2.0, MAPS + " exact"),
    Row("the same: backward-weights", "kernels", CONV3 + "weight grad", 1.5, 3.0, MAPS),
    Row("first layers", "kernels", FIRST, 1.0, 2.0, MAPS),
    Row("stride 2", "kernels", r"ResNet .* s2.*", 1.0, 2.0, MAPS),
    Row("1x1", "kernels", r"1x1.*", 1.0, 2.0, MAPS),
    Row("depthwise", "kernels", r"depthwise.*", 1.0, 2.0, MAPS),
    Row("LeNet's layers", "kernels", r"LeNet.*", 1.0, 2.0),
    Row("from plain arrays: 3x3, stride 1, forward", "kernels", CONV3 + "forward", 1.0, 2.0),
    Row("from plain arrays: backward-data", "kernels", CONV3 + "input grad", 1.0, 2.0),
    Row("from plain arrays: backward-weights", "kernels", CONV3 + "weight grad", 1.0, 2.0),
    Row("from plain arrays: first layers", "kernels", FIRST, 1.0, 2.0),
    Row("from plain arrays: stride 2", "kernels", r"ResNet .* s2.*", 1.0, 2.0),
    Row("from plain arrays: 1x1", "kernels", r"1x1.*", 1.0, 2.0),
    Row("from plain arrays: depthwise", "kernels", r"depthwise.*", 1.0, 2.0),
    *(
        Row(f"from plain arrays to plain arrays: {name}", "kernels", pattern, 1.0, 2.0, *PLAIN)
        for name, pattern in (
            ("3x3, stride 1, forward", CONV3 + "forward"), ("backward-data", CONV3 + "input grad"),
            ("backward-weights", CONV3 + "weight grad"), ("first layers", FIRST),
            ("stride 2", r"ResNet .* s2.*"), ("1x1", r"1x1.*"), ("depthwise", r"depthwise.*"),
        )
    ),
    Row("LeNet, inference of 256", "inference", "lenet", 1.5, 2.5),
    Row("VGG-16, inference", "inference", "vgg16", 1.8, 2.8),
    Row("VGG-16, inference, `exact`", "inference", "vgg16", 0, 0, "emoref exact"),
    Row("ResNet-56, inference", "inference", "resnet56", 2.0, 3.5),
    Row("ResNet-56, inference, `exact`", "inference", "resnet56", 0, 0, "emoref exact"),
    Row("MobileNet-v1, inference", "inference", "mobilenet-v1", 1.0, 2.0),
    Row("LeNet, training step of 64", "training", "LeNet training.*", 1.3, 2.2),
    Row("VGG-16, training step of 64", "training", "vgg16.*", 1.6, 3.0),
    Row("ResNet-56, training step of 64", "training", "resnet56.*", 1.6, 3.0),
    Row("MobileNet-v1, training step of 64", "training", "mobilenet-v1.*", 1.0, 2.0),
    Row("50 LeNet candidates, masked", "population", "lenet", 10, 40, peers="torch masked"),
    Row("50 LeNet candidates, slimmed", "population", "lenet", 5, 15, peers="torch(?! masked)"),
    Row("50 VGG-16 candidates, masked", "population", "vgg16", 7, 14, peers="torch masked"),
    Row("50 VGG-16 candidates, slimmed", "population", "vgg16", 2, 4, peers="torch(?! masked)"),
    Row("a search of EMOFP", "emofp", ".*", 5, 15),
    Row("non-dominated sort", "evolution", "sort.*", 1.0, 3.0, peers="py"),
    Row("crowding distance", "evolution", "crowding.*", 1.0, 3.0, peers="py"),
    Row("association with reference lines", "evolution", "association.*", 1.0, 3.0, peers="py"),
    Row("variation and duplicates", "evolution", "(SBX|polynomial|duplicates).*", 1.0, 3.0, peers="py"),
    Row("hypervolume", "evolution", "hypervolume.*", 1.0, 3.0, peers="py"),
    Row("generation of NSGA-II and III, M = 3", "evolution", "NSGA.*M=3", 15, 50, peers="py"),
    Row("generation of NSGA-II and III, M = 10", "evolution", "NSGA.*M=10", 5, 25, peers="py"),
)  # fmt: skip
MODULES = tuple(dict.fromkeys(row.module for row in ROWS))
QUICK = ("inference", "evolution")


def ratios(row: Row, times: Times) -> dict[str, float]:
    """Return for each case of a row the best time of its peers divided by ours."""
    if row.needs and row.needs not in times:
        return {}
    peers = [side for side in times if re.match(row.peers, side)]
    ours = times.get(row.ours, {})
    return {
        case: min(times[side][case] for side in peers if case in times[side]) / seconds
        for case, seconds in ours.items()
        if re.fullmatch(row.pattern, case)
    }


def table(measured: Mapping[str, Times]) -> Iterator[str]:
    """Yield the lines of the summary."""
    yield "| workload | cases | ratio | worst case | floor | target | |"
    yield "|---|---|---|---|---|---|---|"
    for row in ROWS:
        found = ratios(row, measured.get(row.module, {}))
        if not found:
            continue
        mean = exp(sum(log(value) for value in found.values()) / len(found))
        verdict = "target" if mean >= row.target else "floor" if mean >= row.floor else "**below**"
        asked = f"{row.floor:g} | {row.target:g} | {verdict}" if row.floor else "| | "
        yield f"| {row.workload} | {len(found)} | {mean:.2f} | {min(found.values()):.2f} | {asked} |"


def details(measured: Mapping[str, Times], rounds: Mapping[str, int]) -> Iterator[str]:
    """Yield a table of milliseconds for each module."""
    for module, times in measured.items():
        sides = list(times)
        count = f"{rounds[module]} round{'s' * (rounds[module] > 1)}"
        yield from (
            "",
            f"## bench/{module}.py, {count}",
            "",
            f"| ms | {' | '.join(sides)} |",
            "|---" * (len(sides) + 1) + "|",
        )
        for case in times[sides[0]]:
            values = " | ".join(
                f"{1e3 * times[side][case]:.3g}" if case in times[side] else "" for side in sides
            )
            yield f"| {case} | {values} |"


def machine() -> dict[str, Any]:
    """Return what the figures were measured on and with."""
    from emoref.runs import provenance

    packages = ("numpy", "numba", "torch", "pymoo", "moocore", "pygmo")
    return {
        **provenance.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def page(record: Mapping[str, Any]) -> str:
    """Return docs/benchmarks.md."""
    facts = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    options = record["options"]
    lines = [
        "# Speed",
        "",
        "Written by `python -m bench.compare`. Ratio = best time of the peer / time of emoref: above 1,",
        "emoref is faster. The peer is PyTorch (its best of the layouts and, for inference, of eager and",
        "frozen modules), or pymoo and pygmo. Each side runs in processes of its own, the sides take turns,",
        "and a figure is the median of the rounds' medians. A row with several cases shows their geometric",
        "mean and the worst of them. Convolutions are measured in the layout in which networks train",
        "(channels-last maps; planes for LeNet's), and again on plain NCHW arrays. In the rows \"from plain",
        'arrays" emoref gets and returns such arrays, and whatever it converts between is in its time, while',
        "PyTorch gets and returns the layout in which it is faster: channels-last images cost it nothing. In",
        'the rows "from plain arrays to plain arrays" both sides do the same: PyTorch\'s time is the shorter',
        "one of convolving the plain arrays and of converting them to channels-last, convolving, and",
        "converting the result back (its weights are converted before). The first reading is the stricter",
        "one.",
        "",
        f"{options['threads']} threads"
        + (", without AVX-512 on both sides" if options["avx2"] else "")
        + f". {facts}.",
        "",
        *table(record["times"]),
        *details(record["times"], record["rounds"]),
    ]
    return "\n".join(lines) + "\n"


def measure(options: Mapping[str, Any], store: Path | None, modules: tuple[str, ...]) -> dict[str, Any]:
    """Measure the modules that `store` does not hold yet."""
    rounds = options["rounds"]
    kept = {name: value for name, value in options.items() if name != "rounds"}
    record: dict[str, Any] = {"options": kept, "machine": machine(), "rounds": {}, "times": {}}
    if store is not None and store.exists():
        found = json.loads(store.read_text())
        if found["options"] != record["options"]:
            sys.exit(
                f"{store} was measured with {found['options']}, not with {record['options']}; name another"
            )
        record = found
    for module in modules:
        if module in record["times"]:
            continue
        print(f"measuring bench/{module}.py", file=sys.stderr, flush=True)
        sides = import_module(f"bench.{module}").SIDES
        record["times"][module] = compare(
            f"bench.{module}", sides, options["threads"], rounds, AVX2 if options["avx2"] else None
        )
        record["rounds"][module] = rounds
        if store is not None:
            store.write_text(json.dumps(record, indent=1))
    return record


def main() -> None:
    """Measure, print the table, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of a few modules")
    parser.add_argument("--avx2", action="store_true", help="without AVX-512 on both sides")
    parser.add_argument("--only", nargs="+", choices=MODULES, default=MODULES, help="these modules")
    parser.add_argument("--json", type=Path, help="keep the measured times here, and go on from them")
    parser.add_argument("--page", type=Path, help="write the page here")
    given = parser.parse_args()
    modules = tuple(given.only) if not given.quick else QUICK
    options = {"threads": given.threads, "rounds": 1 if given.quick else given.rounds, "avx2": given.avx2}
    record = measure(options, given.json, modules)
    print("\n".join(table(record["times"])))
    if given.page is not None:
        given.page.write_text(page(record))


if __name__ == "__main__":
    main()
