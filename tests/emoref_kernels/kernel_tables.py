"""Tables of operations by name, for tests of all of them: the back ends, and the layout of maps."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from emoref_kernels import Backend, load_backend
from emoref_kernels.cpu.maps import Maps


def load_table(name: str) -> Backend:
    """Return a back end; "cpu maps" is the cpu's on channels-last maps, whose results come back as arrays."""
    if name != "cpu maps":
        return load_backend(name)
    table = load_backend("cpu", layout="channels-last")
    functions = {
        label: partial(_fetched, value)
        for label, value in ((each.name, getattr(table, each.name)) for each in fields(Backend))
        if callable(value)
    }
    return replace(table, **functions)


def _fetched(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    result = function(*arguments, **options)
    if isinstance(result, tuple | list):
        return type(result)(_checked_array(value) for value in result)
    return _checked_array(result)


def _checked_array(value: Any) -> Any:
    """Return maps as an array, once their padding has been looked at."""
    if not isinstance(value, Maps):
        return value
    padding, array = value.pixels[..., value.channels :], np.asarray(value)
    assert np.isnan(array).any() or not padding.any(), "padding is not zero"
    return array
