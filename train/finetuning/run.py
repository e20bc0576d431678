"""Fine-tuning: start from a parent, without ever publishing something worse than the parent.

How it learns is up to the method (`methods`); here is the run around it.

A run is a folder like that of a clone: `config.json` (its settings), `clone.*` (a copy of what it started
from), `last.state.safetensors` (all else that is needed to continue), `best.*` and `last.*` (checkpoints),
`metrics.jsonl` and `tensorboard/` (or another tracker's, figures), `summary.json` and `los.png` (the end).
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...collect.airspace.neighbours import complete_for
from ...collect.airspace.worlds import scale_warning
from ...collect.surveillance.config import PERFECT
from ...datasets import effort
from ...datasets.errors import ConfigurationError
from ...datasets.files.atomic import publish
from ...datasets.traffic.observation import observe_all
from ...datasets.traffic.view import View
from .. import checkpoint
from ..networks import Network
from ..policy import Policy
from ..runs import envelope, gate
from ..runs.device import choose_device, torch_threads
from ..runs.gate import GateFlights
from ..runs.interruption import Interruption, remembered
from ..runs.metrics_log import MetricsLog, packed, read_log, unpacked
from ..runs.run_folder import METRICS_NAME, RunFolder, TrainingError
from ..runs.stopwatch import Stopwatch
from .analytic_method import AnalyticMethod
from .config import FinetuneConfig, check_same, load_config, save_config
from .critic import in_parts
from .iteration import TuningIteration
from .methods import Material, Method, TuningProgress
from .ppo_method import PPOMethod
from .summary import gate_line, summarise, summary_lines
from .team import Team

GATE, SAVING = "gate", "saving"
PARENT_NAME = "clone"  # the copy of what a run started from
PLOT_NAMES = ("los.png", "los.svg")


class Finetuning:
    """One run of fine-tuning.

    Args:
        parent: The run (or file, or `pretrained:NAME`) to start from; None to continue with that of `run`.
        run: The run's folder; made if it is missing.
        config: What to do.
        resume: Continue the run in the folder, if there is one; otherwise a run there is an error.
        device: `auto`, `cpu`, `cuda`, ...
        say: Receives each line for people.
        track: Where figures go besides the log (`trackers`); by default as begun, or TensorBoard.

    Attributes:
        method: The policy that learns, and all it needs for that.
        parent: The network it started as; never changed.
        view: What it observes.
        worlds: Where it learns, in turn, and where the gate flies.

    Raises:
        CheckpointError: There is no such parent; the folder holds a run and resume is False, or another run.
        ConfigurationError: The device is not there, or the world cannot be flown.
    """

    def __init__(
        self,
        parent: str | Path | None,
        run: str | Path,
        config: FinetuneConfig,
        *,
        resume: bool = False,
        device: str = "auto",
        say: Callable[[str], None] = print,
        track: str | None = None,
    ) -> None:
        self._track = track
        self.run, self.config, self._say = Path(run), config, say
        self.device = choose_device(device)
        self.folder = RunFolder(self.run)
        with self.folder.closed_on_error(), torch_threads(config.threads):
            is_there = self.folder.open(resume, say)
            loaded = checkpoint.load(self.run / f"{PARENT_NAME}.safetensors" if parent is None else parent)
            path = load_config(self.run)[1]["path"] if parent is None else str(parent)
            origin = {"path": path, "weights_sha256": loaded.meta["weights_sha256"]}
            if is_there:
                check_same(self.run, config, origin)
            self._prepare(loaded, origin, is_there)
            if is_there:
                self._restore()
            else:
                self._begin(loaded, origin)

    def _prepare(self, loaded: checkpoint.Checkpoint, origin: dict[str, Any], is_begun: bool) -> None:
        """Make the method and all it needs, as at the beginning."""
        config = self.config
        self.parent_view, self.view = loaded.view, config.view(loaded)
        self.worlds = config.worlds(loaded, is_begun)
        if warning := scale_warning(origin["path"], loaded.meta["world"], self.worlds[-1]):
            self._say(f"Warning: {warning}")
        self._weigh()
        self.progress, self.clock, self._began = TuningProgress(), Stopwatch(), time.perf_counter()
        self.history: list[TuningIteration] = []
        self.parent: Network = loaded.network.to(self.device)
        self.method: Method = self._make_method()
        self._meta = {
            "stage": "finetune",
            "world": self.worlds[-1].to_json(),
            "teacher": loaded.meta["teacher"],
            "datasets": loaded.meta["datasets"],
            "config": config.to_json(),
            "parent": origin,
        }
        self._envelope = loaded.meta["envelope"]
        self._own: tuple[int, dict[str, Any]] | None = None  # the policy's own, and of which iteration
        self._flown: dict[str, GateFlights] = {}  # through the gate, of `clone` and `best`

    def _weigh(self) -> None:
        """Refuse what cannot fit into memory, and say what takes very long."""
        config, world = self.config, max(self.worlds, key=lambda world: world.aircraft)
        is_ppo, most = config.method == "ppo", world.aircraft
        length = config.horizon if is_ppo else config.analytic.window
        seen = self.view.seen(most) * self.view.intruder_features
        kept = 4.0 * length * config.envs * most * seen * effort.SHARE_FLOWN  # bytes of observations
        flown = effort.memory_of_flight(max(config.envs, config.gate_scenarios), most, 0)
        gate_rows = 2 * effort.rows_of(config.gate_scenarios, most, world.flight_steps)
        effort.weigh(
            f"{config.steps:,} agent-steps in {config.envs:,} episodes of {most} aircraft, {length:,} steps at "
            f"once, and {config.gate_scenarios:,} gate scenarios",
            self._say,
            seconds=config.steps / effort.TUNED / config.processes + gate_rows / effort.FLOWN_BY_NETWORK,
            memory=kept + flown if self.device.type == "cpu" else 0,
            folder=self.run,
            less=f"fewer --steps, --envs, --gate-scenarios or {'--horizon' if is_ppo else '--window'}",
        )

    def _make_method(self) -> Method:
        """Return the method the configuration names, at its beginning.

        Raises:
            ConfigurationError: Several processes on a GPU, or a reward that cannot be differentiated.
        """
        material = Material(self.config, self.parent, self.parent_view, self.view, self.worlds, self.device)
        self._groups = material.groups
        if self.config.method == "analytic":
            return AnalyticMethod(material, self.clock)
        if self.config.processes == 1:
            return PPOMethod(material, self.clock)
        if self.device.type != "cpu":
            raise ConfigurationError(
                f"expected --processes 1 on a GPU, which flies all episodes at once, got {self.config.processes}."
            )
        return Team(material, self.clock, self.config.processes)

    def _begin(self, loaded: checkpoint.Checkpoint, origin: dict[str, Any]) -> None:
        """Make the run's folder, with a copy of what it starts from."""
        self.folder.begin()
        meta = {key: loaded.meta[key] for key in checkpoint.META_KEYS}
        checkpoint.save(self.run / PARENT_NAME, self.parent, self.parent_view, meta)
        save_config(self.run, self.config, origin)

    def train(self) -> dict[str, Any]:
        """Fine-tune to the end, and return the summary that is also written to `RUN/summary.json`.

        Raises:
            TrainingError: Something became NaN or infinite; the last good state is kept.
            KeyboardInterrupt: Ctrl-C was pressed; the state is saved.
        """
        self._began = time.perf_counter() - self.progress.elapsed_s
        for line in self._first_lines():
            self._say(line)
        with (
            self.folder,
            torch_threads(self.config.threads),
            remembered() as interruption,
            MetricsLog(self.run, self.history, self.progress.steps, self._track, self.config.to_json()) as log,
        ):
            try:
                if not self._flown:
                    self._fly_parent()
                while not self.progress.is_finished:
                    self._stop_if(interruption)
                    self._iterate(log)
            except TrainingError as error:
                self._finish(str(error))
                raise
            finally:
                self.method.close()
            return self._finish()

    def _first_lines(self) -> list[str]:
        """Return what a person should know before."""
        sizes = {"policy": self.parent, **self.method.modules}
        counts = [
            f"{name} {sum(each.numel() for each in sizes[name].parameters()):,}"
            for name in sizes
            if name not in ("actor", "average")
        ]
        aircraft = ", ".join(dict.fromkeys(str(world.aircraft) for world in self.worlds))
        known = ", ".join(dict.fromkeys(world.surveillance for world in self.worlds))
        surveillance = "" if known == PERFECT else f" under {known}"
        line = (
            f"Stage 2 - {self.parent.name} on {self.view}, parameters: {', '.join(counts)}; {self.config.method}, "
            f"{aircraft} aircraft{surveillance}, {self.device}"
        )
        if self.view == self.parent_view:
            return [line]
        difference = self._difference_of_views()
        return [
            line,
            f"Sees {self.view} instead of the clone's {self.parent_view}: before the first update its actions "
            f"differ from the clone's by {difference:.4f} (root mean square, action units). The gate flies the "
            "clone as it was.",
        ]

    def _difference_of_views(self) -> float:
        """Return how much another view changes the clone's actions where training begins."""
        world = self.method.crews[-1].world
        flying = world.traffic.is_piloted
        views = (self.view, self.parent_view)
        seen = [observe_all(world.traffic, v, complete_for(world.pairs, world.traffic, v)) for v in views]
        new, old = (in_parts(self.parent, type(each)(*(part[flying] for part in each))) for each in seen)
        return float((new - old).square().mean().sqrt())

    def _fly_parent(self) -> None:
        """Fly the clone through the gate and publish it as the best there is so far."""
        with self.clock.measure(GATE):
            flown = self.method.fly_gate(is_parent=True)
        self._flown = {"clone": flown, "best": flown}
        figures = {**gate.compare(flown, flown), "is_best": True, "reason": "the clone itself"}
        self._say(gate_line(figures, flown.figures()))
        self._publish("best", figures, self.parent_view, self._envelope)
        self._publish("last", figures, self.view)
        self._save_state()

    def _iterate(self, log: MetricsLog[TuningIteration]) -> None:
        """Let the learner fly and learn, perhaps fly through the gate, report and save."""
        progress, config, start = self.progress, self.config, time.perf_counter()
        learned = self.method.learn(progress)
        self._check_finite(learned.learning)
        progress.iteration += 1
        progress.steps += learned.rows
        progress.warmup_steps += learned.rows if learned.is_warmup else 0
        progress.is_finished = progress.steps >= config.steps
        is_turn = progress.is_finished or progress.iteration % config.gate_every == 0
        judged = self._judge() if is_turn and not learned.is_warmup else None
        now = time.perf_counter()
        figures = TuningIteration(
            iteration=progress.iteration,
            steps=progress.steps,
            is_warmup=learned.is_warmup,
            rollout=learned.rollout,
            learning=learned.learning,
            gate=judged,
            steps_per_second=learned.rows / (now - start),
            seconds=now - self._began,
        )
        log.add(figures)
        if progress.iteration % config.save_every == 0 or judged or progress.is_finished:
            to_go = math.ceil(max(config.steps - progress.steps, 0) / max(learned.rows, 1))
            self._say(figures.line(progress.iteration + to_go))
            if judged:
                self._say(gate_line(judged, self._flown["clone"].figures()))
            self._publish("last", judged, self.view, self._seen() if progress.is_finished else None)
            self._save_state()

    def _check_finite(self, figures: Mapping[str, float]) -> None:
        """Raise unless all figures and weights are finite."""
        bad = [name for name, value in figures.items() if not math.isfinite(value)]
        bad += [f"weights of the {name}" for name, each in self.method.modules.items() if not _is_finite(each)]
        if bad:
            raise TrainingError(
                f"expected finite numbers, got NaN or infinity in {', '.join(bad)} in iteration "
                f"{self.progress.iteration + 1}; stopped, with the last good weights kept in {self.run}. "
                "Fine-tune into another folder with a tenth of --lr."
            )

    def _judge(self) -> dict[str, Any]:
        """Fly the policy through the gate, and publish it if it is better than the best so far."""
        with self.clock.measure(GATE):
            flown = self.method.fly_gate()
        margins = gate.Margins.of(self.worlds[0])
        verdict = gate.judge(flown, self._flown["best"], self._flown["clone"], self._groups, margins)
        compared = gate.compare(flown, self._flown["clone"])
        figures = {**compared, "is_best": verdict.is_better, "reason": verdict.reason}
        if len(self.worlds) > 1:
            parts = gate.split(flown, self._groups)
            figures["by_world"] = [
                {"aircraft": world.aircraft, "surveillance": world.surveillance, **each.figures()}
                for world, each in zip(self.worlds, parts, strict=True)
            ]
        if verdict.is_better:
            self._flown["best"] = flown
            self.progress.best_iteration = self.progress.iteration
            self._publish("best", figures, self.view, self._seen())
        return figures

    def _seen(self) -> dict[str, Any]:
        """Return the envelope of the policy as it is now, as JSON; flown once an iteration."""
        if self._own is None or self._own[0] != self.progress.iteration:
            parent = self._envelope if self.view == self.parent_view else None
            with self.clock.measure(GATE):
                policy = Policy(self.method.network, self.view)
                seen = envelope.of_tuned(policy, parent, self.worlds, self.config.seed)
            self._own = self.progress.iteration, seen
        return self._own[1]

    def _publish(
        self, name: str, figures: Mapping[str, Any] | None, view: View, seen: dict[str, Any] | None = None
    ) -> None:
        """Save the policy's network as a checkpoint like a clone's, with an envelope if there is one."""
        with self.clock.measure(SAVING):
            metrics = {"iteration": self.progress.iteration, "steps": self.progress.steps, "gate": figures}
            checkpoint.save(
                self.run / name, self.method.network, view, {**self._meta, "metrics": metrics, "envelope": seen}
            )

    def _stop_if(self, interruption: Interruption) -> None:
        """Stop if Ctrl-C was pressed, with the state of the last iteration saved."""
        if interruption.is_wanted:
            self._publish("last", None, self.view)
            self._save_state()
            raise KeyboardInterrupt(
                f"Stopped after iteration {self.progress.iteration}; all is saved. "
                "The same command with --resume continues from here."
            )

    def _save_state(self) -> None:
        """Save all that is needed to continue exactly from here."""
        with self.clock.measure(SAVING):
            self.progress.elapsed_s = time.perf_counter() - self._began
            self.progress.seconds = self.clock.seconds
            tensors, description = self.method.saved()
            for name, flown in self._flown.items():
                tensors[f"flown.{name}"] = torch.stack(flown)  # (columns, S)
            description["progress"] = asdict(self.progress)
            self.folder.save_state({**tensors, "history": packed(self.history)}, description)

    def _restore(self) -> None:
        """Continue from the saved state; without one (killed before the first) from the beginning."""
        if self.folder.restore(self._put_back) is None:
            return
        self.clock.seconds.update(self.progress.seconds)
        done = ", which was the last one" if self.progress.is_finished else ""
        self._say(f"Going on after iteration {self.progress.iteration}{done}.")

    def _put_back(self, tensors: dict[str, Tensor], description: dict[str, Any]) -> bool:
        """Take back what `_save_state` saved."""
        self.progress = TuningProgress(**description["progress"])
        method_tensors = {
            name: each for name, each in tensors.items() if not name.startswith(("flown.", "history"))
        }
        self.method.restore(method_tensors, description)
        if len(tensors["flown.clone"]) < len(GateFlights._fields):
            raise ValueError("it was begun by an older version, whose gate did not count time in LoS and progress")
        self._flown = {name: GateFlights(*tensors[f"flown.{name}"].unbind(0)) for name in ("clone", "best")}
        if "history" in tensors:
            self.history = unpacked(tensors["history"], TuningIteration.from_json)
        else:  # begun by an older version
            log = read_log(self.run / METRICS_NAME, TuningIteration.from_json)
            self.history = [each for each in log if each.iteration <= self.progress.iteration]
        return True

    def _finish(self, trouble: str | None = None) -> dict[str, Any]:
        """Write the summary and the plot of LoS, and say how it went."""
        from . import plots  # pulls in matplotlib, which takes a second

        is_saved = (self.run / "best.safetensors").exists()
        summary = summarise(
            self.history, self.progress.best_iteration, self._flown, self.clock.seconds, is_saved, trouble
        )
        self.folder.write_summary(summary)
        for name in PLOT_NAMES if self.history else ():
            plot = plots.safety(self.history, summary["gate"]["clone"], name.rpartition(".")[2])
            publish(self.run / name, plot)
        for line in summary_lines(summary):
            self._say(line)
        self._say(f"Where the time went: {self.clock.line()}")
        return summary


def _is_finite(module: nn.Module) -> bool:
    """Return whether all weights of a module are finite."""
    return all(bool(torch.isfinite(weight).all()) for weight in module.parameters())
