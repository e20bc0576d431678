"""What a fine-tuning run shall do: one frozen dataclass, kept beside the result as `RUN/config.json`."""

from dataclasses import asdict, dataclass, field, replace
from math import log
from pathlib import Path
from typing import Any

from ...collect.airspace.reward import reward_named
from ...collect.airspace.world_config import EMBEDDED, WorldConfig
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.view import View
from .. import networks
from ..checkpoint import Checkpoint
from ..runs import config_file as recipe
from .analytic import AnalyticConfig, Costs
from .ppo import PPOConfig

METHODS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "analytic": {"steps": 4_000_000, "envs": 16, "gate_every": 200, "save_every": 25},
}
"""The methods, and where their defaults differ from those of `FinetuneConfig`."""

RAMP = 0.1  # fraction of the policy's learning in which its learning rate rises


@dataclass(frozen=True)
class FinetuneConfig:
    """What a fine-tuning run shall do; with the checkpoint it starts from it decides the result.

    Attributes:
        method: `ppo`, or `analytic`: the gradient of the flight's cost through the world itself.
        steps: Agent-steps to fly (one flying aircraft, one step).
        envs: Episodes flown at once.
        horizon: Steps of each rollout (ppo).
        seed: Layouts, actions, order of the rows, initial critic.
        warmup: Rollouts from which only the critic learns, before the policy is touched.
        log_std: Logarithm of the initial standard deviation in action units. Noise of 0.2 makes a clone fly so
            badly that it learns to avoid its own noise; 0.05 does not.
        anchor: Weight of the KL divergence to the clone at the start; 0 for none.
        anchor_until: Fraction of the steps after which that weight has fallen, linearly, to 0.
        critic: Network of the critic, such as `pairwise:width=32`; empty for the same as the policy's.
        reward: Its name.
        observation: The clone's, with another number of intruders; empty for the clone's.
        aircraft: Aircraft in an episode; several numbers take turns from iteration to iteration, and share the
            gate's scenarios; none for as many as the clone was trained with.
        scenario: How the traffic is laid out; empty for as the clone was trained with.
        gate_every: Iterations between two flights through the gate.
        gate_scenarios: Scenarios of the gate.
        save_every: Iterations between two saves, and two lines for people.
        threads: Torch threads; 0 leaves torch its own number.
        ppo: What an update of PPO does.
        analytic: What an update along the analytic gradient does, and what it minimises.
    """

    method: str = "ppo"
    steps: int = 1_000_000
    envs: int = 64
    horizon: int = 32
    seed: int = 0
    warmup: int = 6
    log_std: float = round(log(0.05), 3)
    anchor: float = 0.0
    anchor_until: float = 1.0
    critic: str = ""
    reward: str = "separation"
    observation: str = ""
    aircraft: tuple[int, ...] = ()
    scenario: str = ""
    gate_every: int = 4
    gate_scenarios: int = 128
    save_every: int = 1
    threads: int = 1
    ppo: PPOConfig = field(default_factory=PPOConfig)
    analytic: AnalyticConfig = field(default_factory=AnalyticConfig)

    @classmethod
    def of(cls, method: str) -> "FinetuneConfig":
        """Return the defaults of a method.

        Raises:
            ConfigurationError: There is no such method.
        """
        if method not in METHODS:
            raise ConfigurationError(f"unknown method '{method}'. There are: {', '.join(METHODS)}.")
        return cls(method=method, **METHODS[method])

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigurationError(f"unknown method '{self.method}'. There are: {', '.join(METHODS)}.")
        reward_named(self.reward)
        if self.observation:
            View.parse(self.observation)
        if self.critic:
            networks.parse(self.critic)
        at_least_one = ("steps", "envs", "horizon", "gate_every", "save_every")
        for key, low in (*((key, 1) for key in at_least_one), *((key, 0) for key in ("seed", "warmup", "threads"))):
            if getattr(self, key) < low:
                raise ConfigurationError(f"expected {key} of {low} or more, got {getattr(self, key)}")
        if self.gate_scenarios < 2:
            raise ConfigurationError(f"expected 2 or more gate scenarios to compare, got {self.gate_scenarios}")
        if not -20 <= self.log_std <= 2:
            raise ConfigurationError(f"expected log_std from -20 to 2, got {self.log_std}. Use --log-std -3.")
        if not 0 <= self.anchor < float("inf"):
            raise ConfigurationError(f"expected an anchor weight from 0 on, got {self.anchor}")
        if not 0 < self.anchor_until <= 1:
            raise ConfigurationError(f"expected anchor_until above 0 and up to 1, got {self.anchor_until}")

    def learning_rate(self, progress: float) -> float:
        """Return the policy's learning rate when this fraction of its learning is done: up, then down to 0.

        Adam's first steps move every weight by the whole learning rate, whether its gradient means anything or
        not; at full rate the first step alone takes a clone further than the rest of the iteration should. At the
        end, falling steps average the noise of the last rollouts.
        """
        lr = self.ppo.lr if self.method == "ppo" else self.analytic.lr
        return lr * min(progress / RAMP, (1.0 - progress) / (1.0 - RAMP))

    def anchor_weight(self, progress: float) -> float:
        """Return the weight of the KL divergence to the clone when this fraction of the steps is flown."""
        return self.anchor * max(0.0, 1.0 - progress / self.anchor_until)

    def worlds(self, source: Checkpoint) -> list[WorldConfig]:
        """Return the worlds to fly in, by turns: the checkpoint's, with this run's reward, aircraft, scenario.

        The simulator is always the embedded one: flying while the gate flies takes two, and BlueSky is only one.

        Raises:
            ConfigurationError: The checkpoint's world is damaged, or the aircraft do not go together with it.
        """
        saved = source.meta.get("world")
        world = replace(WorldConfig.from_json(saved) if saved else WorldConfig(), reward=self.reward)
        world = replace(world, simulator=EMBEDDED, scenario=self.scenario or world.scenario)
        worlds = [replace(world, aircraft=aircraft) for aircraft in self.aircraft or (world.aircraft,)]
        if min(world.aircraft for world in worlds) < 2:
            raise ConfigurationError(
                f"expected 2 or more aircraft, got {min(world.aircraft for world in worlds)}: one alone has nobody "
                "to avoid. Use --aircraft 20."
            )
        if self.gate_scenarios < 2 * len(worlds):
            raise ConfigurationError(
                f"expected 2 or more gate scenarios for each number of aircraft, got {self.gate_scenarios} for "
                f"{len(worlds)} of them"
            )
        return worlds

    def view(self, source: Checkpoint) -> View:
        """Return what the policy observes.

        Raises:
            ConfigurationError: Something else than the number of intruders differs from the checkpoint's.
        """
        if not self.observation:
            return source.view
        view = View.parse(self.observation)
        if replace(view, intruders=source.view.intruders) != source.view:
            raise ConfigurationError(
                f"expected the observation the clone was trained on, '{source.view}', got '{view}': only the "
                f"number of intruders may differ, as in '{replace(source.view, intruders=12)}'. "
                "For another view, train another clone."
            )
        return view

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "FinetuneConfig":
        """Read what `to_json` made.

        Raises:
            ConfigurationError: A key is missing or unknown.
        """
        recipe.check_keys(data, cls)
        recipe.check_keys(data["ppo"], PPOConfig)
        recipe.check_keys(data["analytic"], AnalyticConfig)
        recipe.check_keys(data["analytic"]["costs"], Costs)
        analytic = AnalyticConfig(**{**data["analytic"], "costs": Costs(**data["analytic"]["costs"])})
        parts = {"aircraft": tuple(data["aircraft"]), "ppo": PPOConfig(**data["ppo"]), "analytic": analytic}
        return cls(**{**data, **parts})


def save_config(run: Path, config: FinetuneConfig, parent: dict[str, Any]) -> None:
    """Write `RUN/config.json`."""
    recipe.save(run, "finetune", config.to_json(), parent=parent)


def load_config(run: Path) -> tuple[FinetuneConfig, dict[str, Any]]:
    """Read `RUN/config.json`: the configuration and the checkpoint the run started from.

    Raises:
        CheckpointError: There is none, it is damaged, or the run is none of fine-tuning.
    """
    config, (parent,) = recipe.load(run, "finetune", FinetuneConfig.from_json, "parent")
    return config, parent


def check_same(run: Path, config: FinetuneConfig, parent: dict[str, Any]) -> None:
    """Raise unless a run that shall go on is given what it began with.

    Raises:
        CheckpointError: Something differs; says what.
    """
    saved, started = load_config(run)
    before, now = _flat(saved), _flat(config)
    if before["method"] != now["method"]:
        now = before | {"method": now["method"]}  # nothing else can be compared
    weights = {f"the weights of {started['path']}": (started["weights_sha256"], parent["weights_sha256"])}
    recipe.check_same(run, before, now, weights)


def _flat(config: FinetuneConfig) -> dict[str, Any]:
    """Return all parameters that matter to the method in one object."""
    data = config.to_json()
    own = data["ppo"] if config.method == "ppo" else {**data["analytic"], **data["analytic"]["costs"]}
    return {key: value for key, value in {**data, **own}.items() if key not in ("ppo", "analytic", "costs")}
