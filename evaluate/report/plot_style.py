"""How the report's plots look: SVG that takes its colours from the page, so that it suits dark and light.

Contenders differ in marker and dashes as well as in colour: nothing depends on colour vision.
"""

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from ...train.runs.confidence_intervals import Estimate
from ..evaluation.config import UNRESOLVED

# Stand-ins: matplotlib draws in them, `to_svg` puts the page's colours in their place.
INK, MUTED, GRID, CARD = "#010203", "#040506", "#070809", "#0c0d0e"
_SERIES = tuple(f"#0a0b{index:02x}" for index in range(7))
_NAMES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    CARD: "card",
    **{stand: f"c{i}" for i, stand in enumerate(_SERIES)},
}

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "skyclone",
    "text.parse_math": False,
    "font.size": 10.5,  # on 4.2 inches: 10.8 pixels in a window that is 360 pixels wide
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (2, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (9, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SHAPES = {
    "o": "M12.5 7a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "s": "M13 3h8v8h-8z",
    "^": "M17 1.5 22 11.5H12z",
    "D": "M17 1 23 7 17 13 11 7z",
    "v": "M17 12.5 22 2.5H12z",
    "P": "M15 2h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    "X": "M13 1 17 5 21 1 23 3 19 7 23 11 21 13 17 9 13 13 11 11 15 7 11 3z",
}
"""The markers as SVG paths, for the small pictures of lines in tables."""


class Mark(NamedTuple):
    """How a series looks: colour (a stand-in), marker and dashes."""

    colour: str
    marker: str
    dashes: Any

    @property
    def variable(self) -> str:
        """The page's name of the colour."""
        return f"--{_NAMES[self.colour]}"

    @property
    def shape(self) -> str:
        """The marker as an SVG path, centred on (17, 7)."""
        return _SHAPES[self.marker]

    @property
    def stroke(self) -> str:
        """The dashes as SVG writes them."""
        return "none" if self.dashes == "-" else " ".join(f"{1.5 * length:g}" for length in self.dashes[1])


def mark(index: int) -> Mark:
    """Return how the series of that number looks: 36 are different, in shape as well as in colour where few."""
    place, turn = index % 6, index // 6
    return Mark(_SERIES[1 + place], _MARKERS[(place + turn) % 6], _DASHES[(place + turn) % 6])


def marks_of(names: Sequence[str]) -> dict[str, Mark]:
    """Return how each contender looks: grey crosses without resolution, a colour each for the others."""
    others = [name for name in names if name != UNRESOLVED]
    return {
        name: Mark(_SERIES[0], "X", (0, (1, 1.5))) if name == UNRESOLVED else mark(others.index(name))
        for name in names
    }


def new_axes(height: float = 3.1) -> tuple[Figure, Axes]:
    """Return a figure of the report's width and its axes."""
    figure = Figure(figsize=(4.2, height))
    axes = figure.add_subplot()
    return figure, axes


def to_svg(figure: Figure, name: str) -> str:
    """Return an inline SVG whose colours are the page's variables and whose ids are its own."""
    for text in figure.findobj(Text):  # matplotlib draws no lone surrogates, which names that are no UTF-8 have
        text.set_text(text.get_text().encode(errors="backslashreplace").decode())
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the page's fonts draw the text, not matplotlib's
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for stand, variable in _NAMES.items():
        svg = svg.replace(stand, f"var(--{variable})")
    return svg


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend under the plot, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    columns = max(1, min(len(labels), 50 // (longest + 6)))
    figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(labels) // columns)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def arms(estimate: Estimate) -> Any:
    """Return the lengths of an error bar's two arms, (2, 1)."""
    low, high = estimate.value - estimate.low, estimate.high - estimate.value
    return np.nan_to_num(np.array([[max(low, 0.0)], [max(high, 0.0)]]))
