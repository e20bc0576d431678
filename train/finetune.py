"""Fine-tuning: go on from a clone with PPO, without ever publishing something worse than the clone.

A run is a folder like that of a clone: `config.json` (what it shall do), `clone.*` (a copy of what it started
from), `last.state.safetensors` (all else that is needed to go on), `best.*` and `last.*` (checkpoints),
`metrics.jsonl` and `tensorboard/` (figures), `summary.json` (the end).
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets.errors import CheckpointError
from ..datasets.publication import clean, publish
from . import checkpoint, gate, ppo
from .checkpoint import Checkpoint
from .cloning import STATE_NAME, SUMMARY_NAME, TrainingError, choose_device, is_run
from .critic import Critic, in_parts
from .curve import Curve, Round, gate_line, summarise, summary_lines
from .finetune_configuration import FinetuneConfig, check_same, load_config, save_config
from .gate import Flown
from .interruption import Interruption, remembered
from .networks import Network, parse
from .policy import Policy
from .rollout import Crew, Rollout, estimate, returns
from .stopwatch import Stopwatch

NETWORKS, LEARNING, GATE, SAVING = "networks", "learning", "gate", "saving"
CLONE_NAME = "clone"
KL_ROWS = 4096  # rows on which the distance to the clone is measured where it is not needed for learning


@dataclass
class Progress:
    """Where a run is, saved with its weights.

    Attributes:
        iteration: Iterations done.
        steps: Agent-steps flown.
        warmup_steps: Those of them from which only the critic learned.
        best_iteration: The iteration whose policy is the best; 0 is the clone.
        is_finished: Whether nothing is left to do.
        elapsed_s: Seconds spent so far, all attempts together.
        seconds: Where they went, by name.
    """

    iteration: int = 0
    steps: int = 0
    warmup_steps: int = 0
    best_iteration: int = 0
    is_finished: bool = False
    elapsed_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)


class Finetuning:
    """One run of fine-tuning.

    Args:
        source: The run (or file, or `pretrained:NAME`) to start from; None to go on with what `run` began with.
        run: The run's folder; made if it is missing.
        config: What to do.
        resume: Go on with the run in the folder, if there is one; otherwise a run there is an error.
        device: `auto`, `cpu`, `cuda`, ...
        say: Receives each line for people.

    Attributes:
        actor: The policy that learns.
        critic: Its critic.
        clone: The network it started as; never changed.

    Raises:
        CheckpointError: There is no such source; the folder holds a run and resume is False, or another run.
        ConfigurationError: The device is not there, or the world cannot be flown.
    """

    def __init__(
        self,
        source: str | Path | None,
        run: str | Path,
        config: FinetuneConfig,
        *,
        resume: bool = False,
        device: str = "auto",
        say: Callable[[str], None] = print,
    ) -> None:
        self.run, self.config, self._say = Path(run), config, say
        self.device = choose_device(device)
        is_there = is_run(self.run)
        if is_there and not resume:
            raise CheckpointError(
                f"{self.run} already holds a run. Go on with it with --resume, or choose another --out."
            )
        copy = self.run / f"{CLONE_NAME}.safetensors"
        loaded = checkpoint.load(copy if source is None else source)
        path = load_config(self.run)[1]["path"] if source is None else str(source)
        parent = {"path": path, "weights_sha256": loaded.meta["weights_sha256"]}
        if is_there:
            check_same(self.run, config, parent)
        elif resume:
            say(f"Nothing to resume in {self.run}: starting from the beginning.")
        self.view = loaded.view
        self.progress, self.clock, self._began = Progress(), Stopwatch(), time.perf_counter()
        self._build(loaded)
        self._meta = {
            "stage": "finetune",
            "world": self.world.to_json(),
            "teacher": loaded.meta["teacher"],
            "datasets": loaded.meta["datasets"],
            "config": config.to_json(),
            "parent": parent,
        }
        self._flown: dict[str, Flown] = {}  # through the gate, of `clone` and `best`
        if is_there:
            self._restore()
        else:
            self.run.mkdir(parents=True, exist_ok=True)
            meta = {key: loaded.meta[key] for key in checkpoint.META_KEYS}
            checkpoint.save(self.run / CLONE_NAME, self.clone, self.view, meta)
            save_config(self.run, config, parent)

    def _build(self, loaded: Checkpoint) -> None:
        """Make everything that learns and flies."""
        config = self.config
        self.world = config.world(loaded)
        self.clone: Network = loaded.network.to(self.device)
        self.actor = ppo.Actor(deepcopy(loaded.network), config.log_std).to(self.device)
        spec = loaded.network.spec
        if config.critic:
            name, parameters = parse(config.critic)
            spec = {"name": name, "parameters": parameters}
        self.critic = Critic(self.view, spec, config.seed).to(self.device)
        if not config.critic:
            self.critic.adopt(self.clone)
        self.optimizer = ppo.make_optimizer(self.actor, self.critic, config.ppo)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.crew = Crew(self.world, config.seed, config.envs, self.view, self.device, stopwatch=self.clock)

    def train(self) -> dict[str, Any]:
        """Fine-tune to the end, and return the summary that is also written to `RUN/summary.json`.

        Raises:
            TrainingError: Something became NaN or infinite; the last good state is kept.
            KeyboardInterrupt: Somebody pressed Ctrl-C; the state is saved.
        """
        self._began = time.perf_counter() - self.progress.elapsed_s
        sizes = [sum(weight.numel() for weight in each.parameters()) for each in (self.clone, self.critic)]
        self._say(
            f"Stage 2 - {self.clone.name} on {self.view}, {sizes[0]:,} parameters, critic {sizes[1]:,}; "
            f"{self.world.aircraft} aircraft, reward '{self.world.reward}', {self.device}"
        )
        with remembered() as interruption, Curve(self.run, self.progress.iteration) as curve:
            try:
                if not self._flown:
                    self._begin()
                while not self.progress.is_finished:
                    self._stop_if(interruption)
                    self._iterate(curve)
            except TrainingError as error:
                self._finish(curve, str(error))
                raise
            return self._finish(curve)

    def _begin(self) -> None:
        """Fly the clone through the gate and publish it as the best there is so far."""
        with self.clock.measure(GATE):
            flown = self._fly_gate(self.clone)
        self._flown = {"clone": flown, "best": flown}
        figures = {**gate.compare(flown, flown), "is_best": True, "reason": "the clone itself"}
        self._say(gate_line(figures, flown.figures()))
        self._publish("best", figures)
        self._publish("last", figures)
        self._save_state()

    def _iterate(self, curve: Curve) -> None:
        """Fly a rollout, learn from it, perhaps fly through the gate, tell and save."""
        progress, config, start = self.progress, self.config, time.perf_counter()
        is_warmup = progress.iteration < config.warmup
        rollout = self.crew.fly(self.actor, config.horizon, self.generator)
        learning = self._learn(rollout, is_warmup)
        rows = len(rollout.action)
        progress.iteration += 1
        progress.steps += rows
        progress.warmup_steps += rows if is_warmup else 0
        progress.is_finished = progress.steps >= config.steps
        is_gate = not is_warmup and (progress.is_finished or progress.iteration % config.gate_every == 0)
        judged = self._judge() if is_gate else None
        now = time.perf_counter()
        figures = Round(
            iteration=progress.iteration,
            steps=progress.steps,
            is_warmup=is_warmup,
            rollout=rollout.figures,
            learning=learning,
            gate=judged,
            steps_per_second=rows / (now - start),
            seconds=now - self._began,
        )
        curve.add(figures)
        to_go = math.ceil(max(config.steps - progress.steps, 0) / max(rows, 1))
        self._say(figures.line(progress.iteration + to_go))
        if judged:
            self._say(gate_line(judged, self._flown["clone"].figures()))
        self._publish("last", judged)
        self._save_state()

    def _learn(self, rollout: Rollout, is_warmup: bool) -> dict[str, float]:
        """Update critic and actor; return the figures.

        Raises:
            TrainingError: Something became NaN or infinite.
        """
        config = self.config.ppo
        if self.progress.iteration == 0:
            self.critic.calibrate(returns(rollout, config.discount))
        weight = self.config.anchor_weight(self.progress.steps / self.config.steps)
        lr = 0.0 if is_warmup else self._learning_rate(len(rollout.action))
        self.optimizer.param_groups[0]["lr"] = lr
        with self.clock.measure(NETWORKS):
            estimates = estimate(rollout, self.critic, config.discount, config.smoothing)
            clone_mean, kl_to_clone = self._distance_to_clone(rollout, needs_all=weight > 0 and not is_warmup)
        batch = ppo.Batch(
            rollout.observation,
            rollout.action,
            rollout.log_prob,
            ppo.normalise(estimates.advantage),
            estimates.target,
            clone_mean,
        )
        with self.clock.measure(LEARNING):
            figures = ppo.update(
                self.actor,
                self.critic,
                self.optimizer,
                batch,
                config,
                self.generator,
                anchor=weight,
                anchor_log_std=self.config.log_std,
                is_actor_frozen=is_warmup,
            )
            self._check_finite(figures)
        return {
            **figures._asdict(),
            "kl_to_clone": kl_to_clone,
            "entropy": float(ppo.entropy(self.actor.log_std.detach())),
            "std": float(self.actor.log_std.detach().exp().mean()),
            "explained_variance": ppo.explained_variance(estimates.value, estimates.target),
            "mean_value": float(estimates.value.mean()),
            "anchor": weight,
            "lr": lr,
        }

    def _learning_rate(self, rows: int) -> float:
        """Return the policy's learning rate for a rollout: that of the middle of it."""
        begin = self.progress.warmup_steps
        done = (self.progress.steps - begin + 0.5 * rows) / max(self.config.steps - begin, 1)
        return self.config.learning_rate(min(done, 1.0))

    def _distance_to_clone(self, rollout: Rollout, needs_all: bool) -> tuple[Tensor | None, float]:
        """Return the clone's means (M, A), if they are needed, and the mean KL(policy || clone) of the rollout."""
        observation, mean = rollout.observation, rollout.mean
        if not needs_all:
            every = max(1, len(mean) // KL_ROWS)
            observation, mean = type(observation)(*(tensor[::every] for tensor in observation)), mean[::every]
        clone_mean = in_parts(self.clone, observation)
        log_std = self.actor.log_std.detach()
        kl = ppo.kl_divergence(mean, log_std, clone_mean, torch.full_like(log_std, self.config.log_std))
        return clone_mean if needs_all else None, float(kl.mean())

    def _check_finite(self, figures: ppo.Figures) -> None:
        """Raise unless all figures and weights are finite."""
        modules = {"policy": self.actor, "critic": self.critic}
        bad = [name for name, value in figures._asdict().items() if not math.isfinite(value)]
        bad += [f"weights of the {name}" for name, module in modules.items() if not _is_finite(module)]
        if bad:
            raise TrainingError(
                f"expected finite numbers, got NaN or infinity in {', '.join(bad)} in iteration "
                f"{self.progress.iteration + 1}; stopped, with the last good weights kept in {self.run}. "
                "Fine-tune into another folder with a tenth of --lr."
            )

    def _fly_gate(self, network: nn.Module) -> Flown:
        """Fly a network's mean actions through the gate."""
        policy = Policy(network, self.view)  # type: ignore[arg-type]
        with torch.no_grad():
            return gate.fly_gate(
                policy.pilot, self.world, self.config.seed, self.config.gate_scenarios, self.device
            )

    def _judge(self) -> dict[str, Any]:
        """Fly the policy through the gate, and publish it if it is better than the best so far."""
        with self.clock.measure(GATE):
            flown = self._fly_gate(self.actor.network)
        verdict = gate.judge(flown, self._flown["best"], self._flown["clone"])
        compared = gate.compare(flown, self._flown["clone"])
        figures = {**compared, "is_best": verdict.is_better, "reason": verdict.reason}
        if verdict.is_better:
            self._flown["best"] = flown
            self.progress.best_iteration = self.progress.iteration
            self._publish("best", figures)
        return figures

    def _publish(self, name: str, figures: Mapping[str, Any] | None) -> None:
        """Save the policy's network as a checkpoint like a clone's."""
        with self.clock.measure(SAVING):
            metrics = {"iteration": self.progress.iteration, "steps": self.progress.steps, "gate": figures}
            meta = {**self._meta, "metrics": metrics}
            checkpoint.save(self.run / name, self.actor.network, self.view, meta)

    def _stop_if(self, interruption: Interruption) -> None:
        """Stop if Ctrl-C was pressed; the state of the last iteration is saved."""
        if interruption.is_wanted:
            raise KeyboardInterrupt(
                f"Stopped after iteration {self.progress.iteration}; all is saved. "
                "The same command with --resume goes on from here."
            )

    def _save_state(self) -> None:
        """Save all that is needed to go on exactly from here."""
        with self.clock.measure(SAVING):
            self.progress.elapsed_s = time.perf_counter() - self._began
            self.progress.seconds = self.clock.seconds
            tensors = {
                **_named("actor", self.actor.state_dict()),
                **_named("critic", self.critic.state_dict()),
                **checkpoint.optimizer_tensors(self.optimizer),
                **self.crew.tensors(),
                "generator": self.generator.get_state(),
            }
            for name, flown in self._flown.items():
                tensors[f"flown.{name}"] = torch.stack(flown)  # (7, S)
            description = {"progress": asdict(self.progress), "crew": self.crew.counters()}
            checkpoint.write_tensors(self.run / STATE_NAME, tensors, description)

    def _restore(self) -> None:
        """Go on from the saved state; without one (killed before the first) from the beginning."""
        clean(self.run)
        path = self.run / STATE_NAME
        if not path.exists():
            return
        tensors, description = checkpoint.read_tensors(path)
        try:
            self.progress = Progress(**description["progress"])
            self.actor.load_state_dict(_under("actor", tensors))
            self.critic.load_state_dict(_under("critic", tensors))
            checkpoint.restore_optimizer(self.optimizer, tensors)
            self.crew.restore(tensors, description["crew"])
            self.generator.set_state(tensors["generator"])
            self._flown = {name: Flown(*tensors[f"flown.{name}"].unbind(0)) for name in ("clone", "best")}
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} does not fit this run: {error}. Fine-tune into another folder."
            ) from None
        self.clock.seconds.update(self.progress.seconds)
        done = ", which was the last one" if self.progress.is_finished else ""
        self._say(f"Going on after iteration {self.progress.iteration}{done}.")

    def _finish(self, curve: Curve, trouble: str | None = None) -> dict[str, Any]:
        """Write the summary, and say how it went."""
        is_saved = (self.run / "best.safetensors").exists()
        summary = summarise(curve, self.progress.best_iteration, self._flown, self.clock.seconds, is_saved, trouble)
        publish(self.run / SUMMARY_NAME, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
        for line in summary_lines(summary):
            self._say(line)
        self._say(f"Where the time went: {self.clock.line()}")
        return summary


def _is_finite(module: nn.Module) -> bool:
    """Return whether all weights of a module are finite."""
    return all(bool(torch.isfinite(weight).all()) for weight in module.parameters())


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before the names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
