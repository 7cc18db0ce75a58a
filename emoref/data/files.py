"""Reading bytes of plain, gzip and xz files so that every failure names the file and the byte."""

import gzip
import lzma
import os
import stat
import zlib
from io import BufferedReader
from pathlib import Path
from types import TracebackType

from emoref.errors import DataError

CHUNK_BYTES = 1 << 20

# Deflate codes at most 258 bytes in two bits, so a gzip file cannot grow by more than this factor.
GZIP_MAX_RATIO = 1032

_SIGNATURES = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz"}
_SUFFIXES = {".gz": ("gzip", "1f 8b"), ".xz": ("xz", "fd 37 7a 58 5a 00")}


def file_size(path: Path) -> int:
    """Return the size of a regular, non-empty file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    int
        Size in bytes, at least 1.

    Raises
    ------
    DataError
        If the file is missing, is a directory or a device, is empty, or cannot be looked at.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({_reason(error)})") from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: is a directory; expected a file")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is a device or pipe; expected a regular file")
    if status.st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes)")
    return status.st_size


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


class _XzStream:
    """One xz stream that fills its file; ``lzma.LZMAFile`` would pass over bytes that follow it."""

    def __init__(self, raw: BufferedReader) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def read(self, n_bytes: int) -> bytes:
        while not self._decoder.eof:
            stored = self._raw.read(CHUNK_BYTES) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not stored:
                raise EOFError
            data = self._decoder.decompress(stored, n_bytes)
            if data:
                return data
        # The format allows zeros behind a stream, and nothing else but further streams.
        if (self._decoder.unused_data + self._raw.read(CHUNK_BYTES)).strip(b"\0"):
            raise lzma.LZMAError("bytes follow the stream")
        return b""


class ByteReader:
    """A file read front to back, decompressed on the way where it is gzip or xz.

    The kind of file is told from its first bytes, not from its name: browsers and archives often unpack a
    ``.gz`` file and leave the name as it was.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    path : Path
        The file.
    kind : str
        ``"plain"``, ``"gzip"`` or ``"xz"``.
    stored_bytes : int
        Size of the file as it is stored.
    offset : int
        How many (decompressed) bytes have been read so far.

    Raises
    ------
    DataError
        If the file is missing, a directory, empty or unreadable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stored_bytes = file_size(path)
        self.offset = 0
        try:
            self._raw: BufferedReader = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
            self._start = self._raw.read(6)
            self._raw.seek(0)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({_reason(error)})") from None
        self.kind = next(
            (kind for mark, kind in _SIGNATURES.items() if self._start.startswith(mark)), "plain"
        )
        self._stream: BufferedReader | gzip.GzipFile | _XzStream = self._raw
        if self.kind == "gzip":
            self._stream = gzip.GzipFile(fileobj=self._raw, mode="rb")
        elif self.kind == "xz":
            self._stream = _XzStream(self._raw)

    def __enter__(self) -> "ByteReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    def read(self, n_bytes: int) -> bytearray:
        """Read up to ``n_bytes`` bytes; fewer only at the end of the data.

        Memory grows with the bytes that are really there, whatever ``n_bytes`` claims.

        Parameters
        ----------
        n_bytes : int
            How many bytes to read.

        Returns
        -------
        bytearray
            The bytes.

        Raises
        ------
        DataError
            If a compressed stream is damaged or cut short.
        """
        data = bytearray()
        while len(data) < n_bytes:
            chunk = self._read_chunk(min(n_bytes - len(data), CHUNK_BYTES))
            if not chunk:
                break
            data += chunk
            self.offset += len(chunk)
        return data

    def _read_chunk(self, n_bytes: int) -> bytes:
        try:
            return self._stream.read(n_bytes)
        except EOFError:
            problem = f"{self.kind} stream cut short"
        except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, MemoryError) as error:
            problem = f"{self.kind} stream damaged ({error})"
        except OSError as error:
            problem = f"cannot be read ({_reason(error)})"
        raise DataError(
            f"{self.path}: {problem} after {self.where(self.offset)}; stored size {self.stored_bytes} bytes, "
            f"expected a complete {self.kind} file"
        )

    def where(self, offset: int) -> str:
        """Name a byte offset, saying so where it counts decompressed bytes."""
        return f"byte {offset}" if self.kind == "plain" else f"decompressed byte {offset}"

    def misnamed(self) -> str | None:
        """Say what is wrong if the name promises compression that the first bytes do not show."""
        promise = _SUFFIXES.get(self.path.suffix)
        if promise is None or self.kind != "plain":
            return None
        kind, signature = promise
        width = len(bytes.fromhex(signature))
        return (
            f"byte 0: found {self._start[:width].hex(' ')}, expected {signature} (a {kind} file) or plain IDX"
        )
