"""What notebooks show of an object: its `_repr_html_` is a small table of these."""

from collections.abc import Iterable, Sequence
from html import escape


def table(title: str, rows: Iterable[Sequence[object]], headings: Sequence[object] = (), note: str = "") -> str:
    """Return an HTML table; every text in it is escaped, and no style in it reaches beyond it.

    Args:
        title: Stands above it.
        rows: Its rows; the first cell of each is the row's heading.
        headings: Of the columns; none for a table of facts.
        note: Stands below it.
    """
    head = f"<thead><tr>{''.join(_cell('th', text) for text in headings)}</tr></thead>" if headings else ""
    body = "".join(
        f"<tr>{_cell('th', first)}{''.join(_cell('td', text) for text in others)}</tr>" for first, *others in rows
    )
    below = f"<div>{_text(note)}</div>" if note else ""
    return f"<div><div><b>{_text(title)}</b></div><table>{head}<tbody>{body}</tbody></table>{below}</div>"


def _cell(tag: str, content: object) -> str:
    """Return a cell."""
    return f'<{tag} style="text-align: left">{_text(content)}</{tag}>'


def _text(content: object) -> str:
    """Return text as HTML; bytes of names of files that are no UTF-8 are written with escapes."""
    return escape(str(content).encode(errors="backslashreplace").decode())
