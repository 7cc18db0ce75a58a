"""The conformance kit: hold a library's multi-objective algorithms against properties that they should have.

A library is described by a `Library`, a handful of plain functions; `check_library` tries every property
on it and yields, for each that does not hold, the smallest counter-example it finds. See
``docs/conformance.md``.
"""

from emoref.verify.conformance.check import Property, check_library, properties
from emoref.verify.conformance.protocol import STEPS, Library, reference_points

__all__ = ["STEPS", "Library", "Property", "check_library", "properties", "reference_points"]
