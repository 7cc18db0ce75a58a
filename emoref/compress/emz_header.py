"""The header of an ``.emz`` file: the architecture and one entry for each parameter, as JSON."""

import json
import math
from dataclasses import dataclass
from typing import Any

from emoref.compress.coding import Coder
from emoref.compress.quantize import MAX_BITS, MIN_BITS
from emoref.errors import ConfigError, FileFormatError, NetworkError
from emoref.nn import Network

__all__ = ["Entry", "read_header"]

_DTYPES = {"float32": 32, "float64": 64}
_MOST = 2**63 - 1


@dataclass
class Entry:
    """What the header says about one parameter, and its section.

    Attributes
    ----------
    name : str
        The parameter, e.g. ``"conv1.weight"``.
    shape : tuple of int
        Its shape.
    kind : {"raw", "uniform", "codebook"}
        Plain numbers, codes on a grid, or numbers of shared levels.
    crc32 : int
        CRC-32 of the section.
    dtype : {"float32", "float64"}
        Kind "raw": the type of the numbers.
    bits : int
        Other kinds: bits of a symbol.
    coder : Coder or None
        Other kinds: what wrote the stream.
    entries : int
        Other kinds: how many symbols the stream holds.
    coded_bits : int
        Other kinds: bits of the stream.
    grids : int
        Kind "uniform": number of scales, 1 or one for each output channel.
    symmetric, half : bool
        Kind "uniform": the kind of grid, and whether values are rounded to half precision.
    levels : int
        Kind "codebook": number of levels.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    crc32: int = 0
    dtype: str = "float32"
    bits: int = 0
    coder: Coder | None = None
    entries: int = 0
    coded_bits: int = 0
    grids: int = 0
    symmetric: bool = True
    half: bool = False
    levels: int = 0

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def stream_bits(self) -> int:
        """Bits of the stream, or of the plain numbers."""
        return self.size * _DTYPES[self.dtype] if self.kind == "raw" else self.coded_bits

    @property
    def side_bits(self) -> int:
        """Bits of scales (32 each), zero points (16 each) or levels (32 each)."""
        return self.grids * (32 if self.symmetric else 48) + 32 * self.levels

    @property
    def section_bytes(self) -> int:
        """Bytes of the section."""
        return self.side_bits // 8 + -(-self.stream_bits // 8)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-able values; every checksum has eight hexadecimal digits."""
        common = {
            "name": self.name,
            "shape": list(self.shape),
            "kind": self.kind,
            "crc32": f"{self.crc32:08x}",
        }
        if self.kind == "raw":
            return {**common, "dtype": self.dtype}
        stream = {
            "bits": self.bits,
            "coder": str(self.coder),
            "entries": self.entries,
            "coded_bits": self.coded_bits,
        }
        if self.kind == "codebook":
            return {**common, **stream, "levels": self.levels}
        return {**common, **stream, "grids": self.grids, "symmetric": self.symmetric, "half": self.half}


def read_header(text: bytes) -> tuple[Network, list[Entry], dict[str, Any]]:
    """Read a header.

    Parameters
    ----------
    text : bytes
        The JSON text.

    Returns
    -------
    net : Network
        The architecture.
    entries : list of Entry
        One for each parameter of the architecture, in its order.
    notes : dict
        Whatever the writer added.

    Raises
    ------
    FileFormatError
        If it is no such header, or contradicts itself.
    """
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the header is not JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), list):
        raise FileFormatError('the header has no list "parameters"')
    notes = content.get("notes", {})
    if not isinstance(notes, dict):
        raise FileFormatError("the notes in the header must be an object")
    try:
        net = Network.from_dict(content.get("architecture", {}))
        shapes = net.param_shapes()
    except NetworkError as error:
        raise FileFormatError(f"architecture: {error}") from None
    entries = [_entry(item) for item in content["parameters"]]
    if [entry.name for entry in entries] != list(shapes):
        raise FileFormatError("the parameters listed in the header are not those of its architecture")
    for entry in entries:
        if entry.shape != shapes[entry.name]:
            raise FileFormatError(
                f'parameter "{entry.name}" has shape {list(entry.shape)}, '
                f"its architecture wants {list(shapes[entry.name])}"
            )
    return net, entries, notes


def _entry(item: Any) -> Entry:
    """Return one entry, every value checked on its own and against the others."""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise FileFormatError('an entry of the header\'s "parameters" has no name')
    reader = _Reader(item)
    entry = Entry(item["name"], reader.shape(), reader.one_of("kind", ("raw", "uniform", "codebook")))
    entry.crc32 = reader.checksum()
    if entry.kind == "raw":
        entry.dtype = reader.one_of("dtype", tuple(_DTYPES))
    else:
        entry.coder = reader.coder()
        entry.entries, entry.coded_bits = reader.integer("entries"), reader.integer("coded_bits")
    if entry.kind == "uniform":
        entry.bits = reader.integer("bits", MIN_BITS, MAX_BITS)
        entry.grids = reader.integer("grids", 1)
        entry.symmetric, entry.half = reader.flag("symmetric"), reader.flag("half")
        if entry.grids not in (1, *entry.shape[:1]):
            raise reader.error("grids", f"1 or one for each channel of {list(entry.shape)}")
    elif entry.kind == "codebook":
        entry.bits = reader.integer("bits", 1, MAX_BITS)
        entry.levels = reader.integer("levels", 1, 2**entry.bits)
    return entry


class _Reader:
    """Takes values out of an entry; what is missing or impossible is an error that names it."""

    def __init__(self, item: dict[str, Any]) -> None:
        self.item = item

    def error(self, key: str, wanted: str) -> FileFormatError:
        found = repr(self.item.get(key))
        found = found if len(found) <= 40 else f"{found[:40]}..."
        return FileFormatError(f'parameter "{self.item["name"]}": "{key}" must be {wanted}, found {found}')

    def integer(self, key: str, low: int = 0, high: int = _MOST) -> int:
        value = self.item.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self.error(key, f"a whole number from {low} to {high}")
        return value

    def flag(self, key: str) -> bool:
        value = self.item.get(key)
        if type(value) is not bool:
            raise self.error(key, "true or false")
        return value

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.item.get(key)
        if not isinstance(value, str) or value not in known:
            raise self.error(key, f"one of {', '.join(known)}")
        return value

    def shape(self) -> tuple[int, ...]:
        value = self.item.get("shape")
        if not isinstance(value, list) or any(type(n) is not int or not 1 <= n <= _MOST for n in value):
            raise self.error("shape", "a list of positive whole numbers")
        return tuple(value)

    def checksum(self) -> int:
        value = self.item.get("crc32")
        if not isinstance(value, str) or len(value) != 8 or not set(value) <= set("0123456789abcdef"):
            raise self.error("crc32", "eight hexadecimal digits")
        return int(value, 16)

    def coder(self) -> Coder:
        try:
            return Coder.parse(self.item.get("coder", ""))
        except ConfigError:
            raise self.error("coder", "a coder that this version knows") from None
