"""Pieces of the report's HTML that several of its sections share."""

from collections.abc import Iterable, Sequence
from html import escape


def figure(svg: str, title: str, caption: str) -> str:
    """Return a picture with its title; nothing for an empty one."""
    if not svg:
        return ""
    heading = f"<b>{escape(title)}</b>{escape(caption)}"
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    return f"<figure><figcaption>{heading}</figcaption>{svg}</figure>"


def table(head: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table that scrolls sideways in a narrow window; the head's cells are HTML."""
    cells = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    return (
        f'<div class="scroll" tabindex=0><table><thead><tr><td></td>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
