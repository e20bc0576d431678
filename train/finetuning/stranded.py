"""Aircraft that get no further, and are taken out of the air: in training only.

Two that stand in each other's way, or fly on within each other's protected zone, would stay until the time limit.
A handful of them among thousands are dozens of times the cost of all others, the same at every step: normalised
beside them, nothing else that happened is left to learn from, and more and more come to a stop. So each costs what
some seconds cost, and what the critic expects after them, as if time had run out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...collect.flying.world import World
from ...datasets.traffic.pairs import pairs_of

LOS_S = 10.0
"""So long, without a break, an aircraft may lose separation: a zone is crossed in about as many."""
STANDING_S = 20.0
"""So long it may fly at less than `STANDING` of cruise speed."""
STANDING = 0.1


class Stranded:
    """Counts how long each aircraft of a world has been stuck.

    Args:
        world: Its episodes may be restarted: who flies freely is counted from 0.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.los_s, self.standing_s = torch.zeros((2, *world.traffic.east_m.shape), device=world.device)

    def take_out(self) -> Tensor:
        """Count the step that has just been flown; who has been stuck too long flies no more: returned, (B, N)."""
        world, config = self._world, self._world.config
        traffic = world.traffic
        zone = config.protected_zone_m
        is_in_los = (world.pairs.distance2_m2 < zone * zone).any(-1) & traffic.is_flying
        is_standing = (traffic.speed_mps < STANDING * config.cruise_mps) & traffic.is_flying
        self.los_s = (self.los_s + config.step_s) * is_in_los
        self.standing_s = (self.standing_s + config.step_s) * is_standing
        is_stuck = (self.los_s >= LOS_S) | (self.standing_s >= STANDING_S)
        if bool(is_stuck.any()):
            world.traffic = traffic.clone()
            world.traffic.is_flying &= ~is_stuck
            world.pairs = pairs_of(world.traffic)
        return is_stuck

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, to be saved; `restore` takes it back."""
        return {"stranded.los_s": self.los_s, "stranded.standing_s": self.standing_s}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` returned."""
        self.los_s, self.standing_s = (tensors[f"stranded.{name}"].clone() for name in ("los_s", "standing_s"))
