"""Fine-tuning along the gradient of the flight's cost itself; see `analytic`."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ...collect.airspace.objective import Costs
from ...collect.airspace.reward import reward_named
from ...datasets.config import shown
from ...datasets.errors import ConfigurationError
from ..runs import gate
from ..runs.gate import GateFlights
from ..runs.stopwatch import Stopwatch
from . import analytic
from .critic import in_parts
from .methods import (
    FLYING,
    LEARNING,
    NETWORKS,
    Learned,
    Material,
    TuningProgress,
    restore_crews,
    restore_weights,
    saved_crews,
    saved_weights,
    thinned,
)
from .rollout import RolloutFigures


class AnalyticMethod:
    """The gradient of the flight's cost itself.

    Args:
        material: What to do, and with what.
        clock: Counts where the time goes.

    Raises:
        ConfigurationError: The reward is none that can be differentiated.
    """

    def __init__(self, material: Material, clock: Stopwatch) -> None:
        self.material, self.config = material, material.config
        self.parent, self.view = material.parent, material.view
        reward = reward_named(self.config.reward)
        if not isinstance(reward, Costs):
            raise ConfigurationError(
                f"expected a reward that the world can be differentiated through, got {shown(self.config.reward)}. "
                "Use --reward detour, or --method ppo."
            )
        self.costs, self.clock = reward, clock
        self.crews = material.crews(clock)
        self.network = deepcopy(self.parent)
        self.modules: dict[str, nn.Module] = {"policy": self.network}
        self.optimizer = analytic.make_optimizer(self.network, self.config.analytic)
        self.generator = torch.Generator(material.device).manual_seed(self.config.seed)

    def learn(self, progress: TuningProgress) -> Learned:
        """Fly a window, and change the policy against the gradient of its cost."""
        config = self.config
        crew = self.crews[progress.iteration % len(self.crews)]
        figures = RolloutFigures(crew.world)
        with self.clock.measure(FLYING):
            window = analytic.fly_window(
                crew.world, self.network, self.view, config.analytic, self.costs, figures.add
            )
        crew.steps += config.analytic.window
        crew.restart()
        lr = config.learning_rate(progress.learned(window.rows, config.steps))
        self.optimizer.param_groups[0]["lr"] = lr
        with self.clock.measure(LEARNING):
            norm = analytic.update(self.network, self.optimizer, window, config.analytic)
        with self.clock.measure(NETWORKS):
            observation, action = thinned(window.observation, window.action)
            difference = action - in_parts(self.parent, observation)
        to_parent = float(difference.square().mean().sqrt()) if len(difference) else 0.0
        learning = {
            "cost": float(window.cost.detach()),
            **window.terms,
            "aircraft": float(crew.world.config.aircraft),
            "gradient_norm": norm,
            "distance_to_clone": to_parent,
            "lr": lr,
        }
        return Learned(window.rows, False, figures.result(), learning)

    def fly_gate(self, is_parent: bool = False) -> GateFlights:
        """Fly the policy, or its parent, through the gate."""
        return gate.join(self.material.fly_gate(self.parent if is_parent else self.network))

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to continue, as tensors and as JSON."""
        tensors, counters = saved_crews(self.crews, self.generator)
        return {**saved_weights(self.modules, self.optimizer), **tensors}, {"crews": [counters]}

    def restore(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Take back what `saved` returned."""
        restore_weights(self.modules, self.optimizer, tensors)
        restore_crews(self.crews, self.generator, tensors, description["crews"][0])

    def close(self) -> None:
        """Nothing was started."""
