"""Another library that can be checked."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from emoref.errors import MissingDependencyError
from emoref.verify.golden import Golden
from emoref.verify.records import CheckResult, Finding

__all__ = ["Peer", "require"]


def require(name: str, module: str, extra: str) -> None:
    """Make sure that a library can be imported.

    Parameters
    ----------
    name : str
        Name of the library.
    module : str
        What to import.
    extra : str
        The extra of emoref that installs it.

    Raises
    ------
    MissingDependencyError
        If it cannot be imported; names the extra.
    """
    try:
        importlib.import_module(module)
    except ImportError:
        raise MissingDependencyError(
            f'{name} is not installed; install it with: pip install "emoref[{extra}]"'
        ) from None


@dataclass(frozen=True)
class Peer:
    """Another library, and how it is checked.

    Attributes
    ----------
    name : str
        What ``--against`` takes.
    extra : str
        The extra of emoref that installs it.
    run : callable
        Called with the golden values, which only those peers need that compute the same functions; yields
        one record a check.
    module : str
        What to import; the name unless given.
    """

    name: str
    extra: str
    run: Callable[[Golden], Iterator[CheckResult] | Iterator[Finding]]
    module: str = ""

    def check(self, golden: Golden) -> Iterator[CheckResult | Finding]:
        """Check the library.

        Parameters
        ----------
        golden : Golden
            What is right, where values are compared.

        Yields
        ------
        CheckResult or Finding
            One for each comparison, or for each property.

        Raises
        ------
        MissingDependencyError
            If the library is not installed; names the extra.
        """
        require(self.name, self.module or self.name, self.extra)
        yield from self.run(golden)
