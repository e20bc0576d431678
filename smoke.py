"""`skyclone smoke`: in under a minute, do all parts fit together? One line each."""

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from math import isfinite
from pathlib import Path

import click
import torch

from .collect import teachers
from .collect.airspace.world_config import WorldConfig
from .collect.collector.labelling import record
from .collect.collector.workers import one_thread
from .collect.flying.flight import advise
from .collect.flying.world import World
from .datasets.errors import SkycloneError
from .datasets.options import HelpfulCommand
from .datasets.traffic.observation import observe_all
from .datasets.traffic.record import check_table
from .datasets.traffic.state import Traffic
from .datasets.traffic.view import View
from .evaluate.evaluation.config import EvaluationConfig, name_all
from .evaluate.evaluation.contenders import load_all
from .evaluate.evaluation.evaluation import evaluate
from .train import checkpoint, networks
from .train.finetuning import ppo
from .train.finetuning.critic import Critic
from .train.finetuning.rollout import Crew, estimate, returns
from .train.policy import load_policy
from .train.runs.optimizers import adam
from .train.runs.processes import Processes

Check = Callable[[], str]


class SmokeError(SkycloneError):
    """A part does not fit."""


def require(holds: bool, expected: str, got: object) -> None:
    """Raise SmokeError unless something holds."""
    if not holds:
        raise SmokeError(f"expected {expected}, got {got}. Is the installation complete? Try `make test`.")


def check_world() -> str:
    """Fly eight episodes without resolution to their end."""
    config = WorldConfig()
    table, figures = record(config, 0, range(8), teachers.make("none", config))
    check_table(table)
    rate = figures["waypoint"] / (8 * config.aircraft)
    require(rate > 0.95, "more than 95 % of the aircraft at their waypoints", rate)
    require(figures["los_events"] > 0, "losses of separation without resolution", 0)
    return (
        f"{config.aircraft} aircraft, 8 episodes, {len(table['episode']):,} rows, "
        f"{figures['los_events'] / 8:.1f} LoS per episode without resolution"
    )


def check_teacher() -> str:
    """Let MVP resolve a head-on conflict that can be solved on paper."""
    config = WorldConfig(aircraft=2)
    east, north, track = torch.tensor([[0.0, 0.0], [0.0, 200.0], [0.0, torch.pi]]).unsqueeze(1).unbind(0)
    state = Traffic(east, north, track, torch.full_like(east, 9.0), east, 1000 - 2 * north, torch.ones(1, 2) > 0)
    velocity = teachers.make("mvp", config, margin=1.0).velocity(state)
    tcpa, cosine = 200 / 18, 0.5 * 0.05 + ((1 - 0.25) * (1 - 0.05**2)) ** 0.5  # R/|d| = 0.5, 10 m/|d| = 0.05
    wanted = (100 / cosine - 10) / tcpa
    got = velocity.east_mps.abs()[0, 0].item()
    require(abs(got - wanted) < 1e-3, f"a sideways push of {wanted:.4f} m/s in a head-on conflict", got)
    _, figures = record(WorldConfig(), 0, range(8), teachers.make("mvp"))
    return f"head-on push {got:.3f} m/s as on paper, {figures['los_events'] / 8:.2f} LoS per episode with MVP"


def check_observation() -> str:
    """Observe a world and find the features where the design puts them."""
    world = World(WorldConfig(), 0, range(4))
    observation = observe_all(world.traffic, View())
    shapes = tuple(tuple(part.shape) for part in observation)
    require(shapes == ((4, 20, 7), (4, 20, 19, 5), (4, 20, 19)), "7 ownship and 19 x 5 intruder features", shapes)
    nearest = observation.intruders[..., 0, 0] * View().length_m
    gap = (nearest - world.pairs.nearest_m()).abs().max().item()
    require(gap < 1e-2, "the nearest intruder first", f"a difference of {gap} m")
    return f"ownship {shapes[0][-1]}, intruders {shapes[1][-2]} x {shapes[1][-1]}, nearest first"


def check_networks() -> str:
    """Run every network once, and look at its attention."""
    world = World(WorldConfig(), 0, range(4))
    observation = observe_all(world.traffic, View()).flatten()
    for name in networks.NAMES:
        action, attention = networks.make(name, View())(observation, with_attention=True)
        require(action.shape == (80, 2), "actions (80, 2)", tuple(action.shape))
        is_one = bool(torch.allclose(attention.sum(-1), torch.ones(1)))
        require(is_one, f"attention weights of {name} that sum to 1", "others")
    return ", ".join(networks.NAMES)


def check_training() -> str:
    """Take training steps on the teacher's actions and see the loss fall."""
    config, view = WorldConfig(), View()
    world, teacher = World(config, 0, range(16)), teachers.make("mvp", config)
    observation = observe_all(world.traffic, view, world.pairs).flatten()
    label = advise(teacher, config, world.traffic, world.pairs).action.view(-1, 2)
    network = networks.make("attention-additive", view)
    optimizer = adam(network.parameters())
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.mse_loss(network(observation), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    require(losses[-1] < losses[0], "a falling loss", f"{losses[0]:.4f} -> {losses[-1]:.4f}")
    return f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in 20 steps"


def check_checkpoint() -> str:
    """Save a network, load it and get the same actions."""
    view = View.parse("ego:intruders=8")
    network = networks.make("pairwise", view)
    observation = observe_all(World(WorldConfig(), 0, range(2)).traffic, view)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "best", network, view, {"stage": "clone"})
        loaded = load_policy(folder)
    with torch.no_grad():
        before = network(observation.flatten()).clamp(-1, 1).view(2, 20, 2)
    require(bool(torch.equal(loaded.act(observation), before)), "the same actions after loading", "others")
    return "saved, loaded, same actions to the bit"


def check_finetuning() -> str:
    """Fly a rollout with a fresh policy, and make one PPO update that leaves it a policy."""
    view = View.parse("ego:intruders=8")
    actor = ppo.Actor(networks.make("pairwise", view), log_std=-3.0)
    critic = Critic(view, actor.network.spec, seed=0)
    config, generator = ppo.PPOConfig(epochs=1), torch.Generator().manual_seed(0)
    rollout = Crew(WorldConfig(reward="detour"), 0, 16, view, spread_steps=0).fly(actor, 8, generator)
    critic.calibrate(returns(rollout, config.discount))
    estimates = estimate(rollout, critic, config.discount, config.smoothing)
    advantage = ppo.normalise(estimates.advantage)
    batch = ppo.UpdateBatch(
        rollout.observation, rollout.action, rollout.log_prob, advantage, estimates.target, None
    )
    with torch.no_grad():
        gap = (actor(rollout.observation) - rollout.mean).abs().max().item()
    require(gap < 1e-5, "the policy that flew to be the policy that learns", f"a difference of {gap}")
    optimizer = ppo.make_optimizer(actor, critic, config)
    average = deepcopy(actor.network)
    update = ppo.Update(actor, critic, average, optimizer, config, generator, Processes())
    figures = update.learn(batch)
    require(all(isfinite(figure) for figure in figures), "finite figures", figures)
    return f"{len(rollout.action):,} agent-steps flown, one update, KL {figures.kl:.4f}"


def check_evaluation() -> str:
    """Compare MVP with no resolution on the same scenarios."""
    world = WorldConfig()
    plan = EvaluationConfig(tuple(name_all([], "none,mvp")), world, scenarios=8, bootstrap=200)
    result = evaluate(plan, load_all(plan))
    los = {name: figures["los_events"] for name, figures in result.to_json()["contenders"].items()}
    require(los["mvp"]["high"] < los["none"]["low"], "clearly fewer LoS with MVP than without", los)
    return f"LoS per scenario {los['none']['value']:.1f} without resolution, {los['mvp']['value']:.2f} with MVP"


CHECKS: dict[str, Check] = {
    "world": check_world,
    "teacher": check_teacher,
    "observation": check_observation,
    "networks": check_networks,
    "training": check_training,
    "checkpoint": check_checkpoint,
    "fine-tuning": check_finetuning,
    "evaluation": check_evaluation,
}


@click.command(cls=HelpfulCommand, examples=["skyclone smoke"])
def smoke() -> None:
    """Check in under a minute that all parts fit together, a line each."""
    start = time.perf_counter()
    with one_thread():
        for name, check in CHECKS.items():
            begin = time.perf_counter()
            click.echo(f"ok  {name:<12} {check()}  ({time.perf_counter() - begin:.1f} s)")
    click.echo(f"All {len(CHECKS)} parts fit together ({time.perf_counter() - start:.1f} s).")
