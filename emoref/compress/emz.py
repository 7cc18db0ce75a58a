"""One compressed network, one file: ``.emz``.

All numbers are little-endian. The file is

======  ====  =======================================================================================
offset  size  content
======  ====  =======================================================================================
0       8     signature: 89 45 4D 5A 0D 0A 1A 0A (89 "EMZ" and the line ends that damaged copies lose)
8       4     format version, 1
12      4     H, bytes of the header
16      8     bytes of the whole file
24      H     the header: JSON, UTF-8
24 + H  4     CRC-32 of all bytes before
28 + H  ...   sections, one for each entry of the header's list "parameters", without gaps
======  ====  =======================================================================================

The header's entries and the sections are described in docs/coding.md, with a file taken apart by hand. Every
byte is covered by a checksum: a section by the CRC-32 in its entry, all else by the one behind the header.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.coding import CodebookTensor, Coder, Encoded, decode, encode, smallest_coder
from emoref.compress.coding.coder import ALL_CODERS, stored_symbols
from emoref.compress.compressed import CompressedNetwork, Tensor
from emoref.compress.emz_header import Entry, read_header
from emoref.compress.quantize import UniformGrid, UniformTensor
from emoref.compress.weights import weighted_layers
from emoref.errors import FileFormatError, NetworkError
from emoref.hdf5 import write_bytes_atomic
from emoref.nn import Network

__all__ = ["FORMAT_VERSION", "EmzSize", "SectionSize", "emz_size", "load_emz", "load_emz_notes", "save_emz"]

SIGNATURE = b"\x89EMZ\r\n\x1a\n"
FORMAT_VERSION = 1
_PREAMBLE = struct.Struct("<8sIIQ")
_CHECKSUM_BYTES = 4

# Sparse layouts can say "a million zeros" in no bits at all. So that a small file cannot ask for any amount
# of memory, a network may have so many values, or so many for each byte of its file.
_MOST_VALUES = 2**22
_MOST_VALUES_PER_BYTE = 1024

Choice = str | Coder | Iterable[str | Coder]


@dataclass(frozen=True)
class SectionSize:
    """What one parameter takes in a file.

    Attributes
    ----------
    name : str
        The parameter.
    values : int
        How many numbers it has.
    coder : str
        What writes it; "raw" for plain numbers.
    stream_bits : int
        Bits of the coded stream, or of the plain numbers.
    side_bits : int
        Bits of scales, zero points or levels.
    bytes : int
        Bytes of the section: both, filled up to whole bytes.
    """

    name: str
    values: int
    coder: str
    stream_bits: int
    side_bits: int
    bytes: int


@dataclass(frozen=True)
class EmzSize:
    """What a compressed network takes as a file.

    Attributes
    ----------
    header_bytes : int
        Everything before the first section: signature, lengths, architecture, names, checksums.
    sections : tuple of SectionSize
        One for each parameter.
    """

    header_bytes: int
    sections: tuple[SectionSize, ...]

    @property
    def file_bytes(self) -> int:
        """Length of the file."""
        return self.header_bytes + sum(section.bytes for section in self.sections)

    @property
    def weight_bits(self) -> int:
        """Bits of the streams of all coded weights, without scales: what size objectives count."""
        return sum(section.stream_bits for section in self.sections if section.coder != "raw")

    @property
    def side_bits(self) -> int:
        """Bits of all scales, zero points and levels."""
        return sum(section.side_bits for section in self.sections)


def emz_size(
    compressed: CompressedNetwork,
    coders: Choice | Mapping[str, Choice] = "smallest",
    notes: Mapping[str, Any] | None = None,
) -> EmzSize:
    """Return the exact sizes of the file that :func:`save_emz` would write; nothing is written.

    Parameters
    ----------
    compressed, coders, notes
        As for :func:`save_emz`, with the same errors.

    Returns
    -------
    EmzSize
        To the byte.
    """
    planned = _plan(compressed, coders)
    return _sizes(planned, _header(compressed.net, planned, notes))


def save_emz(
    path: str | os.PathLike[str],
    compressed: CompressedNetwork,
    coders: Choice | Mapping[str, Choice] = "smallest",
    notes: Mapping[str, Any] | None = None,
) -> EmzSize:
    """Write a compressed network to one file, atomically.

    Equal networks give equal bytes.

    Parameters
    ----------
    path : path
        The file; replaced if it exists.
    compressed : CompressedNetwork
        Architecture and quantised parameters.
    coders : str, Coder, iterable of Coder, or a mapping from layer names to these
        How quantised weights are written: by a coder or its name ("relative-4+huffman"), by the smallest of
        several coders or names, or ("smallest") by the smallest of all. Layers that a mapping does not name
        get the smallest.
    notes : mapping, optional
        JSON-able, read back by :func:`load_emz_notes`.

    Returns
    -------
    EmzSize
        What the file holds.

    Raises
    ------
    ConfigError
        If there is no such coder.
    NetworkError
        If a layer is unknown, or the network is all but empty (more than 2**22 values, and more than 1024 for
        each byte of the file): such a file would be refused when read.
    FileFormatError
        If the file cannot be written.
    """
    planned = _plan(compressed, coders)
    sections = [_section(entry, compressed.tensors[entry.name]) for entry in planned]
    for entry, section in zip(planned, sections, strict=True):
        entry.crc32 = zlib.crc32(section)
    header = _header(compressed.net, planned, notes)
    size = _sizes(planned, header)
    start = _PREAMBLE.pack(SIGNATURE, FORMAT_VERSION, len(header), size.file_bytes) + header
    content = b"".join([start, struct.pack("<I", zlib.crc32(start)), *sections])
    values = sum(entry.size for entry in planned)
    if values > _most_values(len(content)):
        raise NetworkError(
            f'network "{compressed.net.name}": {values:,} values in {len(content):,} bytes would be refused '
            "when read; choose the coder bitmap for layers of zeros"
        )
    write_bytes_atomic(path, content)
    return size


def load_emz(path: str | os.PathLike[str]) -> CompressedNetwork:
    """Read a compressed network.

    Parameters
    ----------
    path : path
        A file that :func:`save_emz` wrote.

    Returns
    -------
    CompressedNetwork
        Its parameters equal those saved, bit for bit.

    Raises
    ------
    FileFormatError
        If the file is missing, no ``.emz``, truncated, too long, damaged (names the parameter) or of a newer
        format version, or claims more than it can hold. No memory is taken for what is only claimed.
    """
    content, header_end = _checked_content(path)
    try:
        net, entries, _ = read_header(content[_PREAMBLE.size : header_end - _CHECKSUM_BYTES])
        values, sections = sum(entry.size for entry in entries), sum(entry.section_bytes for entry in entries)
        if values > _most_values(len(content)):
            raise FileFormatError(f"claims {values:,} values, far more than {len(content):,} bytes can hold")
        if header_end + sections != len(content):
            raise FileFormatError(
                f"its header claims {sections:,} bytes of parameters, {len(content) - header_end:,} are there"
            )
        tensors, position = {}, header_end
        for entry in entries:
            section = memoryview(content)[position : position + entry.section_bytes]
            position += entry.section_bytes
            tensors[entry.name] = _tensor(entry, section)
        return CompressedNetwork(net, tensors)
    except (FileFormatError, NetworkError) as error:
        raise FileFormatError(f"{path}: {error}") from None


def load_emz_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the notes stored in a file, ``{}`` where `path` has none; raises as :func:`load_emz`."""
    content, header_end = _checked_content(path)
    try:
        return read_header(content[_PREAMBLE.size : header_end - _CHECKSUM_BYTES])[2]
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None


def _most_values(file_bytes: int) -> int:
    return max(_MOST_VALUES, _MOST_VALUES_PER_BYTE * file_bytes)


# ----------------------------------------------------------------------------------------------- writing


def _plan(compressed: CompressedNetwork, coders: Choice | Mapping[str, Choice]) -> list[Entry]:
    """Return the header's entries, complete but for the checksums."""
    layers = weighted_layers(compressed.net)
    choices = coders if isinstance(coders, Mapping) else dict.fromkeys(layers, _candidates(coders))
    for layer in choices:
        if layer not in layers:
            raise NetworkError(f"coder of {layer!r}: the layers with weights are {', '.join(layers)}")
    candidates = {layer: _candidates(choice) for layer, choice in choices.items()}
    return [
        _planned_entry(name, compressed.tensors[name], candidates.get(name.rpartition(".")[0], ALL_CODERS))
        for name in compressed.net.param_shapes()
    ]


def _planned_entry(name: str, tensor: Tensor, candidates: tuple[Coder, ...]) -> Entry:
    if isinstance(tensor, np.ndarray):
        return Entry(name, tensor.shape, "raw", dtype=tensor.dtype.name)
    symbols = tensor.symbols()
    coder, stream_bits = smallest_coder(symbols, tensor.bits, candidates)
    entry = Entry(name, tensor.shape, "codebook", bits=tensor.bits, coder=coder, coded_bits=stream_bits)
    if isinstance(tensor, CodebookTensor):
        entry.levels = len(tensor.levels)
    else:
        entry.kind, grid = "uniform", tensor.grid
        entry.grids, entry.symmetric, entry.half = len(grid.scale), grid.symmetric, grid.half
    entry.entries = stored_symbols(symbols, coder)
    return entry


def _candidates(choice: Choice) -> tuple[Coder, ...]:
    if choice == "smallest":
        return ALL_CODERS
    several = (choice,) if isinstance(choice, str | Coder) else choice
    return tuple(coder if isinstance(coder, Coder) else Coder.parse(coder) for coder in several)


def _header(net: Network, entries: Iterable[Entry], notes: Mapping[str, Any] | None) -> bytes:
    content: dict[str, Any] = {
        "architecture": net.to_dict(),
        "parameters": [entry.to_dict() for entry in entries],
    }
    if notes is not None:
        content["notes"] = dict(notes)
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def _sizes(entries: Iterable[Entry], header: bytes) -> EmzSize:
    sections = tuple(
        SectionSize(e.name, e.size, str(e.coder or "raw"), e.stream_bits, e.side_bits, e.section_bytes)
        for e in entries
    )
    return EmzSize(_PREAMBLE.size + len(header) + _CHECKSUM_BYTES, sections)


def _section(entry: Entry, tensor: Tensor) -> bytes:
    """Return scales, zero points or levels, and the stream behind them."""
    if isinstance(tensor, np.ndarray):
        return _little_endian(tensor)
    if isinstance(tensor, CodebookTensor):
        side = _little_endian(tensor.levels)
    else:
        side = _little_endian(tensor.grid.scale)
        if not tensor.grid.symmetric:
            side += _little_endian(tensor.grid.zero_point.astype(np.uint16))
    assert entry.coder is not None
    return side + encode(tensor.symbols(), entry.bits, entry.coder).data.tobytes()


def _little_endian(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()


# ----------------------------------------------------------------------------------------------- reading


def _checked_content(path: str | os.PathLike[str]) -> tuple[bytes, int]:
    """Return the whole file, once all but its sections is checked, and where the sections begin."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(_PREAMBLE.size)
            header_bytes, file_bytes = _checked_preamble(start)
            found = os.fstat(file.fileno()).st_size
            if found != file_bytes:
                what = "truncated: it has" if found < file_bytes else "longer than it says: it has"
                raise FileFormatError(f"{what} {found:,} bytes of {file_bytes:,}")
            header_end = _PREAMBLE.size + header_bytes + _CHECKSUM_BYTES
            if header_end > file_bytes:
                raise FileFormatError(
                    f"claims a header of {header_bytes:,} bytes in a file of {file_bytes:,}"
                )
            content = start + file.read(file_bytes)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from None
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    (checksum,) = struct.unpack_from("<I", content, header_end - _CHECKSUM_BYTES)
    if zlib.crc32(content[: header_end - _CHECKSUM_BYTES]) != checksum:
        raise FileFormatError(f"{path}: the header is damaged (its checksum does not match)")
    return content, header_end


def _checked_preamble(start: bytes) -> tuple[int, int]:
    if not start:
        raise FileFormatError("is empty")
    if not start.startswith(SIGNATURE[: len(start)]):
        raise FileFormatError("is not an .emz file (its first 8 bytes are not the signature)")
    if len(start) < _PREAMBLE.size:
        raise FileFormatError(f"truncated: it has {len(start)} bytes, the least is {_PREAMBLE.size}")
    _, version, header_bytes, file_bytes = _PREAMBLE.unpack(start)
    if version > FORMAT_VERSION:
        raise FileFormatError(
            f"has format version {version}, this emoref reads up to {FORMAT_VERSION}; use a newer emoref"
        )
    if version < 1:
        raise FileFormatError("has format version 0; the first version is 1")
    return header_bytes, file_bytes


def _tensor(entry: Entry, section: memoryview) -> Tensor:
    """Return what a section holds, checked."""
    if zlib.crc32(section) != entry.crc32:
        raise FileFormatError(f'parameter "{entry.name}" is damaged (its checksum does not match)')
    try:
        if entry.kind == "raw":
            return _numbers(section, entry.dtype, entry.size).reshape(entry.shape)
        stream = np.frombuffer(section, dtype=np.uint8, offset=entry.side_bits // 8)
        assert entry.coder is not None
        encoded = Encoded(stream, entry.coded_bits, entry.coder, entry.bits, entry.size, entry.entries)
        symbols = decode(encoded)
        if entry.kind == "codebook":
            return _codebook_tensor(entry, section, symbols)
        return _uniform_tensor(entry, section, symbols)
    except (FileFormatError, NetworkError) as error:
        raise FileFormatError(f'parameter "{entry.name}": {error}') from None


def _numbers(section: memoryview, dtype: str, count: int, offset: int = 0) -> NDArray[Any]:
    values = np.frombuffer(section, np.dtype(dtype).newbyteorder("<"), count, offset)
    return values.astype(np.dtype(dtype))


def _codebook_tensor(entry: Entry, section: memoryview, symbols: NDArray[np.uint32]) -> CodebookTensor:
    levels = _numbers(section, "float32", entry.levels)
    tensor = CodebookTensor(symbols.reshape(entry.shape), levels)
    if tensor.bits != entry.bits:
        raise FileFormatError(f"{entry.levels} levels take {tensor.bits} bits, not {entry.bits}")
    return tensor


def _uniform_tensor(entry: Entry, section: memoryview, symbols: NDArray[np.uint32]) -> UniformTensor:
    scale, zero_point = _numbers(section, "float32", entry.grids), np.zeros(entry.grids, np.int32)
    if not entry.symmetric:
        zero_point = _numbers(section, "uint16", entry.grids, 4 * entry.grids).astype(np.int32)
    grid = UniformGrid(scale, zero_point, entry.bits, entry.symmetric, entry.half)
    if not (np.isfinite(scale) & (scale > 0)).all() or zero_point.max() > grid.highest_code:
        raise FileFormatError("scales must be positive numbers, and zero points codes of the grid")
    return UniformTensor.from_symbols(symbols, entry.shape, grid)
