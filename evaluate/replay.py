"""Flights recorded for the report: a few scenarios, every contender, positions step by step."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..collect.configuration import WorldConfig
from ..collect.conflicts import detect
from ..collect.flight import fly
from ..collect.scenarios import lay_out
from ..collect.world import World
from .contenders import Loaded

GONE = -32768
"""Stands for an aircraft that does not fly; positions are int16."""


def record(
    loaded: Sequence[Loaded],
    config: WorldConfig,
    seed: int,
    episodes: Sequence[int],
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Let every contender fly some scenarios again.

    Returns:
        A JSON object: the scenarios (corners, waypoints), and per contender and scenario `steps`,
        `positions` (base64 of little-endian int16 (steps, N, 2), east and north in units of `unit_m`)
        and `conflicts` (pairs i < j per step, coded (step * N + i) * N + j).
    """
    layouts = [lay_out(config, seed, episode) for episode in episodes]
    reach = max(float(np.abs(part).max()) for lay in layouts for part in (lay.corners_m, lay.position_m))
    unit = 2.0 * (reach + 2 * config.outside_m) / -GONE  # the page shows half of what int16 can hold
    return {
        "zone_m": config.protected_zone_m,
        "step_s": config.step_s,
        "unit_m": unit,
        "aircraft": config.aircraft,
        "scenarios": [
            {
                "number": episode,
                "corners_m": layout.corners_m.round(1).tolist(),
                "waypoints_m": layout.waypoint_m.round(1).tolist(),
            }
            for episode, layout in zip(episodes, layouts, strict=True)
        ],
        "contenders": [
            {"name": each.contender.name, "flights": _flights(each, World(config, seed, episodes, device), unit)}
            for each in loaded
        ],
    }


def _flights(loaded: Loaded, world: World, unit_m: float) -> list[dict[str, Any]]:
    """Fly and record one contender's scenarios."""
    config, count = world.config, world.config.aircraft
    positions: list[list[np.ndarray]] = [[] for _ in world.episodes]
    conflicts: list[list[int]] = [[] for _ in world.episodes]
    for step in fly(world, loaded.pilot):
        traffic = step.traffic
        place = torch.stack((traffic.east_m, traffic.north_m), -1) / unit_m  # (B', N, 2)
        rounded = place.round().clamp(GONE + 1, -GONE - 1).masked_fill(~traffic.is_flying.unsqueeze(-1), GONE)
        frames = rounded.to(torch.int16).cpu().numpy()
        found = detect(step.pairs, config.protected_zone_m, config.lookahead_s).triu(1).cpu().nonzero().tolist()
        for row, slot in enumerate(step.slots.tolist()):
            if traffic.is_flying[row].any():
                positions[slot].append(frames[row])
        slots = step.slots.tolist()
        for row, one, other in found:
            slot = slots[row]
            conflicts[slot].append(((len(positions[slot]) - 1) * count + one) * count + other)
    return [
        {
            "steps": len(frames),
            "positions": base64.b64encode(np.array(frames, "<i2").tobytes()).decode(),
            "conflicts": codes,
        }
        for frames, codes in zip(positions, conflicts, strict=True)
    ]
