"""The summary of the benchmarks: which cases a row takes, what it says of them, what a stored run allows."""

import json

import pytest

from bench import compare, kernels, peer

KERNELS = [f"{layer} {which}" for layer in kernels.LAYERS for which in kernels.PASSES]


def row(workload):
    return next(row for row in compare.ROWS if row.workload == workload)


def taken(workload):
    times = {side: dict.fromkeys(KERNELS, 1.0) for side in kernels.SIDES}
    return set(compare.ratios(row(workload), times))


def test_every_layer_is_in_some_row():
    rows = [r.workload for r in compare.ROWS if r.module == "kernels"]
    missing = set(KERNELS).difference(*map(taken, rows))
    assert missing == {
        "VGG 3-64 @32 input grad",
        "ResNet 3-16 @32 input grad",
    }, "nobody needs the gradient of the images"


def test_rows_take_what_they_say():
    assert "ResNet 16-16 @32 forward" in taken("3x3 convolution, stride 1, C >= 16: forward")
    assert not any(" s2" in case or " 3-" in case for case in taken("the same: backward-weights"))
    assert taken("stride 2") == {case for case in KERNELS if case.startswith("ResNet") and " s2" in case}


def test_what_converts_within_the_call_counts_only_where_both_sides_do():
    case = "depthwise 256 @8 forward"
    times = {side: {case: 1.0} for side in kernels.SIDES}
    times["torch from plain arrays"][case], times["torch"][case] = 0.5, 3.0
    assert compare.ratios(row("from plain arrays: depthwise"), times) == {case: 1.0}
    same = row("from plain arrays to plain arrays: depthwise")
    assert compare.ratios(same, times) == {case: 0.5}
    times["torch from plain arrays"][case], times["torch channels-last"][case] = 4.0, 0.1
    assert compare.ratios(same, times) == {case: 3.0}
    del times["torch from plain arrays"]
    assert compare.ratios(same, times) == {}, "an older run did not measure it"


def test_converting_pytorch_computes_what_the_others_do(monkeypatch):
    torch = pytest.importorskip("torch")
    small = {
        "plain": kernels.Convolution(2, 4, 6, 8, 3, 2, 1),
        "depthwise": kernels.Convolution(2, 4, 6, 4, 3, 1, 1, 4),
        "linear": kernels.Linear(3, 4, 5),
    }
    monkeypatch.setattr(kernels, "LAYERS", small)
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        found = [dict(kernels.cases(side)) for side in ("torch", kernels.SIDES[-1])]
        assert list(found[0]) == list(found[1])
        assert len(found[0]) == 9
        for name, call in found[0].items():
            result, other = call(), found[1][name]()
            result = (
                next(part for part in result if part is not None) if isinstance(result, tuple) else result
            )
            assert other.is_contiguous()
            assert torch.allclose(result, other, atol=1e-5)
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)


def test_the_best_peer_that_has_the_case_counts():
    times = {"emoref": {"sort, a": 1.0, "sort, b": 2.0}, "pymoo": {"sort, a": 3.0, "sort, b": 8.0}}
    times["pygmo"] = {"sort, a": 2.0}
    assert compare.ratios(row("non-dominated sort"), times) == {"sort, a": 2.0, "sort, b": 4.0}


@pytest.mark.parametrize(("peer_s", "verdict"), [(1.0, "**below**"), (1.5, "floor"), (2.5, "target")])
def test_verdicts(peer_s, verdict):
    times = {"inference": {"emoref": {"lenet": 1.0}, "torch": {"lenet": peer_s}}}
    (line,) = list(compare.table(times))[2:]
    assert line == f"| LeNet, inference of 256 | 1 | {peer_s:.2f} | {peer_s:.2f} | 1.5 | 2.5 | {verdict} |"


def test_a_stored_run_goes_on_and_is_not_mixed_with_another(tmp_path, monkeypatch):
    asked = []

    def measured(module, sides, threads, rounds, settings):
        asked.append((module, rounds))
        return {side: {"lenet": 1.0} for side in sides}

    monkeypatch.setattr(compare, "compare", measured)
    monkeypatch.setattr(compare, "machine", dict)
    store = tmp_path / "times.json"
    options = {"threads": 2, "rounds": 3, "avx2": False}
    compare.measure(options, store, ("inference",))
    record = compare.measure(options | {"rounds": 1}, store, ("inference", "training"))
    assert asked == [("bench.inference", 3), ("bench.training", 1)]
    assert record["rounds"] == {"inference": 3, "training": 1} == json.loads(store.read_text())["rounds"]
    assert "## bench/inference.py, 3 rounds" in compare.page(record)
    with pytest.raises(SystemExit, match="was measured with"):
        compare.measure(options | {"threads": 1}, store, ("inference",))


def test_settings_reach_the_measured_process(monkeypatch):
    seen = {}

    class Finished:
        stdout = 'words before\n{"case": 0.5}\n'

    def run(command, env, **_):
        seen.update(env, command=command)
        return Finished

    monkeypatch.setattr(peer.subprocess, "run", run)
    assert peer.run_side("bench.inference", "torch", 1, peer.AVX2) == {"case": 0.5}
    assert (seen["NUMBA_CPU_NAME"], seen["NUMBA_NUM_THREADS"]) == ("haswell", "1")
    assert seen["command"][1:] == ["-m", "bench.inference", "--side", "torch"]
