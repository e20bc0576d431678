"""Plots of a cloning run: its losses, and what the network's attention looks at in one fixed scene.

Series differ in marker and dashes as well as in colour: nothing depends on colour vision.
"""

import io
from collections.abc import Sequence
from math import cos, radians, sin
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ...datasets.traffic.observation import observe_all
from ...datasets.traffic.state import Traffic
from ...datasets.traffic.view import View
from ..networks import Network
from .iteration import Iteration

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "skyclone",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
# Paul Tol's bright scheme: label, figure, colour, marker, dashes
_LOSSES = (
    ("training", "train", "#4477aa", "o", "-"),
    ("held out, all", "mse", "#222222", "s", "-"),
    ("held out, in conflict", "mse_conflict", "#ee6677", "^", (0, (5, 2))),
    ("held out, free", "mse_free", "#228833", "v", (0, (1.5, 1.5))),
)

# The fixed scene, an ownship at the origin flying north to a waypoint 600 m ahead, and its intruders:
# east and north in m, track in degrees, speed in m/s. The first four are in conflict with it (R = 100 m, 15 s).
SCENE = (
    (0.0, 0.0, 0.0, 9.0),
    (15.0, 210.0, 180.0, 9.0),  # head-on
    (150.0, 120.0, 262.0, 9.0),  # crossing from the right
    (-130.0, 90.0, 80.0, 10.0),  # crossing from the left
    (75.0, 165.0, 200.0, 5.0),  # slow, ahead
    (-170.0, -60.0, 350.0, 9.0),  # abreast, diverging
    (60.0, -230.0, 200.0, 9.0),  # behind, flying away
    (260.0, 40.0, 80.0, 9.0),  # right, flying away
    (-250.0, 240.0, 300.0, 9.0),  # far ahead left, flying away
)
_ARROW_S = 7.0  # an aircraft's arrow is its path in this many seconds
_WIDEST = 9.0  # points, the line of weight 1
_LEAST_WEIGHT = 0.005  # what would be written 0.00 is not drawn


def losses(history: Sequence[Iteration], kind: str = "png") -> bytes:
    """Draw training and held-out losses, and below them the sharpness of the attention, over the iterations.

    Args:
        history: One iteration or more.
        kind: `png` or `svg`.
    """
    numbers = [each.iteration for each in history]
    has_sharpness = any(each.heldout.sharpness is not None for each in history)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.0, 5.6 if has_sharpness else 4.2))
        grid = figure.add_gridspec(2, 1, height_ratios=(3, 1)) if has_sharpness else figure.add_gridspec(1, 1)
        axes = figure.add_subplot(grid[0])
        for label, key, colour, marker, dashes in _LOSSES:
            values = [each.train_loss if key == "train" else getattr(each.heldout, key) for each in history]
            if any(value is not None for value in values):
                _line(axes, numbers, values, label, colour, marker, dashes)
        axes.set_yscale("log")
        axes.axhline(0.01, color="#888888", linewidth=0.8)
        axes.annotate(
            "bar for held out, all: 0.01", (1.0, 0.01), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            fontsize=8, color="#555555",
        )  # fmt: skip
        axes.set_ylabel("mean squared error")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=4, fontsize=8.5)
        if has_sharpness:
            axes.tick_params(labelbottom=False)
            below = figure.add_subplot(grid[1], sharex=axes)
            sharpness = [each.heldout.sharpness for each in history]
            uniform = [each.heldout.uniform_sharpness for each in history]
            _line(below, numbers, sharpness, "attention sharpness", "#aa3377", "D", "-")
            _line(below, numbers, uniform, "if all intruders weighed alike", "#888888", "", (0, (2, 2)))
            below.set_ylim(0, 1)
            below.set_ylabel("sharpness")
            below.legend(loc="best", fontsize=8.5)
            axes = below
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return saved(figure, kind)


def _line(
    axes: Axes, across: Sequence[int], up: Sequence[float | None], label: str, colour: str, marker: str, dashes: Any
) -> None:
    """Draw one series; None leaves a gap."""
    values = [float("nan") if value is None else value for value in up]
    axes.plot(
        across, values, color=colour, marker=marker, markersize=4.5, linestyle=dashes, linewidth=1.5, label=label,
        markevery=max(1, len(across) // 20),
    )  # fmt: skip


def attention(network: Network, view: View) -> np.ndarray | None:
    """Draw the weights of each head on the intruders of the fixed scene.

    Args:
        network: On any device, in any mode; it is not changed.
        view: What it observes.

    Returns:
        (height, width, 3) uint8; None if the network has no attention.
    """
    weights = scene_weights(network, view)
    heads = weights.shape[0]
    if not heads:
        return None
    columns = min(heads, 3)
    rows = -(-heads // columns)
    # fixed margins: to solve for a layout would take longer than to draw
    with matplotlib.rc_context({**SETTINGS, "axes.grid": False, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(3.6 * columns, 3.7 * rows), dpi=80)
        figure.subplots_adjust(
            left=0.13 / columns, right=0.99, bottom=0.09 / rows, top=1 - 0.09 / rows, wspace=0.12
        )
        for head in range(heads):
            axes = figure.add_subplot(rows, columns, head + 1)
            _draw_head(axes, weights[head].tolist())
            axes.set_title(f"head {head}: largest weight {weights[head].max():.2f}", fontsize=10)
        with io.BytesIO(saved(figure, "rgba")) as file:
            width, height = (int(length) for length in figure.get_size_inches() * figure.dpi)
            return np.frombuffer(file.read(), np.uint8).reshape(height, width, 4)[..., :3]


@torch.no_grad()
def scene_weights(network: Network, view: View) -> Tensor:
    """Return each head's weight on each intruder of the scene, in their order there, (H, 8); 0 if not seen."""
    device = next(network.parameters()).device
    east, north, track, speed = torch.tensor(SCENE).T.unsqueeze(1)  # (1, 9) each, of the reference world
    reference = View()
    length, pace = view.protected_zone_m / reference.protected_zone_m, view.speed_mps / reference.speed_mps
    east, north, speed = east * length, north * length, speed * pace  # on the scale of the view's
    waypoint = torch.full_like(east, 600.0) * length
    traffic = Traffic(
        east, north, torch.deg2rad(track), speed, torch.zeros_like(east), waypoint, torch.ones_like(east) > 0
    )
    everybody = observe_all(traffic, view)  # (1, 9, ...)
    observation = type(everybody)(*(tensor[0, :1].to(device) for tensor in everybody))  # of the ownship, (1, ...)
    was_training = network.training
    network.eval()
    _, weights = network(observation, with_attention=True)  # (1, H, K)
    network.train(was_training)
    order = torch.hypot(east, north)[0, 1:].argsort()[: weights.shape[2]]  # the nearest first, as observed
    by_intruder = torch.zeros(weights.shape[1], len(SCENE) - 1)
    by_intruder[:, order] = weights[0].cpu()
    return by_intruder


def _draw_head(axes: Axes, weights: Sequence[float]) -> None:
    """Draw the scene, with a line to each intruder as wide as its weight."""
    for (east, north, track_deg, _), weight in zip(SCENE[1:], weights):
        if weight < _LEAST_WEIGHT:
            continue
        axes.plot(
            (0, east), (0, north), color="#ee6677", linewidth=_WIDEST * weight, solid_capstyle="butt", zorder=1
        )
        track = radians(track_deg)  # the number is behind the aircraft, clear of its arrow
        place = (east - 36 * sin(track), north - 28 * cos(track))
        axes.annotate(f"{weight:.2f}", place, ha="center", va="center", fontsize=9, zorder=4)
    for number, (east, north, track_deg, speed) in enumerate(SCENE):
        track = radians(track_deg)
        colour = "#222222" if number else "#4477aa"
        axes.annotate(
            "", (east + _ARROW_S * speed * sin(track), north + _ARROW_S * speed * cos(track)), (east, north),
            arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.2},
        )  # fmt: skip
        axes.plot(east, north, "o" if number else "s", color=colour, markersize=5 if number else 8, zorder=3)
    ring = np.linspace(0, 2 * np.pi, 90)
    axes.plot(100 * np.sin(ring), 100 * np.cos(ring), color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(-350, 350)
    axes.set_ylim(-330, 330)
    axes.set_aspect("equal")
    axes.set_xticks((-300, 0, 300), ("3 R west", "0", "3 R east"), fontsize=8)
    axes.set_yticks((-300, 0, 300), ("S", "0", "N"), fontsize=8)


def saved(figure: Figure, kind: str) -> bytes:
    """Return the figure as a file's bytes, the same for the same figure."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(buffer, format=kind, metadata=metadata, dpi=120 if kind == "png" else "figure")
    return buffer.getvalue()
