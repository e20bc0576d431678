"""Draw `images/scenarios.png`: an episode of each scenario, as laid out. Run: python docs/scenario_figure.py"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.scenarios.registry import lay_out

SCENARIOS = (
    "sector",
    "random-n",
    "circle",
    "crossing",
    "pads",
    "inside",
    "shared",
    "converging",
    "hover",
    "arrivals",
    "arrivals:pads=4",
)
OUT = Path(__file__).parent / "images" / "scenarios.png"


def draw(axes: Axes, layout: Layout, zone_m: float) -> None:
    """Draw where aircraft begin and where they want to go; grey: those that enter later."""
    corners = np.vstack((layout.corners_m, layout.corners_m[:1]))
    axes.plot(*corners.T, color="0.4", linewidth=1)
    entry_s = np.zeros(len(layout.position_m)) if layout.entry_s is None else layout.entry_s
    hovers = np.zeros(len(entry_s), bool) if layout.hovers is None else layout.hovers
    for position, waypoint, entry, hovering in zip(layout.position_m, layout.waypoint_m, entry_s, hovers):
        colour = "0.6" if entry > 0 else "tab:blue"
        axes.add_patch(pyplot.Circle(position, zone_m / 2, fill=False, color=colour, linewidth=0.6))
        if hovering:
            axes.plot(*position, "s", color="tab:red", markerfacecolor="white", markersize=5)
        else:
            axes.plot(*np.stack((position, waypoint)).T, color=colour, linewidth=0.5, alpha=0.6)
            axes.plot(*position, ".", color=colour, markersize=5)
            axes.plot(*waypoint, "x", color="0.4", markersize=4, markeredgewidth=0.8)
    axes.set(aspect="equal", xlim=(-1000, 1000), ylim=(-1000, 1000))
    axes.axis("off")


def main() -> None:
    """Draw all of them."""
    matplotlib.use("Agg")
    figure, grid = pyplot.subplots(2, 6, figsize=(14, 5.2), layout="constrained")
    for axes in grid.flat:
        axes.axis("off")
    for axes, scenario in zip(grid.flat, SCENARIOS):
        config = WorldConfig(aircraft=12, scenario=scenario)
        draw(axes, lay_out(config, 1, 3), config.protected_zone_m)
        axes.set_title(scenario, fontsize=10)
    figure.savefig(OUT, dpi=80)


if __name__ == "__main__":
    main()
