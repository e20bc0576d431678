"""The world for online reinforcement learning: Gymnasium and PettingZoo.

Interfaces to the same flights: `SectorVectorEnv` (a batch of episodes at once, the fast one), `SectorEnv`
(one episode) and `SectorParallelEnv` (PettingZoo, one agent per aircraft; needs `skyclone[pettingzoo]`). All
aircraft act in each of them; ended ones are zeros. In `OwnshipEnv`, and in `OwnshipVectorEnv`, a batch of it, one
aircraft acts, and the teacher flies the others; observations are flat. `StableBaselinesVecEnv` hands either batch
to Stable-Baselines3. The teacher's action for the very state that was observed is in `infos["teacher_action"]`.
Infos are numbers, with the same keys after a reset and a step; `OUTCOMES[outcome]` is the name of an outcome.

    >>> from skyclone.collect.airspace.world_config import WorldConfig
    >>> from skyclone.collect.environments import SectorVectorEnv
    >>> envs = SectorVectorEnv(num_envs=2, config=WorldConfig(aircraft=5), view="ego:intruders=3")
    >>> observation, infos = envs.reset(seed=1)
    >>> observation["intruders"].shape  # (num_envs, N, K, F)
    (2, 5, 3, 5)
    >>> observation, reward, terminated, truncated, infos = envs.step(infos["teacher_action"])
    >>> infos["aircraft_reward"].shape
    (2, 5)

Through Gymnasium's registry: `register_environments()`, then `gymnasium.make("skyclone/Sector-v0")` or
`gymnasium.make_vec("skyclone/Sector-v0", num_envs=64)`; the same with `skyclone/Ownship-v0`. How Stable-Baselines3,
TorchRL, RLlib, CleanRL and SuperSuit train on them: docs/integrations.md.
"""

from typing import TYPE_CHECKING, Any

import gymnasium

from ...datasets.traffic.record import OUTCOMES
from . import ownship
from .ownship import OwnshipEnv, OwnshipVectorEnv
from .vector import SectorEnv, SectorVectorEnv

if TYPE_CHECKING:
    from .parallel import SectorParallelEnv
    from .stable_baselines import StableBaselinesVecEnv

__all__ = [
    "OUTCOMES",
    "OwnshipEnv",
    "OwnshipVectorEnv",
    "SectorEnv",
    "SectorParallelEnv",
    "SectorVectorEnv",
    "StableBaselinesVecEnv",
    "register_environments",
]

ENVIRONMENT_ID = "skyclone/Sector-v0"


def __getattr__(name: str) -> Any:
    """Import what needs other packages only when it is asked for."""
    if name == "SectorParallelEnv":
        from .parallel import SectorParallelEnv

        return SectorParallelEnv
    if name == "StableBaselinesVecEnv":
        from .stable_baselines import StableBaselinesVecEnv

        return StableBaselinesVecEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register_environments() -> None:
    """Make Gymnasium know `skyclone/Sector-v0` and `skyclone/Ownship-v0`; calling it again does no harm."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            ENVIRONMENT_ID,
            entry_point="skyclone.collect.environments:SectorEnv",
            vector_entry_point="skyclone.collect.environments:SectorVectorEnv",
        )
    if ownship.ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            ownship.ENVIRONMENT_ID,
            entry_point=ownship.ENTRY_POINT,
            vector_entry_point=ownship.VECTOR_ENTRY_POINT,
        )
