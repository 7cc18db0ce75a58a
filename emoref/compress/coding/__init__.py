"""Writing quantised weights to bits: layouts, Huffman coding, shared weights, and the choice between them."""

from emoref.compress.coding.codebook import CodebookTensor, codebook
from emoref.compress.coding.coder import (
    ALL_CODERS,
    Coder,
    Encoded,
    coded_bits,
    decode,
    encode,
    smallest_coder,
)
from emoref.compress.coding.huffman import huffman_bits
from emoref.compress.coding.layouts import (
    bitmap_bits,
    coo_bits,
    dense_bits,
    relative_bits,
    relative_entries,
    zero_runs,
)

__all__ = [
    "ALL_CODERS",
    "CodebookTensor",
    "Coder",
    "Encoded",
    "bitmap_bits",
    "codebook",
    "coded_bits",
    "coo_bits",
    "decode",
    "dense_bits",
    "encode",
    "huffman_bits",
    "relative_bits",
    "relative_entries",
    "smallest_coder",
    "zero_runs",
]
