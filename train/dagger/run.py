"""DAgger: fly the policy, let the teacher label the states it visits, train on, and again.

Ross, Gordon, Bagnell, "A reduction of imitation learning and structured prediction to no-regret online learning",
AISTATS 2011. A run is a folder: `config.json` (what it does), `clone.*` (a copy of what it started from),
`rounds/K/` (`data/` the round's dataset, `run/` its training, `probe/` what its policy visits, `measured.*` its
figures; round 0 is the start), `best.*` and `last.*` (checkpoints), `metrics.jsonl`, `summary.json` (the end). With
a control, `control/` is the same of a policy that has as many steps without the rounds' data.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ...collect import scenarios
from ...collect.airspace.worlds import scale_warning
from ...collect.collector.collector import collect
from ...collect.collector.config import CollectConfig
from ...datasets import effort
from ...datasets.dataset import Dataset, open_dataset
from ...datasets.errors import CheckpointError
from ...datasets.files.arithmetic import OtherArithmetic
from ...datasets.files.atomic import publish
from ...datasets.files.json_file import read_json
from ...datasets.loading.loader import Loader
from ...datasets.traffic.view import scale_of
from .. import checkpoint
from ..cloning import heldout
from ..cloning.batches import HELDOUT_BATCH, flown_by_the_teacher
from ..cloning.config import CloningConfig, describe
from ..cloning.heldout import HeldOut
from ..cloning.run import Cloning
from ..policy import load_policy
from ..runs import gate
from ..runs.confidence_intervals import normal_interval
from ..runs.device import choose_device, torch_threads
from ..runs.gate import GateFlights
from ..runs.metrics_log import MetricsLog
from ..runs.run_folder import METRICS_NAME, SUMMARY_NAME, RunFolder
from ..tensor_file import read_tensors, under, write_tensors
from .config import DaggerConfig, check_same, load_config, save_config
from .mixed_pilot import MixedPilotLoader
from .own_state_error import Visited, conflict_difference, visit
from .round_figures import RoundFigures

PARENT_NAME, MEASURED_NAME, CONTROL_NAME = "clone", "measured.safetensors", "control"
ROUNDS_NAME, DATA_NAME, RUN_NAME, PROBE_NAME = "rounds", "data", "run", "probe"


class RoundPolicy(NamedTuple):
    """A policy and how it does.

    Attributes:
        number: The round it came out of; 0 is the start.
        path: Its checkpoint.
        heldout: Its figures on held-out episodes of the pure teacher.
        visited: Its errors in the states it visits itself.
        common: Its errors in the states the start visits, the same for every policy.
        flown: Its flights through the gate.
        batches: Gradient steps of its round.
    """

    number: int
    path: Path
    heldout: HeldOut
    visited: Visited
    common: Visited
    flown: GateFlights
    batches: int

    def to_json(self, start: "RoundPolicy") -> dict[str, Any]:
        """Return its figures, with the paired differences to the start."""
        return {
            "round": self.number,
            "batches": self.batches,
            "heldout": self.heldout.to_json(),
            "visited": {**self.visited.figures(), "difference": _difference(self.visited, start.visited)},
            "common": {**self.common.figures(), "difference": _difference(self.common, start.common)},
            "gate": gate.compare(self.flown, start.flown),
        }


class Dagger:
    """One run of DAgger.

    Args:
        parent: The run (or file, or `pretrained:NAME`) to start from; None to go on with what `run` began with.
        datasets: The original data: the labels of their teacher are what is imitated, in their world.
        run: The run's folder; made if it is missing.
        config: What to do.
        resume: Go on with the run in the folder, if there is one; otherwise a run there is an error.
        device: `auto`, `cpu`, `cuda`, ... of the training; flights are on the CPU.
        workers: Processes that fly.
        say: Receives each line for people.
        track: Where figures go besides the log (`trackers`), of the rounds and of the training in each.

    Raises:
        CheckpointError: There is no such parent; the folder holds a run and resume is False, or another run.
        ConfigurationError: The datasets do not go together.
    """

    def __init__(
        self,
        parent: str | Path | None,
        datasets: Sequence[Dataset],
        run: str | Path,
        config: DaggerConfig,
        *,
        resume: bool = False,
        device: str = "auto",
        workers: int = 1,
        say: Callable[[str], None] = print,
        track: str | None = None,
    ) -> None:
        self._track = track
        self.run, self.config, self.datasets, self._say = Path(run), config, list(datasets), say
        self.device, self.workers = str(choose_device(device)), workers
        self.folder = RunFolder(self.run)
        with self.folder.closed_on_error():
            self._open(parent, resume)

    def _open(self, parent: str | Path | None, resume: bool) -> None:
        """Open the run's folder, and check or write what it began with."""
        described, datasets, config = describe(self.datasets), self.datasets, self.config
        is_there = self.folder.open(resume, self._say)
        self.start = self.run / f"{PARENT_NAME}.safetensors"
        loaded = checkpoint.load(self.start if parent is None else parent)
        path = load_config(self.run)[2]["path"] if parent is None else str(parent)
        self.origin = {"path": path, "weights_sha256": loaded.meta["weights_sha256"]}
        if is_there:
            check_same(self.run, config, described, self.origin)
        self.view, self.spec = loaded.view, loaded.network.spec
        flown_in = scenarios.recorded_world(dict(datasets[0].manifest.world), datasets[0].path)
        surveillance, self.labels = config.of_parent(loaded.meta)
        self.world = replace(flown_in, surveillance=surveillance)
        self.teacher = datasets[0].manifest.teacher
        if warning := scale_warning(path, loaded.meta["world"], self.world):
            self._say(f"Warning: {warning}")
        self._weigh()
        if not is_there:
            self.folder.begin()
        if not is_there or not self.start.exists():  # one killed as it began may have left another parent's
            meta = {key: loaded.meta[key] for key in checkpoint.META_KEYS}
            checkpoint.save(self.run / PARENT_NAME, loaded.network, loaded.view, meta)
        if not is_there:
            save_config(self.run, config, described, self.origin)

    def _weigh(self) -> None:
        """Refuse what cannot fit, and say what takes very long."""
        config, world, rounds = self.config, self.world, self.config.rounds
        flown, others = (
            effort.rows_of(rounds * each, world.aircraft, world.flight_steps)
            for each in (config.episodes, config.probe + config.gate_scenarios)
        )
        stored = sum(dataset.rows for dataset in self.datasets)
        learned = config.epochs * rounds * (stored + flown / 2) * (1 + config.control)
        effort.weigh(
            f"{rounds} rounds of {config.episodes:,} episodes of {world.aircraft} aircraft, {config.epochs:,} "
            f"epochs each, a probe of {config.probe:,} and {config.gate_scenarios:,} gate scenarios",
            self._say,
            seconds=learned / effort.LEARNED + (flown + others) / effort.FLOWN_BY_NETWORK / self.workers,
            memory=effort.memory_of_flight(config.gate_scenarios, world.aircraft, 0),
            disk=flown * effort.BYTES_STORED,
            folder=self.run,
            less="fewer --rounds, --episodes, --epochs, --probe or --gate-scenarios",
        )

    def train(self) -> dict[str, Any]:
        """Do all rounds, and return the summary that is also written to `RUN/summary.json`."""
        with self.folder:
            with MetricsLog[RoundFigures](self.run, [], -1, self._track, self.config.to_json()) as log:
                policies, controls = self._train_rounds(log)
            return self._finish(policies, controls)

    def _train_rounds(self, log: MetricsLog[RoundFigures]) -> tuple[list[RoundPolicy], list[RoundPolicy]]:
        """Do all rounds, or those that are left; return the policies, and those of the control."""
        policies = [self._measured(self.run / ROUNDS_NAME / "0", 0, self.start, 0)]
        controls = policies[:]
        self._report(policies[0], policies[0])
        log.add(RoundFigures(policies[0].to_json(policies[0])))
        for number in range(1, self.config.rounds + 1):
            policies.append(self._round(number, policies[-1]))
            self._report(policies[-1], policies[0])
            log.add(RoundFigures(policies[-1].to_json(policies[0])))
            if self.config.control:
                controls.append(self._control(number, controls[-1], policies[-1].batches))
                self._report(controls[-1], policies[0], "control, ")
        return policies, controls

    def _finish(self, policies: list[RoundPolicy], controls: list[RoundPolicy]) -> dict[str, Any]:
        """Write the checkpoints, the figures and the summary."""
        summary = self._publish(self.run, policies)
        if self.config.control:
            RunFolder(self.run / CONTROL_NAME).write_summary(self._publish(self.run / CONTROL_NAME, controls))
            summary["against_control"] = _against(policies[-1], controls[-1])
            self._say(_against_line(summary["against_control"]))
        self.folder.write_summary(summary)
        return summary

    def _round(self, number: int, before: RoundPolicy) -> RoundPolicy:
        """Fly, label, train and measure: one round, or what is left of it."""
        config, folder = self.config, self.run / ROUNDS_NAME / str(number)
        beta = config.beta_of(number)
        self._say(f"Round {number}/{config.rounds}: the policy of round {before.number} flies")
        name = f"student-{before.number}"
        self._fly(folder / DATA_NAME, name, before.path, config.episodes, config.seed_of(number), beta)
        rounds = [open_dataset(self.run / ROUNDS_NAME / str(k) / DATA_NAME) for k in range(1, number + 1)]
        mix = self._mix(len(rounds))
        batches = self._train(folder / RUN_NAME, [*self.datasets, *rounds], before, number, mix=mix)
        return self._measured(folder, number, folder / RUN_NAME / "last.safetensors", batches)

    def _control(self, number: int, before: RoundPolicy, batches: int) -> RoundPolicy:
        """Give the control as many steps, on the original data alone."""
        folder = self.run / CONTROL_NAME / ROUNDS_NAME / str(number)
        limits = {"epochs": batches, "max_batches": batches}
        self._train(folder / RUN_NAME, self.datasets, before, number, **limits)
        return self._measured(folder, number, folder / RUN_NAME / "last.safetensors", batches)

    def _fly(self, folder: Path, name: str, path: Path, episodes: int, seed: int, beta: float = 0.0) -> Dataset:
        """Let a policy fly, and write an ordinary dataset with the teacher's labels."""
        wanted = CollectConfig(self.world, self.teacher, name, seed=seed, episodes=episodes, episodes_per_shard=64)
        loader = MixedPilotLoader(str(path.resolve()), self.world, self.teacher, beta, seed)
        keep = OtherArithmetic.KEEP  # a run may go on elsewhere; the manifest says which rows were made by which
        command = "skyclone dagger"
        collect(folder, wanted, workers=self.workers, load_pilot=loader, other_arithmetic=keep, command=command)
        return open_dataset(folder)

    def _train(
        self, folder: Path, datasets: Sequence[Dataset], before: RoundPolicy, number: int, **changes: Any
    ) -> int:
        """Train on from a policy's weights; return the number of gradient steps."""
        done = _batches_of(folder / SUMMARY_NAME)
        if done is not None:
            return done
        config = self.config
        parameters = "".join(f":{key}={value}" for key, value in self.spec["parameters"].items())
        options = {
            "model": f"{self.spec['name']}{parameters}",
            "observation": self.view.text(scale_of(self.world.to_json())),
            "epochs": config.epochs,
            "batch_size": config.batch_size,
            "lr": config.lr,
            "schedule": config.schedule,
            "seed": config.seed + number,
            "threads": config.threads,
            "conflict_weight": config.conflict_weight,
            **self._perceiving,
        }
        cloning = Cloning(
            datasets,
            folder,
            CloningConfig(**{**options, **changes}),
            resume=folder.exists(),
            device=self.device,
            say=lambda line: self._say(line) if line.startswith("Stage 1 - Iter") else None,
            parent=before.path,
            track=self._track,
        )
        return int(cloning.train()["batches"])

    @property
    def _perceiving(self) -> dict[str, Any]:
        """What aircraft know, and what labels are made of, as a `CloningConfig` says it."""
        return {"surveillance": self.world.surveillance, "labels": self.labels}

    def _mix(self, rounds: int) -> str:
        """Return the share of each dataset: the originals by their rows, the rounds alike."""
        rows = sum(dataset.rows for dataset in self.datasets)
        share = self.config.share
        original = [(1 - share) * dataset.rows / rows for dataset in self.datasets]
        return ",".join(f"{each:.6g}" for each in (*original, *[share / rounds] * rounds))

    def _measured(self, folder: Path, number: int, path: Path, batches: int) -> RoundPolicy:
        """Measure a policy, or read what was measured."""
        file = folder / MEASURED_NAME
        if not file.exists():
            self._measure(folder, file, path)
        remedy = "Delete it: the same command with --resume measures again."
        tensors, description, _ = read_tensors(file, remedy)
        if set(under("flown", tensors)) != set(GateFlights._fields):  # measured by an older version
            self._measure(folder, file, path)
            tensors, description, _ = read_tensors(file, remedy)
        own, common, flown = (under(part, tensors) for part in ("visited", "common", "flown"))
        return RoundPolicy(
            number,
            path,
            HeldOut(**description["heldout"]),
            Visited(**own),
            Visited(**common),
            GateFlights(**flown),
            batches,
        )

    def _measure(self, folder: Path, file: Path, path: Path) -> None:
        """Measure a policy: on held-out data, on what it visits, on what the start visits, and in flight."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config
        policy = load_policy(path)
        own = self._fly(folder / PROBE_NAME, "student", path, config.probe, config.seed_of(0))
        first = open_dataset(self.run / ROUNDS_NAME / "0" / PROBE_NAME)
        pure = flown_by_the_teacher(self.datasets) or self.datasets
        perceive = CloningConfig(**self._perceiving).perceive
        rows = Loader.of(
            pure, "heldout", view=self.view, batch_size=HELDOUT_BATCH, shuffle=False, perceive=perceive
        )
        with torch_threads(config.threads):
            figures = heldout.measure(policy.network, rows)
            parts = {
                "visited": visit(policy.network, own, self.view, perceive)._asdict(),
                "common": visit(policy.network, first, self.view, perceive)._asdict(),
                "flown": gate.fly_gate(policy.pilot, self.world, config.seed, config.gate_scenarios)._asdict(),
            }
        tensors = {f"{part}.{name}": column for part, columns in parts.items() for name, column in columns.items()}
        write_tensors(file, tensors, {"heldout": figures.to_json()})

    def _report(self, policy: RoundPolicy, start: RoundPolicy, who: str = "") -> None:
        """Say how a policy does."""
        figures = policy.to_json(start)
        visited, common, flown = figures["visited"], figures["common"], figures["gate"]
        self._say(
            f"Stage 1 - {who}Round {policy.number}/{self.config.rounds} | held-out {policy.heldout.mse:.3g} | "
            f"in conflict: held-out {_number(policy.heldout.mse_conflict)}, visited by itself "
            f"{_number(visited['mse_conflict'])}, by the start {_number(common['mse_conflict'])} | "
            f"LoS {flown['los_events']:.3f} per scenario, waypoint {flown['waypoint_rate']:.2%}"
        )

    def _publish(self, folder: Path, policies: Sequence[RoundPolicy]) -> dict[str, Any]:
        """Write the best and the last policy and the figures of each round into a folder; return the summary.

        The best is the one with the smallest error in conflict in the states it visits itself (Ross et al. return
        the best of all rounds on such states too).
        """
        folder.mkdir(parents=True, exist_ok=True)
        best = min(policies, key=lambda each: each.visited.figures()["mse_conflict"] or 0.0)
        records = [policy.to_json(policies[0]) for policy in policies]
        for name, policy in (("best", best), ("last", policies[-1])):
            loaded = checkpoint.load(policy.path)
            meta = {key: loaded.meta[key] for key in checkpoint.META_KEYS}
            meta.update(stage="dagger", parent=self.origin, metrics=records[policy.number])
            checkpoint.save(folder / name, loaded.network, loaded.view, meta)
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        publish(folder / METRICS_NAME, lines.encode())
        summary = {
            "heldout_mse": best.heldout.mse,
            "heldout_mse_conflict": best.heldout.mse_conflict,
            "heldout_mse_free": best.heldout.mse_free,
            "attention_sharpness": best.heldout.sharpness,
            "best_round": best.number,
            "batches": sum(policy.batches for policy in policies),
            "rounds": records,
        }
        return summary


def _batches_of(summary: Path) -> int | None:
    """Return the gradient steps of a training that ended well; None where it did not, or its summary is damaged."""
    with suppress(OSError, CheckpointError, LookupError, TypeError):
        data = read_json(summary, CheckpointError)
        return int(data["batches"]) if data["criteria"]["finite"] else None
    return None


def _difference(one: Visited, other: Visited) -> dict[str, float]:
    """Return the difference of the error in conflict, with its interval, as JSON."""
    return conflict_difference(one, other)._asdict()


def _against(policy: RoundPolicy, control: RoundPolicy) -> dict[str, Any]:
    """Return the policy's figures minus the control's, with their 95 % intervals, paired by episode."""
    los = normal_interval((policy.flown.los_events - control.flown.los_events).numpy())
    return {
        "visited_mse_conflict": _difference(policy.visited, control.visited),
        "common_mse_conflict": _difference(policy.common, control.common),
        "los_events": los._asdict(),
    }


def _against_line(differences: dict[str, Any]) -> str:
    """Say how the policy compares with the control."""
    titles = {
        "visited_mse_conflict": "error in conflict where it flies itself",
        "common_mse_conflict": "in the states the start visits",
        "los_events": "LoS per scenario",
    }
    parts = []
    for key, title in titles.items():
        value, low, high = (f"{differences[key][part]:+.3g}" for part in ("value", "low", "high"))
        parts.append(f"{title} {value} [{low}, {high}]")
    return f"Policy minus control after as many steps, 95 % intervals: {'; '.join(parts)}"


def _number(value: float | None) -> str:
    """Return three significant digits; `none` if there is no such figure."""
    return "none" if value is None else f"{value:.3g}"
