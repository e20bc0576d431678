"""What a fine-tuning run shall do: one frozen dataclass, kept beside the result as `RUN/config.json`."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from math import log
from pathlib import Path
from typing import Any

from ..collect.configuration import EMBEDDED, WorldConfig
from ..collect.reward import reward_named
from ..datasets.errors import CheckpointError, ConfigurationError
from ..datasets.publication import publish
from . import networks
from .checkpoint import Checkpoint
from .configuration import CONFIG_NAME
from .ppo import PPOConfig

RAMP = 0.1  # fraction of the policy's learning in which its learning rate rises


@dataclass(frozen=True)
class FinetuneConfig:
    """What a fine-tuning run shall do; with the checkpoint it starts from it decides the result.

    Attributes:
        steps: Agent-steps to fly (one flying aircraft, one step).
        envs: Episodes flown at once.
        horizon: Steps of each rollout.
        seed: Layouts, actions, order of the rows, initial critic.
        warmup: Rollouts from which only the critic learns, before the policy is touched.
        log_std: Logarithm of the initial standard deviation in action units. Noise of 0.2 makes a clone fly so
            badly that it learns to avoid its own noise; 0.05 does not.
        anchor: Weight of the KL divergence to the clone at the start; 0 for none.
        anchor_until: Fraction of the steps after which that weight has fallen, linearly, to 0.
        critic: Network of the critic, such as `pairwise:width=32`; empty for the same as the policy's.
        reward: Its name.
        aircraft: Aircraft in an episode; 0 for as many as the clone was trained with.
        scenario: How the traffic is laid out; empty for as the clone was trained with.
        gate_every: Iterations between two flights through the gate.
        gate_scenarios: Scenarios of the gate.
        threads: Torch threads; 0 leaves torch its own number.
        ppo: What an update does.
    """

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
    aircraft: int = 0
    scenario: str = ""
    gate_every: int = 4
    gate_scenarios: int = 128
    threads: int = 1
    ppo: PPOConfig = field(default_factory=PPOConfig)

    def __post_init__(self) -> None:
        reward_named(self.reward)
        if self.critic:
            networks.parse(self.critic)
        at_least_one = ("steps", "envs", "horizon", "gate_every")
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
        return self.ppo.lr * min(progress / RAMP, (1.0 - progress) / (1.0 - RAMP))

    def anchor_weight(self, progress: float) -> float:
        """Return the weight of the KL divergence to the clone when this fraction of the steps is flown."""
        return self.anchor * max(0.0, 1.0 - progress / self.anchor_until)

    def world(self, source: Checkpoint) -> WorldConfig:
        """Return the world to fly in: the checkpoint's, with this run's reward, number of aircraft, scenario.

        The simulator is always the embedded one: flying while the gate flies takes two, and BlueSky is only one.

        Raises:
            ConfigurationError: The checkpoint's world is damaged, or the aircraft do not go together with it.
        """
        saved = source.meta.get("world")
        world = replace(WorldConfig.from_json(saved) if saved else WorldConfig(), reward=self.reward)
        world = replace(world, simulator=EMBEDDED)
        world = replace(world, aircraft=self.aircraft or world.aircraft, scenario=self.scenario or world.scenario)
        if world.aircraft < 2:
            raise ConfigurationError(
                f"expected 2 or more aircraft, got {world.aircraft}: one alone has nobody to avoid. "
                "Use --aircraft 20."
            )
        return world

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "FinetuneConfig":
        """Read what `to_json` made.

        Raises:
            ConfigurationError: A key is missing or unknown.
        """
        _check_keys(data, cls)
        _check_keys(data["ppo"], PPOConfig)
        return cls(**{**data, "ppo": PPOConfig(**data["ppo"])})


def _check_keys(data: dict[str, Any], kind: type[FinetuneConfig] | type[PPOConfig]) -> None:
    """Raise unless an object has exactly the keys of a configuration."""
    known = {each.name for each in fields(kind)}
    missing, unknown = sorted(known - set(data)), sorted(set(data) - known)
    if missing or unknown:
        raise ConfigurationError(
            f"configuration of a run: missing keys {missing or 'none'}, unknown keys {unknown or 'none'}. "
            "Was it written by another version of skyclone?"
        )


def save_config(run: Path, config: FinetuneConfig, parent: dict[str, Any]) -> None:
    """Write `RUN/config.json`."""
    text = json.dumps({"stage": "finetune", "config": config.to_json(), "parent": parent}, indent=1)
    publish(run / CONFIG_NAME, text.encode() + b"\n")


def load_config(run: Path) -> tuple[FinetuneConfig, dict[str, Any]]:
    """Read `RUN/config.json`: the configuration and the checkpoint the run started from.

    Raises:
        CheckpointError: There is none, it is damaged, or the run is none of fine-tuning.
    """
    path = run / CONFIG_NAME
    try:
        data = json.loads(path.read_bytes())
        if data.get("stage") != "finetune":
            raise CheckpointError(f"{run} holds no fine-tuning run. Choose another --out.")
        return FinetuneConfig.from_json(data["config"]), dict(data["parent"])
    except FileNotFoundError:
        raise CheckpointError(
            f"{run} holds no fine-tuning run: expected {CONFIG_NAME} in it. Leave out --resume to start one."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Fine-tune into another folder.") from None


def check_same(run: Path, config: FinetuneConfig, parent: dict[str, Any]) -> None:
    """Raise unless a run that shall go on is given what it began with.

    Raises:
        CheckpointError: Something differs; says what.
    """
    saved_config, saved_parent = load_config(run)
    before, now = _flat(saved_config), _flat(config)
    different = [f"{key} {before[key]} (got {now[key]})" for key in before if before[key] != now[key]]
    if parent["weights_sha256"] != saved_parent["weights_sha256"]:
        different.append(f"the weights of {saved_parent['path']} (got others: {parent['path']})")
    if different:
        raise CheckpointError(
            f"{run} was begun with {'; '.join(different)}. Resume it with what it was begun with, "
            "or fine-tune into another folder without --resume."
        )


def _flat(config: FinetuneConfig) -> dict[str, Any]:
    """Return all parameters in one object."""
    data = config.to_json()
    return {**{key: value for key, value in data.items() if key != "ppo"}, **data["ppo"]}
