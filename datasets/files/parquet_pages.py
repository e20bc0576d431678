"""The pages of a Parquet file: how large they say they become, read from their headers before any is unpacked.

A column chunk is a run of pages, each behind a header in Thrift's compact protocol. A reader unpacks a page whole,
so a page of some kilobytes that unpacks to gigabytes has to be found here. Only what is asked for is understood;
all other fields are stepped over.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

_UNPACKED, _PACKED = 2, 3  # fields of a page's header: its sizes in bytes
_DEEPEST = 8


class Page(NamedTuple):
    """The sizes of a page, in bytes: in the file, and in memory."""

    packed: int
    unpacked: int


def pages(data: bytes, chunk: Any) -> Iterator[Page]:
    """Yield the pages of a column chunk, as the headers say.

    Args:
        data: The whole file.
        chunk: The chunk's metadata, of pyarrow.

    Raises:
        ValueError: The chunk is not a run of pages within the file.
    """
    place = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < place:
        place = chunk.dictionary_page_offset
    end = place + chunk.total_compressed_size
    if not 0 < place <= end <= len(data):
        raise ValueError(f"a column from byte {place} to {end} of {len(data)}")
    while place < end:
        header = _Header(data, place)
        sizes = header.integers()
        page = Page(sizes.get(_PACKED, -1), sizes.get(_UNPACKED, -1))
        if page.packed < 0 or page.unpacked < 0 or header.place + page.packed > end:
            raise ValueError(f"a page of {page.packed} bytes at byte {place}")
        yield page
        place = header.place + page.packed


class _Header:
    """A struct in Thrift's compact protocol, read from `place` on, which moves."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    def integers(self) -> dict[int, int]:
        """Return the integer fields of the struct, and step over the others."""
        found, field = {}, 0
        while kind := self._byte():
            step = kind >> 4
            field = field + step if step else self._integer()
            kind &= 15
            if kind in (4, 5, 6):
                found[field] = self._integer()
            else:
                self._skip(kind, 0)
        return found

    def _byte(self) -> int:
        """Read a byte."""
        if self.place >= len(self.data):
            raise ValueError("a header that does not end")
        self.place += 1
        return self.data[self.place - 1]

    def _varint(self) -> int:
        """Read an unsigned integer of at most 64 bits."""
        result = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            result |= (byte & 127) << shift
            if byte < 128:
                return result
        raise ValueError("an integer of more than 64 bits")

    def _integer(self) -> int:
        """Read a signed integer."""
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _skip(self, kind: int, depth: int) -> None:
        """Step over a value."""
        if depth > _DEEPEST:
            raise ValueError("a header nested too deeply")
        match kind:
            case 1 | 2:  # true, false: in the field's header
                pass
            case 3:
                self._byte()
            case 4 | 5 | 6:
                self._varint()
            case 7:
                self.place += 8
            case 8:
                length = self._varint()
                self.place += length
            case 9 | 10:
                self._skip_list(depth)
            case 12:
                self._skip_struct(depth)
            case _:
                raise ValueError(f"a field of type {kind}")

    def _skip_list(self, depth: int) -> None:
        """Step over a list or a set."""
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        if count > len(self.data):
            raise ValueError("a list longer than the file")
        for _ in range(count):
            self._byte() if head & 15 in (1, 2) else self._skip(head & 15, depth + 1)

    def _skip_struct(self, depth: int) -> None:
        """Step over a struct."""
        while kind := self._byte():
            if not kind >> 4:
                self._varint()
            self._skip(kind & 15, depth + 1)
