"""Checks of an installation: golden values for every back end, and other libraries on the same values.

:func:`verify` runs the checks and yields plain records; the command line prints them. The recorded values are
in ``golden.h5`` beside this file, see ``docs/golden.md``.
"""

from emoref.verify.golden import GOLDEN_PATH, Golden, GoldenCase, GoldenTraining, load_golden
from emoref.verify.records import CheckResult, relative_error
from emoref.verify.suites import PEERS, Peer, available_backends, check_backend, verify

__all__ = [
    "GOLDEN_PATH",
    "PEERS",
    "CheckResult",
    "Golden",
    "GoldenCase",
    "GoldenTraining",
    "Peer",
    "available_backends",
    "check_backend",
    "load_golden",
    "relative_error",
    "verify",
]
