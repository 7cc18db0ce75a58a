"""Numeric kernels of emoref: pure functions on arrays, once in plain NumPy and once fast.

``load_backend(name)`` gives a :class:`Backend`, one table of functions. Every back end offers the same
functions with the same arguments; ``"reference"`` defines what they mean.
"""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from numpy.typing import NDArray

from .errors import BackendError, DtypeError, EmorefError, ShapeError

__all__ = [
    "Backend",
    "BackendError",
    "DtypeError",
    "EmorefError",
    "ShapeError",
    "backend_names",
    "load_backend",
]

_PACKAGES = {"reference": ".reference", "cpu": ".cpu", "cuda": ".cuda"}

_MODES = {"reference": ("exact",), "cpu": ("fast", "exact"), "cuda": ("fast", "exact")}
"""Modes of each back end, the default first; another mode is a module of the back end's package."""

_LAYOUTS = {"reference": ("planes",), "cpu": ("planes", "channels-last"), "cuda": ("planes",)}
"""Layouts of (N, C, H, W) arrays, the default first."""

_LABELS = ("name", "mode", "layout")

_ArrayFunction = Callable[..., NDArray[Any]]
_ArraysFunction = Callable[..., tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]


@dataclass(frozen=True)
class Backend:
    """A table of functions, one for every operation of the contract.

    The arguments, shapes and results of a function are documented at its reference twin, for instance
    ``emoref_kernels.reference.conv2d``.
    """

    name: str
    mode: str
    layout: str

    conv2d: _ArrayFunction
    conv2d_input_grad: _ArrayFunction
    conv2d_weight_grad: _ArrayFunction
    conv2d_bias_grad: _ArrayFunction

    linear: _ArrayFunction
    linear_input_grad: _ArrayFunction
    linear_weight_grad: _ArrayFunction
    linear_bias_grad: _ArrayFunction

    batch_norm: _ArrayFunction
    batch_norm_train: _ArraysFunction
    batch_norm_train_grad: _ArraysFunction
    batch_norm_sum_grad: Callable[..., tuple[NDArray[Any], ...]]
    batch_norm_grad: _ArraysFunction
    local_response_norm: _ArrayFunction
    local_response_norm_grad: _ArrayFunction

    relu: _ArrayFunction
    relu_grad: _ArrayFunction
    tanh: _ArrayFunction
    tanh_grad: _ArrayFunction
    add: _ArrayFunction
    concat: _ArrayFunction
    concat_grad: Callable[..., list[NDArray[Any]]]
    dropout: _ArrayFunction
    dropout_grad: _ArrayFunction

    max_pool2d: _ArrayFunction
    max_pool2d_grad: _ArrayFunction
    avg_pool2d: _ArrayFunction
    avg_pool2d_grad: _ArrayFunction
    global_avg_pool2d: _ArrayFunction
    global_avg_pool2d_grad: _ArrayFunction

    softmax: _ArrayFunction
    softmax_cross_entropy: Callable[..., float]
    softmax_cross_entropy_grad: _ArrayFunction
    distillation_loss: Callable[..., float]
    distillation_loss_grad: _ArrayFunction

    sgd_update: Callable[..., None]
    adam_update: Callable[..., None]

    nondominated_ranks: _ArrayFunction
    crowding_distance: _ArrayFunction
    hypervolume: Callable[..., float]

    def __repr__(self) -> str:
        kind = self.name.partition("+")[0]  # what wraps a back end adds its own name to it
        mode = f", mode={self.mode!r}" if self.mode != _MODES[kind][0] else ""
        layout = f", layout={self.layout!r}" if self.layout != _LAYOUTS[kind][0] else ""
        return f"Backend({self.name!r}{mode}{layout})"


@cache
def _load(name: str, mode: str, layout: str) -> Backend:
    """Import the package of a known back end and collect its functions."""
    package = importlib.import_module(_PACKAGES[name], __name__)
    if name == "cpu":
        importlib.import_module(".cpu.memory", __name__).keep_freed_memory()
    functions = {
        field.name: getattr(package, field.name) for field in fields(Backend) if field.name not in _LABELS
    }
    if mode != _MODES[name][0]:
        changed = importlib.import_module(f"{_PACKAGES[name]}.{mode}", __name__)
        functions |= {operation: getattr(changed, operation) for operation in changed.__all__}
    if layout != _LAYOUTS[name][0]:
        functions |= importlib.import_module(".cpu.channels_last", __name__).operations(mode)
    return Backend(name=name, mode=mode, layout=layout, **functions)


def backend_names() -> tuple[str, ...]:
    """Return the names that :func:`load_backend` knows."""
    return tuple(_PACKAGES)


def load_backend(name: str, mode: str | None = None, layout: str = "planes") -> Backend:
    """Return the table of functions of a back end; its package is imported at the first call.

    Parameters
    ----------
    name
        ``"reference"`` (plain NumPy, float32 and float64, the definition of every function), ``"cpu"``
        (Numba, float32, fast; each function is compiled at its first call) or ``"cuda"`` (the same on an
        NVIDIA GPU). ``"cpu:exact"`` is short for the name "cpu" and the mode "exact"; ``"cuda:1"`` chooses
        the device with the number 1.
    mode
        Of "cpu" and "cuda": ``"fast"`` (the default) lets 3 x 3 convolutions use Winograd's F(4x4, 3x3),
        ``"exact"`` does not; their errors are bounded in `emoref_kernels.cpu.planner`. The mode is a
        property of the table returned, so several threads can use both at once. "reference" is always
        "exact".
    layout
        How arrays (N, C, H, W) lie in memory: as NumPy arrays ("planes"), or, of "cpu", as
        :class:`emoref_kernels.cpu.maps.Maps` ("channels-last"), in which networks train faster. Functions
        of that layout take both and give maps.

    Returns
    -------
    Backend
        The same object for the same name, mode and layout.

    Raises
    ------
    BackendError
        If there is no back end of that name, or if it has no such mode or layout; for "cuda" also if there
        is no driver or no such device, or the device is too old.
    """
    device = None
    if mode is None and isinstance(name, str) and ":" in name:
        name, mode = name.split(":", 1)
        if name == "cuda" and mode.isdigit():
            device, mode = int(mode), None
    if name in _PACKAGES:
        chosen = mode if mode is not None else _MODES[name][0]
        if chosen not in _MODES[name]:
            modes = " and ".join(f'"{known_mode}"' for known_mode in _MODES[name])
            raise BackendError(f'back end "{name}" has no mode {chosen!r}; it has {modes}')
        if layout not in _LAYOUTS[name]:
            layouts = " and ".join(f'"{known_layout}"' for known_layout in _LAYOUTS[name])
            raise BackendError(f'back end "{name}" has no layout {layout!r}; it has {layouts}')
        if name == "cuda":
            importlib.import_module(".cuda.provider", __name__).require_device(device)
        return _load(name, chosen, layout)
    *first, last = (f'"{known_name}"' for known_name in _PACKAGES)
    known = f"{', '.join(first)} and {last}"
    nearest = difflib.get_close_matches(str(name).lower(), _PACKAGES, n=1, cutoff=0.4)
    hint = f'; did you mean "{nearest[0]}"?' if nearest else ""
    raise BackendError(f"there is no back end {name!r}; the known ones are {known}{hint}")
