"""Tables for notebooks: what is in them, and that no name gets out of its cell."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.datasets.notebook import table

HOSTILE = "</td></table><script>alert('1')</script><style>*{display:none}</style>&amp;\""


class Cells(HTMLParser):
    """Collects the tags and the text of each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def read(html: str) -> Cells:
    """Return what a browser would read."""
    cells = Cells()
    cells.feed(html)
    cells.close()
    return cells


def test_a_table_of_two_rows() -> None:
    assert table("Sizes", [("a", 1), ("b", 2)], ("name", "size"), "Two & two.") == (
        "<div><div><b>Sizes</b></div><table>"
        '<thead><tr><th style="text-align: left">name</th><th style="text-align: left">size</th></tr></thead>'
        '<tbody><tr><th style="text-align: left">a</th><td style="text-align: left">1</td></tr>'
        '<tr><th style="text-align: left">b</th><td style="text-align: left">2</td></tr></tbody>'
        "</table><div>Two &amp; two.</div></div>"
    )


@pytest.mark.parametrize("place", range(4))
def test_a_hostile_name_stays_text(place: int) -> None:
    texts = ["title", "cell", "heading", "note"]
    texts[place] = HOSTILE
    title, cell, heading, note = texts
    html = table(title, [(cell, cell)], (heading,), note)
    assert read(html).tags == {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert "<script" not in html
    assert "<style" not in html


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_cells_are_read_as_they_were_given(rows: list[tuple[str, str]]) -> None:
    rows = [tuple(each.replace("\r", "").replace("\0", "") for each in row) for row in rows]  # type: ignore[misc]
    assert read(table("", rows)).cells == [text for row in rows for text in row]


def test_a_name_that_is_no_utf_8_is_written_with_escapes() -> None:
    assert "a\\udcff" in table("", [("a\udcff", "")])
