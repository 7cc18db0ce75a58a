"""The rules that join fronts: ranking, equal impairment, baselines, target mode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.errors import ConfigError
from emoref.systems.emo_dir_joint import (
    INTACT,
    Member,
    best_reaching,
    equal_impairment,
    equal_rates,
    first_reaching,
    front_of,
    impairment_schemes,
    random_schemes,
    ranked,
    saved_macs,
)

BY_HAND = [
    Member(0, 0, 60, 100, 9),
    Member(0, 1, 40, 100, 4),
    Member(0, 2, 0, 100, 0),
    Member(1, 0, 30, 80, 5),
    Member(1, 1, 10, 80, -1),
]


def test_ranking_and_schemes_by_hand():
    assert [(m.stage, m.index) for m in ranked(BY_HAND)] == [(1, 1), (0, 2), (0, 1), (1, 0), (0, 0)]
    schemes = impairment_schemes(BY_HAND, 2)
    assert [(s.level, s.choice) for s in schemes] == [
        (-1, (INTACT, 1)),
        (4, (1, 1)),
        (5, (1, 0)),
        (9, (0, 0)),
    ]
    assert [saved_macs(BY_HAND, s.choice) for s in schemes] == [10, 50, 70, 90]


members = st.lists(
    st.builds(Member, st.integers(0, 2), st.just(0), st.integers(0, 50), st.just(100), st.integers(-5, 30)),
    max_size=15,
)


@settings(deadline=None, max_examples=100)
@given(members, st.integers(-6, 31))
def test_a_scheme_takes_what_saves_most_within_the_level(drawn, theta):
    some = [Member(m.stage, i, m.saved_macs, m.stage_macs, m.impairment) for i, m in enumerate(drawn)]
    choice = equal_impairment(some, 3, theta)
    for stage, index in enumerate(choice):
        allowed = [m for m in some if m.stage == stage and m.impairment <= theta]
        best = max((m.saved_macs for m in allowed), default=0)
        got = 0 if index == INTACT else next(m.saved_macs for m in allowed if m.index == index)
        assert got == best
    savings = [saved_macs(some, s.choice) for s in impairment_schemes(some, 3)]
    assert savings == sorted(savings)


def test_baselines_take_one_member_of_each_stage():
    drawn = random_schemes(BY_HAND, 2, 50, np.random.default_rng(0))
    assert {s.choice for s in drawn} == {(i, j) for i in range(3) for j in range(2)}
    assert [s.choice for s in random_schemes(BY_HAND, 2, 5, np.random.default_rng(1))] == [
        s.choice for s in random_schemes(BY_HAND, 2, 5, np.random.default_rng(1))
    ]
    # Rates 0.2, 0.4, 0.6; stage 1 has 0.6, 0.4 and 0, stage 2 has 0.375 and 0.125.
    assert [s.choice for s in equal_rates(BY_HAND, 2, 3)] == [(2, 1), (1, 0), (0, 0)]


def test_front_target_and_rivals():
    saved, wrong = [10, 50, 50, 70, 90], [3, 5, 4, 9, 8]
    assert front_of(saved, wrong).tolist() == [0, 2, 4]
    assert front_of([], []).tolist() == []
    assert first_reaching(saved, 50, 100, 0.5) == 1
    assert best_reaching(saved, wrong, 50) == 2
    assert best_reaching(saved, wrong, 60) == 4
    assert best_reaching(saved, wrong, 91) is None
    with pytest.raises(ConfigError, match=r"saves 95\.0% .* best reachable is 90\.0%"):
        first_reaching(saved, 95, 100, 0.95)
