"""Contenders: teachers and trained policies, each flying every aircraft of a scenario."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...collect import simulators, teachers
from ...collect.airspace.world_config import WorldConfig
from ...collect.airspace.worlds import scale_warning
from ...collect.flying.assurance import AssuranceConfig, Assured
from ...collect.flying.compiled import why_not
from ...collect.flying.figures import arithmetic_of
from ...collect.flying.flight import Pilot, TeacherPilot
from ...collect.flying.mixed import own_of
from ...collect.simulators.simulator import Resolution
from ...collect.surveillance.config import PERFECT
from ...datasets import spec
from ...datasets.config import shown
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ...train.policy import Policy, load_policy
from ...train.tensor_file import weights_hash
from . import mix
from .assured import split
from .config import UNRESOLVED, Contender, EvaluationConfig
from .shares import SELF, SILENT

BLUESKY_MVP = "bluesky-mvp"
"""The baseline that leaves resolving to BlueSky's own MVP."""


@dataclass(frozen=True)
class Loaded:
    """A contender that is ready to fly.

    Attributes:
        contender: Who.
        pilot: Its pilot.
        policy: Its policy, if it is a trained one.
        beside: Who flies which share of the aircraft where it does not fly all, see `mix.identity_of`.
        others: These others themselves.
    """

    contender: Contender
    pilot: Pilot
    policy: Policy | None = field(default=None)
    beside: list[dict[str, Any]] = field(default_factory=list)
    others: tuple["Loaded", ...] = ()

    @property
    def meta(self) -> dict[str, Any]:
        """Where a trained policy comes from, as its checkpoint says; empty for teachers."""
        if self.policy is None:
            return {}
        meta = {"observation": str(self.policy.view), "network": self.policy.network.spec, **self.policy.meta}
        return meta if self.assurance is None else {**meta, "assurance": asdict(self.assurance)}

    @property
    def assurance(self) -> AssuranceConfig | None:
        """The numbers of the monitor around it; None where there is none."""
        own = own_of(self.pilot)
        return own.assurance if isinstance(own, Assured) else None

    @property
    def arithmetic(self) -> str:
        """By which arithmetic it flies here."""
        return arithmetic_of(self.pilot)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides how it flies, as JSON: a teacher's name, or a policy's weights, network and observation.

        Also by which arithmetic it flies here: only that of teachers is the same on every processor.
        """
        beside = {"mix": self.beside} if self.beside else {}
        if self.policy is None:
            return {"teacher": self.contender.name, "arithmetic": self.arithmetic, **beside}
        network = self.policy.network
        monitor = {}
        if self.assurance is not None:
            monitor = {"assurance": asdict(self.assurance), "envelope": self.policy.meta.get("envelope")}
        return {
            **beside,
            **monitor,
            "arithmetic": self.arithmetic,
            "weights_sha256": weights_hash(network.state_dict()),
            "network": network.spec,
            "observation": self.policy.view.to_json(),
        }


def load(contender: Contender, config: WorldConfig, device: str | torch.device = "cpu") -> Loaded:
    """Make a contender ready to fly.

    Raises:
        ConfigurationError: Unknown teacher or parameter.
        CheckpointError: The checkpoint is missing or damaged.
    """
    if contender.is_run:
        run, assurance = split(contender.name)
        policy = load_policy(run, device=device)
        if assurance is None:
            return Loaded(contender, policy.pilot, policy)
        return Loaded(contender, Assured(policy.judged, config, assurance), policy)
    if contender.name.partition(":")[0] == BLUESKY_MVP:
        return Loaded(contender, _bluesky_mvp(contender.name, config))
    return Loaded(contender, TeacherPilot(teachers.parse(contender.name, config), config))


def load_all(config: EvaluationConfig) -> dict[str, Loaded]:
    """Make everybody ready to fly whom an evaluation flies, by name.

    Raises:
        SkycloneError: One of them is unknown, missing or damaged.
    """
    loaded = {contender.name: load(contender, config.world, config.device) for contender in config.flown}
    if not config.mix:
        return loaded
    others = {name: _other(name, config) for _, name in config.shares if name != SELF}
    pilots = {name: each.pilot for name, each in others.items()}
    beside = mix.identity_of(config.shares, {name: each.identity for name, each in others.items()})
    return {
        name: replace(
            each,
            pilot=mix.among(each.pilot, config.shares, pilots),
            beside=beside,
            others=tuple(others.values()),
        )
        for name, each in loaded.items()
    }


def _other(name: str, config: EvaluationConfig) -> Loaded:
    """Make somebody ready to fly a share of the aircraft beside each contender."""
    name = UNRESOLVED if name == SILENT else name
    is_teacher = name.partition(":")[0] in (*teachers.names(), BLUESKY_MVP)
    return load(Contender(name, not is_teacher), config.world, config.device)


@dataclass(frozen=True)
class SelfResolving:
    """A pilot who flies straight to the waypoint and has the simulator resolve conflicts itself.

    Attributes:
        resolution: How.
        straight: The pilot without resolution.
    """

    resolution: Resolution
    straight: Pilot

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        """Return the actions towards the waypoints, (B, N, 2)."""
        return self.straight(traffic, pairs)


def _bluesky_mvp(text: str, config: WorldConfig) -> SelfResolving:
    """Return BlueSky's own MVP: detection on the protected zone, resolution on `margin` times it.

    The margin is BlueSky's RFACH, by default 1.05 as in its settings; the look-ahead time its DTLOOK.
    """
    if config.surveillance != PERFECT:
        raise ConfigurationError(
            f"expected --surveillance perfect with the baseline '{BLUESKY_MVP}', got {shown(config.surveillance)}: "
            "BlueSky resolves on its own, with what it knows. Leave one of them out; mvp perceives as policies do."
        )
    _, parameters = spec.parse(text, "baseline", {BLUESKY_MVP: _bluesky_resolution}, skip=1)
    resolution = _bluesky_resolution(config, **parameters)
    if simulators.is_embedded(config):
        simulators.simulator_of(config).resolve_with(resolution)  # which says where it can be flown
    return SelfResolving(resolution, TeacherPilot(teachers.make(UNRESOLVED, config), config))


def _bluesky_resolution(config: WorldConfig, margin: float = 1.05, lookahead_s: float = 0.0) -> Resolution:
    """Return how BlueSky resolves; a look-ahead time of 0 is the world's."""
    if not (0 < margin < 10_000 and 0 <= lookahead_s < 10_000):
        raise ConfigurationError(
            f"baseline '{BLUESKY_MVP}': expected margin and lookahead_s above 0 and below 10,000, got "
            f"{margin:g} and {lookahead_s:g}. Example: {BLUESKY_MVP}:margin=1.05"
        )
    return Resolution("MVP", margin, lookahead_s or config.lookahead_s)


def warnings_about(loaded: Sequence[Loaded], config: WorldConfig, seed: int) -> list[str]:
    """Return what speaks against taking the figures of trained policies, or of teachers, at face value.

    Args:
        loaded: The contenders.
        config: The world of the evaluation.
        seed: Seed of its scenarios.
    """
    warnings = []
    for each in loaded:
        if seed in _seeds_in(each.meta):
            warnings.append(
                f"{each.contender.name} was trained on scenarios of seed {seed}, and is evaluated on them here: "
                "its figures are too good. Take another --seed."
            )
        warnings += _about_checkpoint(each, config)
    others = (text for each in loaded for other in each.others for text in _about_checkpoint(other, config))
    return list(dict.fromkeys([*warnings, *others, *word_on_the_compiler(loaded)]))


def _about_checkpoint(loaded: Loaded, config: WorldConfig) -> list[str]:
    """Return what a checkpoint lacks to be flown in a world as it is here; nothing about teachers."""
    name, warnings = loaded.contender.name, []
    if loaded.assurance is not None and loaded.policy is not None and loaded.policy.envelope is None:
        warnings.append(
            f"{name}: its checkpoint has no envelope, so only its progress and lost separation are monitored. "
            "Give it one with `python -m skyclone.train.runs.envelope`, or train again."
        )
    if warning := scale_warning(name, loaded.meta.get("world"), config):
        warnings.append(warning)
    return warnings


def word_on_the_compiler(loaded: Iterable[Loaded]) -> list[str]:
    """Return a warning if teachers among the contenders fly without the compiler that they could fly by."""
    pilots = [each.pilot for each in loaded]
    found = [why_not(p.world_config, p.teacher, is_recording=False) for p in pilots if isinstance(p, TeacherPilot)]
    return sorted({line for line in found if line})


def _seeds_in(meta: dict[str, Any]) -> set[int]:
    """Return the seeds of a policy's datasets. Fine-tuning flies episodes numbered beyond any evaluation's."""
    entries = [entry for entry in meta.get("datasets") or [] if isinstance(entry, dict)]
    inner = [entry["seeds"] for entry in entries if isinstance(entry.get("seeds"), list)]
    seeds = [entry.get("seed") for entry in entries] + [seed for each in inner for seed in each]
    return {seed for seed in seeds if isinstance(seed, int)}
