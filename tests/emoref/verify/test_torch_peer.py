import dataclasses

import pytest

from emoref.verify import load_golden, torch_peer, verify
from emoref.verify.operations import OPERATIONS
from emoref.verify.suites import TRAINING_CHECK

torch = pytest.importorskip("torch")

PARETO = {"nondominated_ranks", "crowding_distance", "hypervolume"}
GOLDEN = load_golden()


def test_pytorch_agrees_with_every_golden_case():
    results = list(verify(against="torch"))
    assert [result.check for result in results] == [*torch_peer.OPERATIONS, TRAINING_CHECK]
    assert {result.subject for result in results} == {"torch (float64)"}
    failed = [result for result in results if not result.passed]
    assert not failed, failed


def test_everything_but_the_pareto_kernels_is_compared():
    assert set(torch_peer.OPERATIONS) == set(OPERATIONS) - PARETO


def test_every_result_is_compared_but_what_pytorch_does_not_keep():
    left_out = {
        (case.operation, name)
        for case in GOLDEN.cases
        if case.operation not in PARETO
        for name in set(case.results) - set(torch_peer.results(case))
    }
    assert left_out == {("sgd_update", "new_velocity")}


def test_a_wrong_golden_value_is_found():
    case = GOLDEN.cases_of("tanh")[0]
    wrong = dataclasses.replace(case, results={**case.results, "y": case.results["y"] + 1e-9})
    others = tuple(other for other in GOLDEN.cases if other is not case)
    results = verify(against="torch", golden=dataclasses.replace(GOLDEN, cases=(wrong, *others)))
    failed = [result.check for result in results if not result.passed]
    assert failed == ["tanh"]
