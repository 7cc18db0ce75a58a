"""Writing and reading a stream of bits from its beginning to its end."""

import numpy as np
from numpy.typing import NDArray

from emoref.errors import FileFormatError, ShapeError
from emoref_kernels.cpu import bitstream

__all__ = ["BitReader", "BitWriter"]


class BitWriter:
    """A stream that is written once, in order; highest bits first, nothing padded but the last byte.

    Parameters
    ----------
    size_bits : int
        How many bits will be written.

    Attributes
    ----------
    data : uint8 array, shape (ceil(size_bits / 8),)
        The stream; the bits behind the last one written are 0.
    position : int
        Number of bits written.
    """

    def __init__(self, size_bits: int) -> None:
        self.data: NDArray[np.uint8] = np.zeros(-(-size_bits // 8), dtype=np.uint8)
        self.position = 0

    def fields(self, values: NDArray[np.uint32], width: int) -> None:
        """Write `values`, each in `width` bits."""
        bitstream.write_fields(self.data, self.position, values, width)
        self.position += len(values) * width

    def codes(
        self, symbols: NDArray[np.uint32], codes: NDArray[np.uint32], lengths: NDArray[np.int64]
    ) -> None:
        """Write the code word of each of the `symbols`: of symbol s, ``codes[s]`` in ``lengths[s]`` bits."""
        self.position = bitstream.write_codes(self.data, self.position, symbols, codes, lengths)


class BitReader:
    """A stream that is read once, in order.

    Every method raises FileFormatError where the stream does not hold what is asked for.

    Parameters
    ----------
    data : uint8 array
        The stream.

    Attributes
    ----------
    position : int
        Number of bits read.
    """

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.position = 0

    @property
    def left(self) -> int:
        """Number of bits not read yet."""
        return 8 * len(self.data) - self.position

    def fields(self, count: int, width: int) -> NDArray[np.uint32]:
        """Read `count` numbers of `width` bits."""
        if count * width > self.left:
            raise FileFormatError(
                f"bit {self.position}: {count:,} fields of {width} bits are claimed, "
                f"{self.left:,} bits are left"
            )
        values = bitstream.read_fields(self.data, self.position, width, count)
        self.position += count * width
        return values

    def codes(self, count: int, length_counts: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Read `count` words of the canonical code with these `length_counts`; return their ranks."""
        if count > self.left:
            raise FileFormatError(
                f"bit {self.position}: {count:,} code words are claimed, {self.left:,} bits are left"
            )
        try:
            ranks, self.position = bitstream.read_codes(self.data, self.position, count, length_counts)
        except ShapeError as error:
            raise FileFormatError(f"bit {self.position}: {error}") from None
        return ranks

    def finish(self) -> None:
        """Raise unless all is read but fewer than 8 bits, which are 0."""
        if self.left >= 8:
            raise FileFormatError(f"{self.left:,} bits are left behind the last one of {self.position:,}")
        if self.fields(1, self.left)[0]:
            raise FileFormatError("the bits that fill the last byte are not 0")
