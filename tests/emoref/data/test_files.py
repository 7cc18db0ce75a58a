import gzip

import pytest

from emoref.data.files import GZIP_MAX_RATIO, ByteReader, file_size
from emoref.errors import DataError


def test_reads_on_from_where_it_stopped(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"abcdef"))
    with ByteReader(path) as reader:
        assert reader.kind == "gzip"
        assert reader.read(2) == b"ab"
        assert reader.read(10) == b"cdef"
        assert reader.offset == 6
        assert reader.read(1) == b""


def test_gzip_cannot_grow_beyond_the_ratio(tmp_path):
    data = bytes(10_000_000)
    assert len(data) < GZIP_MAX_RATIO * len(gzip.compress(data, 9))


def test_a_name_with_a_zero_byte(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        file_size(tmp_path / "a\0b")
