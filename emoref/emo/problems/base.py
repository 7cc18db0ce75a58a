"""What all test problems have in common: checked candidates, and a true front that can be asked."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.fronts import Front
from emoref.emo.reference_points import check_reference_points
from emoref.errors import ProblemError, ShapeError

__all__ = ["Benchmark", "whole"]

Array = NDArray[np.float64]


class Benchmark:
    """Base of all test problems.

    A problem defines `_evaluate`, which gets checked candidates, and `_make_front`.

    Attributes
    ----------
    n_var, n_obj : int
        Numbers of variables and of objectives.
    lower, upper : numpy.ndarray
        Bounds (n_var,), both included.
    kind : str
        ``"real"`` or ``"binary"``.
    true_front : Front
        The published true front; see `emoref.emo.problems.fronts`.
    """

    n_var: int
    n_obj: int
    lower: Any
    upper: Any
    kind = "real"

    def evaluate(self, X: Any) -> Any:
        """Return what the candidates are worth.

        Parameters
        ----------
        X
            Candidates (N, n_var), finite and within the bounds.

        Returns
        -------
        numpy.ndarray or tuple of numpy.ndarray
            Objectives F (N, n_obj); with constraints, (F, G), feasible where ``G <= 0``. Rows do not
            influence each other.

        Raises
        ------
        ShapeError
            If `X` does not have n_var columns.
        ProblemError
            If a value is no finite number or lies outside its bounds.
        """
        return self._evaluate(self._checked(X))

    def front(self, count: int = 500) -> Array:
        """Return points of the true front, evenly placed where it has few dimensions.

        Parameters
        ----------
        count
            About how many points, at least 1; see `Front.sample`.

        Returns
        -------
        numpy.ndarray
            Points (n, n_obj), none dominated by another.
        """
        whole(f"{type(self).__name__}.front", "count", count, 1)
        return self.true_front.sample(count)

    def targets(self, reference_points: Any) -> Array:
        """Return where the lines through reference points meet the true front.

        The lines start at the ideal point, and a reference point is understood in normalised objectives,
        in which the ideal point is 0 and the nadir point 1. The targets are the points against which Deb
        and Jain (2014) measure the inverted generational distance.

        Parameters
        ----------
        reference_points
            Points (H, n_obj); see `emoref.emo.das_dennis`.

        Returns
        -------
        numpy.ndarray
            Points of the true front (H, n_obj), fewer if some of the lines miss it.

        Raises
        ------
        ShapeError, ProblemError
            If the reference points are none (see `check_reference_points`), or the front is of a kind that
            lines miss: a curve among many objectives, separate pieces, or single points.
        """
        W = check_reference_points(reference_points, self.n_obj)
        points = self.true_front.on_rays(W)
        return points[np.isfinite(points).all(axis=1)]

    def residual(self, F: Any) -> Array:
        """Return how far objective values `F` (N, n_obj) are from the true front, (N,).

        0 means on it and positive behind it; infeasible points may be before it. The unit depends on the
        front, see its class in `emoref.emo.problems.fronts`.
        """
        values = np.asarray(F, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.n_obj:
            raise ShapeError(f"F has shape {values.shape}; it must be (rows, {self.n_obj})")
        return self.true_front.residual(values)

    def front_hypervolume(self, reference: Any) -> float:
        """Return the hypervolume of the whole true front, not of a sample.

        Parameters
        ----------
        reference
            Reference point (n_obj,), in no objective below the nadir point.

        Raises
        ------
        ShapeError, ProblemError
            If the reference point does not fit, or no closed form is known.
        """
        point = np.asarray(reference, dtype=np.float64)
        if point.shape != (self.n_obj,):
            raise ShapeError(f"the reference point has shape {point.shape}; it must be ({self.n_obj},)")
        # NaN is not at least anything.
        if not (np.isfinite(point).all() and (point >= self.nadir - 1e-12).all()):
            raise ProblemError(
                f"the reference point is {point.tolist()}; it must be finite and at least the nadir point "
                f"{self.nadir.tolist()}"
            )
        volume = self.true_front.hypervolume(point)
        if volume is None:
            raise ProblemError(
                f"no closed form is known for the hypervolume of {type(self).__name__}; "
                "take emoref.emo.hypervolume of front(count)"
            )
        return volume

    @property
    def ideal(self) -> Array:
        """Smallest value of each objective on the true front, (n_obj,)."""
        return self.true_front.ideal

    @property
    def nadir(self) -> Array:
        """Largest value of each objective on the true front, (n_obj,)."""
        return self.true_front.nadir

    @cached_property
    def true_front(self) -> Front:
        """The published true front."""
        return self._make_front()

    def __getstate__(self) -> dict[str, Any]:
        # A front holds functions that cannot be sent to another process; it is made again when asked for.
        return {name: value for name, value in self.__dict__.items() if name != "true_front"}

    def _make_front(self) -> Front:
        raise NotImplementedError

    def _evaluate(self, X: Any) -> Any:
        raise NotImplementedError

    def _checked(self, X: Any) -> NDArray[Any]:
        name = type(self).__name__
        values = np.asarray(X)
        if values.dtype.kind not in "fiub":
            raise ProblemError(f"{name}.evaluate: X is {values.dtype}; candidates must be real numbers")
        if values.ndim != 2 or values.shape[1] != self.n_var:
            raise ShapeError(f"{name}.evaluate: X has shape {values.shape}; it must be (rows, {self.n_var})")
        if self.kind == "binary":
            if values.dtype.kind == "b":
                return values
            good = (values == 0) | (values == 1)
        else:
            # Sums along rows round the same for one row and for many only if rows lie one after the other.
            values = np.ascontiguousarray(values, dtype=np.float64)
            # NaN is within nothing.
            good = values >= self.lower
            good &= values <= self.upper
        if not good.all():
            row, i = np.argwhere(~good)[0]
            low, high = (np.broadcast_to(bound, (self.n_var,))[i] for bound in (self.lower, self.upper))
            allowed = "0 and 1" if self.kind == "binary" else f"the values from {low} to {high}"
            raise ProblemError(
                f"{name}.evaluate: X[{row}, {i}] is {values[row, i]}; variable {i} may have {allowed}"
            )
        return values.astype(np.bool_) if self.kind == "binary" else values


def whole(owner: str, name: str, value: Any, least: int) -> int:
    """Return a setting that must be a whole number.

    Parameters
    ----------
    owner
        Whose setting, for the message.
    name
        Name of the setting.
    value
        Its value.
    least
        The smallest that makes sense.

    Raises
    ------
    ProblemError
        If it is no integer, or smaller than that.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ProblemError(f"{owner} has {name} = {value!r}; it must be an integer of at least {least}")
    return int(value)
