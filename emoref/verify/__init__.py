"""Checks of an installation, and of other libraries.

:func:`verify` runs the checks and yields plain records; the command line prints them. Golden values for every
back end are in ``golden.h5`` beside this file, see ``docs/golden.md``; properties that algorithms should have
in `emoref.verify.conformance`, see ``docs/conformance.md``; the published tables in
`emoref.verify.published` and `emoref.verify.full`.
"""

from emoref.verify.golden import GOLDEN_PATH, Golden, GoldenCase, GoldenTraining, load_golden
from emoref.verify.peer import Peer
from emoref.verify.records import CheckResult, Finding, relative_error
from emoref.verify.suites import PEERS, available_backends, check_backend, verify

__all__ = [
    "GOLDEN_PATH",
    "PEERS",
    "CheckResult",
    "Finding",
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
