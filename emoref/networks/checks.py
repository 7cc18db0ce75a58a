"""Checks of options that several networks share."""

from collections.abc import Sequence

from emoref.errors import NetworkError

__all__ = ["check_widths"]


def check_widths(
    name: str, widths: Sequence[int], count: int, what: str = "hidden layers"
) -> tuple[int, ...]:
    """Return the widths of a network as a tuple, or raise NetworkError if there are not `count` of them."""
    widths = tuple(widths)
    if len(widths) != count:
        raise NetworkError(f"network {name!r} has {count} {what}, got widths {widths}")
    return widths
