"""Pilots of DAgger rounds: the policy, with the teacher flying some of the aircraft on request.

Ross, Gordon, Bagnell (AISTATS 2011) let the teacher fly a step with probability beta. Changing hands every second
gives jerky tracks that neither of the two would fly. Whole episodes of the teacher are what the first dataset holds
already. So the hands are given per aircraft: some aircraft of every episode are flown by the teacher from start to
end, and policies meet them, and one another, as they will in flight.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...collect import teachers
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.flight import Pilot, TeacherPilot
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..policy import Policy, load_policy


class MixedPilot:
    """The policy flies, except the aircraft the teacher flies.

    Args:
        policy: The policy.
        teacher: Flies the other aircraft.
        is_taught: (N,) bool, True where the teacher flies.
        fingerprint: Says which weights and mixture these are; goes into a dataset's manifest.
    """

    def __init__(self, policy: Policy, teacher: Pilot, is_taught: Tensor, fingerprint: str) -> None:
        self.policy, self.teacher, self.is_taught, self.fingerprint = policy, teacher, is_taught, fingerprint

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        """Return the actions (B, N, 2) of all aircraft."""
        action = self.policy.pilot(traffic, pairs)
        if not self.is_taught.any():
            return action
        return torch.where(self.is_taught.unsqueeze(-1), self.teacher(traffic, pairs), action)


@dataclass(frozen=True)
class MixedPilotLoader:
    """Makes the pilot in each process of the collector; picklable.

    Attributes:
        checkpoint: The policy's file.
        world: The world.
        teacher: Such as `mvp:margin=1.1`.
        beta: Share of the aircraft that the teacher flies.
        seed: Draws which of their numbers, the same in every episode.
    """

    checkpoint: str
    world: WorldConfig
    teacher: str
    beta: float
    seed: int

    def __call__(self, name: str) -> MixedPilot:
        """Load the policy; its name in the manifest does not matter."""
        policy = load_policy(self.checkpoint)
        teacher = teachers.parse(self.teacher, self.world)
        mixture = f"+{self.beta:g} teacher" if self.beta else ""
        is_taught = taught(self.world.aircraft, self.beta, self.seed)
        flown_by_teacher = TeacherPilot(teacher, self.world)
        return MixedPilot(policy, flown_by_teacher, is_taught, policy.fingerprint + mixture)


def taught(aircraft: int, beta: float, seed: int) -> Tensor:
    """Draw which aircraft the teacher flies: beta of them, rounded, (N,) bool."""
    chosen = np.random.default_rng(seed).permutation(aircraft)[: round(beta * aircraft)]
    is_taught = torch.zeros(aircraft, dtype=torch.bool)
    is_taught[torch.from_numpy(chosen)] = True
    return is_taught
