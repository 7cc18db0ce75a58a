"""The libraries that the conformance kit knows, each imported when it is asked for.

Another library is one module here with a function that returns a `Library`, and one row in `ADAPTERS`.
"""

import importlib
from dataclasses import dataclass

from emoref.errors import ConfigError
from emoref.verify.conformance.protocol import Library
from emoref.verify.peer import require

__all__ = ["ADAPTERS", "Adapter", "load_library"]


@dataclass(frozen=True)
class Adapter:
    """Where a library comes from.

    Attributes
    ----------
    name : str
        What the command line calls it.
    module : str
        What has to be importable.
    extra : str
        The extra of emoref that installs it.
    loader : str
        Module of this package, and after a colon the function that returns the `Library`, with the text after
        a second colon as its argument.
    """

    name: str
    module: str
    extra: str
    loader: str

    def load(self) -> Library:
        """Import the library and describe it.

        Returns
        -------
        Library
            Its functions.

        Raises
        ------
        MissingDependencyError
            If it is not installed; names the extra.
        """
        require(self.name, self.module, self.extra)
        file, function, *arguments = self.loader.split(":")
        found: Library = getattr(importlib.import_module(f"{__name__}.{file}"), function)(*arguments)
        return found


ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        Adapter("emoref", "emoref", "", "emoref_adapter:library:theta"),
        Adapter("emoref-deb2014", "emoref", "", "emoref_adapter:library:deb2014"),
        Adapter("emoref-pymoo", "emoref", "", "emoref_adapter:library:pymoo"),
        Adapter("emoref-aspiration", "emoref", "", "emoref_adapter:aspiration_library"),
        Adapter("pymoo", "pymoo", "oracles", "pymoo_adapter:library"),
        Adapter("deap", "deap", "peers", "deap_adapter:library"),
        Adapter("pygmo", "pygmo", "peers", "pygmo_adapter:library"),
    )
}
"""Every library, by name. ``emoref`` is emoref with its defaults; the next three promise less."""


def load_library(name: str) -> Library:
    """Return the description of a library.

    Parameters
    ----------
    name : str
        A key of `ADAPTERS`.

    Returns
    -------
    Library
        Its functions.

    Raises
    ------
    ConfigError
        If there is no such adapter.
    MissingDependencyError
        If the library is not installed.
    """
    if name not in ADAPTERS:
        raise ConfigError(f"no library to check is called {name!r}; use {', '.join(ADAPTERS)}")
    return ADAPTERS[name].load()
