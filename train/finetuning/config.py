"""What a fine-tuning run is to do: one frozen config, kept beside the result as `RUN/config.json`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ...collect.airspace.world_config import EMBEDDED, WorldConfig
from ...collect.airspace.worlds import by_turns
from ...datasets import spec
from ...datasets.config import Config, Count, config, shown
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.view import View
from ..runs import config_file

if TYPE_CHECKING:
    from ...collect.airspace.objective import Costs
    from ..checkpoint import Checkpoint

METHODS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "analytic": {"steps": 4_000_000, "envs": 16, "gate_every": 200, "save_every": 25},
}
"""The methods, and where their defaults differ from those of `FinetuneConfig`."""

PPO_ONLY = ("horizon", "critic", "warmup", "log_std", "anchor", "anchor_until", "processes")
"""The fields of `FinetuneConfig` that mean something to PPO only."""

RAMP = 0.1  # fraction of the policy's learning in which its learning rate rises
MOST_EPISODES = 2**20  # flown at once
MOST_PROCESSES = 64
MOST_STEPS = 32_000  # no episode has more


@config
class PPOConfig(Config):
    """What an update of PPO does."""

    lr: float = Field(default=4e-4, gt=0, description="Learning rate of the policy.")
    critic_lr: float = Field(default=5e-4, gt=0, description="learning rate of the critic.")
    epochs: int = Field(default=3, ge=1, description="times each rollout is learned from.")
    share: float = Field(
        default=0.5, gt=0, le=1, description="share of the rows each time, drawn by how much they say."
    )
    limit: float = Field(
        default=10.0, gt=0, description="advantages count no more than so many standard deviations."
    )
    minibatch: int = Field(default=2048, ge=1, description="rows per gradient step, about.")
    clip: float = Field(default=0.2, gt=0, description="how far probability ratios may move.")
    entropy: float = Field(default=0.0, ge=0, description="weight of the entropy bonus.")
    target_kl: float = Field(default=0.2, ge=0, description="stop an update there; 0: never.")
    gradient_norm: float = Field(default=0.5, gt=0, description="Gradients are clipped to it.")
    discount: float = Field(default=0.95, ge=0, le=1, description="discount per step (gamma).")
    smoothing: float = Field(default=0.9, ge=0, le=1, description="smoothing of the advantages (lambda).")
    average: float = Field(
        default=0.998,
        ge=0,
        lt=1,
        description="what is flown and published: an average of the last 1 / (1 - this) steps.",
    )


@config
class AnalyticConfig(Config):
    """What an update along the analytic gradient does, and what it minimises."""

    lr: float = Field(default=3e-4, gt=0, description="Learning rate of the policy.")
    window: int = Field(default=14, ge=1, le=MOST_STEPS, description="steps differentiated at once.")
    damping: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="factor on the gradient per step back.",
        json_schema_extra={"hint": "1 is no damping."},
    )
    gradient_norm: float = Field(default=0.5, gt=0, description="Gradients are clipped to it.")


@config
class FinetuneConfig(Config):
    """What a fine-tuning run is to do; with the checkpoint it starts from it decides the result.

    More noise makes a clone fly so badly that it learns to avoid its own noise (0.2); with less (0.05) chance
    hardly ever shows it anything.
    """

    added = ("world", "surveillance")

    method: Literal["ppo", "analytic"] = Field(
        default="ppo", description="How: estimated gradients, or exact ones through the world."
    )
    steps: int = Field(default=1_000_000, ge=1, description="Agent-steps to fly.")
    envs: int = Field(default=64, ge=1, le=MOST_EPISODES, description="Episodes flown at once.")
    horizon: int = Field(default=16, ge=1, le=MOST_STEPS, description="steps of each rollout.")
    seed: int = Field(default=0, ge=0, description="Layouts, actions, order of rows, initial critic.")
    warmup: int = Field(default=6, ge=0, description="rollouts in which only the critic learns.")
    log_std: float = Field(
        default=-2.0,
        ge=-20,
        le=2,
        description="log of the initial noise in action units.",
        json_schema_extra={"hint": "Use --log-std -3."},
    )
    anchor: float = Field(default=0.0, ge=0, description="weight of the KL divergence to the clone.")
    anchor_until: float = Field(default=1.0, gt=0, le=1, description="fraction of the steps until it is gone.")
    critic: str = Field(
        default="thresholds:width=32:hidden=64:heads=2:head_size=8", description="network of the critic."
    )
    processes: int = Field(
        default=1,
        ge=1,
        le=MOST_PROCESSES,
        description="how many share the episodes; others than 1 on the CPU only.",
    )
    reward: str = Field(
        default="detour",
        description="What to improve: detour (takes what costs what: detour:path=2:margin=1.15), or seed.",
    )
    observation: str = Field(default="", description="See more: ego:intruders=12.  [default: as the clone]")
    world: WorldConfig | None = Field(default=None, description="The world to learn in; None for the clone's.")
    aircraft: tuple[Count, ...] = Field(
        default=(), description="Aircraft in an episode; 20,40 by turns.  [default: as the clone]"
    )
    scenario: str = Field(default="", description="How the traffic is laid out.  [default: as the clone]")
    surveillance: str = Field(
        default="",
        description="What aircraft know of each other; perfect,remote-id by turns.  [default: as the clone]",
    )
    gate_every: int = Field(default=40, ge=1, description="Iterations between flights through the gate.")
    gate_scenarios: int = Field(default=128, ge=2, le=MOST_EPISODES, description="Scenarios of the gate.")
    save_every: int = Field(default=1, ge=1, description="Iterations between two saves.")
    threads: int = Field(
        default=1, ge=0, le=config_file.MOST_THREADS, description="Threads of torch; 0 leaves it its own number."
    )
    ppo: PPOConfig = Field(default_factory=PPOConfig, description="What an update of PPO does.")
    analytic: AnalyticConfig = Field(
        default_factory=AnalyticConfig, description="What an update along the analytic gradient does."
    )

    @classmethod
    def of(cls, method: str) -> "FinetuneConfig":
        """Return the defaults of a method.

        Raises:
            ConfigurationError: There is no such method.
        """
        return cls(method=method, **spec.find(method, "method", METHODS))  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        from ...collect.airspace.reward import reward_named
        from .. import networks  # torch: only where something is trained

        reward_named(self.reward)
        if self.observation:
            View.parse(self.observation)
        networks.parse(self.critic)

    @property
    def costs(self) -> "Costs":
        """What the objective counts, as the gate reports it: the reward's, or the usual beside another reward."""
        from ...collect.airspace.objective import Costs
        from ...collect.airspace.reward import reward_named

        reward = reward_named(self.reward)
        return reward if isinstance(reward, Costs) else Costs()

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

    def worlds(self, parent: "Checkpoint", is_begun: bool = False) -> list[WorldConfig]:
        """Return the worlds to fly in, by turns: `world` or the checkpoint's, with this run's reward, aircraft, ...

        Of several numbers of aircraft and several surveillances, each with each.

        The simulator is always the embedded one: flying while the gate flies takes two, and BlueSky is only one.

        Args:
            parent: The checkpoint.
            is_begun: Whether the run was begun before, by whoever accepted the checkpoint's world.

        Raises:
            ConfigurationError: The checkpoint's world is damaged, or the aircraft do not go together with it; or it
                names scenario files, and nobody has typed their name.
        """
        from ...collect import scenarios  # torch: only where something is trained

        saved = parent.meta.get("world")
        world = self.world or (WorldConfig.from_json(saved) if saved else WorldConfig())
        if self.scenario:
            world = replace(world, scenario=scenarios.typed(self.scenario))
        elif scenarios.is_file(world.scenario) and not is_begun:
            raise ConfigurationError(
                f"{parent.path} was trained on {shown(world.scenario)}, and a checkpoint opens no other files. "
                "Name them yourself, or a scenario: --scenario file:PATH, or --scenario sector."
            )
        world = scenarios.recorded_world(world.to_json(), parent.path)
        world = replace(world, simulator=EMBEDDED, reward=self.reward)
        worlds = by_turns(world, self.aircraft, self.surveillance)
        if min(world.aircraft for world in worlds) < 2:
            raise ConfigurationError(
                f"expected 2 or more aircraft, got {min(world.aircraft for world in worlds)}: one alone has nobody "
                "to avoid. Use --aircraft 20."
            )
        if self.processes > min(self.envs, self.gate_scenarios // len(worlds)):
            raise ConfigurationError(
                f"expected no more processes than episodes flown at once ({self.envs}), and than gate scenarios of "
                f"each world ({self.gate_scenarios // len(worlds)}), got {self.processes}. "
                "Use --processes 1."
            )
        if self.gate_scenarios < 2 * len(worlds):
            raise ConfigurationError(
                f"expected 2 or more gate scenarios for each number of aircraft and surveillance, got "
                f"{self.gate_scenarios} for {len(worlds)} of them"
            )
        return worlds

    def view(self, parent: "Checkpoint") -> View:
        """Return what the policy observes.

        Raises:
            ConfigurationError: Something else than the number of intruders differs from the checkpoint's.
        """
        if not self.observation:
            return parent.view
        view = View.parse(self.observation, parent.view.scale)
        if replace(view, intruders=parent.view.intruders) != parent.view:
            raise ConfigurationError(
                f"expected the observation the clone was trained on, '{parent.view}', got '{view}': only the "
                f"number of intruders may differ, as in '{replace(parent.view, intruders=12)}'. "
                "For another view, train another clone."
            )
        return view


def save_config(run: Path, config: FinetuneConfig, parent: dict[str, Any]) -> None:
    """Write `RUN/config.json`."""
    config_file.save(run, "finetune", config.to_json(), parent=parent)


def load_config(run: Path) -> tuple[FinetuneConfig, dict[str, Any]]:
    """Read `RUN/config.json`: the configuration and the checkpoint the run started from.

    Raises:
        CheckpointError: There is none, it is damaged, or the run is none of fine-tuning.
    """
    config, (parent,) = config_file.load(run, "finetune", FinetuneConfig.from_json, "parent")
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
    config_file.check_same(run, before, now, weights)


def _flat(config: FinetuneConfig) -> dict[str, Any]:
    """Return all parameters that matter to the method in one object."""
    data = {**config.to_json(), "world": config.world and config.world.to_json()}
    return {key: value for key, value in {**data, **data[config.method]}.items() if key not in METHODS}
