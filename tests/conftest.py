"""What every test can use: a deterministic hypothesis profile and the real data sets, where they are."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "emoref",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("emoref")


@pytest.fixture(scope="session")
def need_data():
    """Return a function that skips the test where a data set is not on this machine."""

    def need(name: str) -> None:
        from emoref.data import locate

        if locate(name) is None:
            pytest.skip(f"data set {name!r} not found; set EMOREF_DATA to the folder that holds it")

    return need
