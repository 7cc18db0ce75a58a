"""Coders: a layout, perhaps with Huffman coding, that turns symbols into bits and back.

The size of what a coder writes is known without writing it: :func:`coded_bits`. The encoded stream has
exactly this many bits, and decoding it gives the symbols back.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoref.compress.coding.bits import BitReader, BitWriter
from emoref.compress.coding.huffman import huffman_bits, read_huffman, write_huffman
from emoref.compress.coding.layouts import (
    LAYOUTS,
    bitmap_bits,
    coo_bits,
    dense_bits,
    position_bits,
    relative_bits,
    relative_entries,
    zero_runs,
)
from emoref.errors import ConfigError, FileFormatError

__all__ = [
    "ALL_CODERS",
    "Coder",
    "Encoded",
    "coded_bits",
    "decode",
    "encode",
    "smallest_coder",
    "stored_symbols",
]

MAX_INDEX_BITS = 16
"""Bits of the widest run of the relative layout."""

_NAME = re.compile(r"(?P<layout>[a-z]+)(-(?P<index>[0-9]{1,2}))?(?P<huffman>\+huffman)?")
_KNOWN = f'"dense", "bitmap", "coo", "relative-1" to "relative-{MAX_INDEX_BITS}", each also with "+huffman"'


@dataclass(frozen=True)
class Coder:
    """One way to write symbols.

    Its text is the name that :meth:`parse` reads, e.g. ``relative-4+huffman``.

    Attributes
    ----------
    layout : {"dense", "bitmap", "coo", "relative"}
        How symbols become streams; see :mod:`emoref.compress.coding.layouts`.
    index_bits : int
        Layout "relative": bits of a run, 1 to 16. Other layouts: 0.
    huffman : bool
        Whether symbols (and runs) are Huffman coded; see :mod:`emoref.compress.coding.huffman`.

    Raises
    ------
    ConfigError
        If there is no such coder; lists the known ones.
    """

    layout: str
    index_bits: int = 0
    huffman: bool = False

    def __post_init__(self) -> None:
        widths = range(1, MAX_INDEX_BITS + 1) if self.layout == "relative" else (0,)
        if self.layout not in LAYOUTS or self.index_bits not in widths:
            raise ConfigError(f"there is no coder {str(self)!r}; known are {_KNOWN}")

    def __str__(self) -> str:
        index = f"-{self.index_bits}" if self.index_bits else ""
        return f"{self.layout}{index}{'+huffman' if self.huffman else ''}"

    @classmethod
    def parse(cls, name: str) -> "Coder":
        """Return the coder called `name`.

        Examples
        --------
        >>> Coder.parse("relative-4+huffman")
        Coder(layout='relative', index_bits=4, huffman=True)
        """
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        coder = cls(match["layout"], int(match["index"] or 0), bool(match["huffman"])) if match else None
        if coder is None or str(coder) != name:
            raise ConfigError(f"there is no coder {name!r}; known are {_KNOWN}")
        return coder


ALL_CODERS = tuple(
    Coder(layout, index_bits, huffman)
    for huffman in (False, True)
    for layout in LAYOUTS
    for index_bits in (range(1, MAX_INDEX_BITS + 1) if layout == "relative" else (0,))
)
"""All coders, plain ones first: the order in which ties are broken."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Symbols as bits, with what a reader has to know.

    Attributes
    ----------
    data : uint8 array
        The stream; its last byte is filled up with zeros.
    size_bits : int
        Bits of the stream.
    coder : Coder
        What wrote it.
    bits : int
        Bits of a symbol.
    size : int
        Number of symbols.
    entries : int
        Number of symbols stored: those that are not 0 in bitmap and coo, these and the fillers in relative,
        all in dense.
    """

    data: NDArray[np.uint8]
    size_bits: int
    coder: Coder
    bits: int
    size: int
    entries: int


def encode(symbols: NDArray[np.uint32], bits: int, coder: Coder) -> Encoded:
    """Write symbols.

    Parameters
    ----------
    symbols : uint32 array, shape (N,)
        Numbers below ``2**bits``; 0 for the weight 0.
    bits : int
        q, 1 to 16.
    coder : Coder
        How.

    Returns
    -------
    Encoded
        Exactly :func:`coded_bits` bits.

    Raises
    ------
    ConfigError
        If `bits` is out of range.
    ShapeError, DtypeError
        If the symbols are not one-dimensional uint32 below ``2**bits``.
    """
    _check_symbol_bits(bits)
    streams = LAYOUTS[coder.layout].split(symbols, bits, coder.index_bits)
    writer = BitWriter(coded_bits(symbols, bits, coder))
    for stream in streams:
        if coder.huffman and stream.coded:
            write_huffman(writer, stream.numbers, stream.width)
        else:
            writer.fields(stream.numbers, stream.width)
    return Encoded(writer.data, writer.position, coder, bits, len(symbols), len(streams[-1].numbers))


def decode(encoded: Encoded) -> NDArray[np.uint32]:
    """Return the symbols that :func:`encode` wrote.

    Parameters
    ----------
    encoded : Encoded
        The stream. Nothing it claims is trusted: no more is allocated than ``encoded.size`` symbols and what
        the stream itself can hold.

    Returns
    -------
    uint32 array, shape (N,)
        The symbols.

    Raises
    ------
    FileFormatError
        If the stream is damaged, too short or too long.
    """
    _check_claims(encoded)
    coder, layout = encoded.coder, LAYOUTS[encoded.coder.layout]
    reader = BitReader(encoded.data)
    streams = []
    for count, width, coded in layout.streams(encoded.size, encoded.entries, encoded.bits, coder.index_bits):
        if coder.huffman and coded:
            streams.append(read_huffman(reader, count, width))
        else:
            streams.append(reader.fields(count, width))
    if reader.position != encoded.size_bits:
        raise FileFormatError(f"the stream has {reader.position:,} bits, {encoded.size_bits:,} are claimed")
    reader.finish()
    return layout.join(streams, encoded.size, coder.index_bits)


def _check_claims(encoded: Encoded) -> None:
    """Raise if the stream cannot hold what is claimed: a stored symbol, or a bitmap's mark, takes a bit."""
    room = 8 * len(encoded.data)
    needed = encoded.size if encoded.coder.layout in ("dense", "bitmap") else encoded.entries
    if max(needed, encoded.entries) > room or encoded.entries > encoded.size:
        raise FileFormatError(
            f"{encoded.entries:,} of {encoded.size:,} weights are claimed, the stream has {room:,} bits"
        )


def coded_bits(symbols: NDArray[np.uint32], bits: int, coder: Coder) -> int:
    """Return the exact size in bits of what :func:`encode` would write; nothing is written.

    Parameters
    ----------
    symbols, bits, coder
        As for :func:`encode`.

    Returns
    -------
    int
        The size.

    Examples
    --------
    Ten symbols of 4 bits, three of them not 0; 2-bit runs need a filler for the run of five zeros:

    >>> import numpy as np
    >>> symbols = np.array([0, 7, 0, 0, 0, 0, 0, 9, 1, 0], dtype=np.uint32)
    >>> [coded_bits(symbols, 4, Coder.parse(name)) for name in ("dense", "bitmap", "coo", "relative-2")]
    [40, 22, 24, 24]
    """
    _check_symbol_bits(bits)
    return _Statistics(symbols, bits).size_bits(coder)


def smallest_coder(
    symbols: NDArray[np.uint32], bits: int, coders: Iterable[Coder] = ALL_CODERS
) -> tuple[Coder, int]:
    """Return the coder that writes the fewest bits, and how many.

    Parameters
    ----------
    symbols, bits
        As for :func:`encode`.
    coders : iterable of Coder
        The choice; of equally good ones the first is taken.

    Returns
    -------
    coder : Coder
        The best one.
    size_bits : int
        What it needs.

    Raises
    ------
    ConfigError
        If `bits` is out of range or there is no choice at all.
    """
    _check_symbol_bits(bits)
    statistics = _Statistics(symbols, bits)
    sizes = {coder: statistics.size_bits(coder) for coder in coders}
    if not sizes:
        raise ConfigError("coders: at least one is needed")
    best = min(sizes, key=lambda coder: sizes[coder])
    return best, sizes[best]


def stored_symbols(symbols: NDArray[np.uint32], coder: Coder) -> int:
    """Return how many of the `symbols` the stream of `coder` holds, see ``Encoded.entries``."""
    if coder.layout == "dense":
        return len(symbols)
    runs = zero_runs(symbols)
    return relative_entries(runs, coder.index_bits) if coder.layout == "relative" else len(runs)


class _Statistics:
    """What the sizes of all coders follow from: runs of zeros, and how often each symbol occurs."""

    def __init__(self, symbols: NDArray[np.uint32], bits: int) -> None:
        self.size, self.bits = len(symbols), bits
        self.runs = zero_runs(symbols)
        self._symbols = symbols
        self._counts: NDArray[np.int64] | None = None
        self._huffman: dict[int, int] = {}

    def size_bits(self, coder: Coder) -> int:
        n, a, q, b = self.size, len(self.runs), self.bits, coder.index_bits
        if coder.layout == "relative":
            entries = relative_entries(self.runs, b)
            if not coder.huffman:
                return relative_bits(entries, q, b)
            return self._huffman_bits(zeros=entries - a) + huffman_bits(self._run_counts(b), b)
        if coder.layout == "dense":
            return self._huffman_bits(zeros=n - a) if coder.huffman else dense_bits(n, q)
        if coder.layout == "bitmap":
            return n + self._huffman_bits(zeros=0) if coder.huffman else bitmap_bits(n, a, q)
        return a * position_bits(n) + self._huffman_bits(zeros=0) if coder.huffman else coo_bits(n, a, q)

    def _huffman_bits(self, zeros: int) -> int:
        """Return the size of the symbols that are not 0 and of so many zeros as one coded block."""
        if self._counts is None:
            self._counts = np.bincount(self._symbols, minlength=1)
        if zeros not in self._huffman:
            self._counts[0] = zeros
            self._huffman[zeros] = huffman_bits(self._counts, self.bits)
        return self._huffman[zeros]

    def _run_counts(self, index_bits: int) -> NDArray[np.int64]:
        longest = (1 << index_bits) - 1
        counts = np.bincount(self.runs & longest, minlength=longest + 1)
        counts[longest] += int((self.runs >> index_bits).sum())
        return counts


def _check_symbol_bits(bits: int) -> None:
    if not 1 <= bits <= 16:
        raise ConfigError(f"symbols have 1 to 16 bits, not {bits!r}")
