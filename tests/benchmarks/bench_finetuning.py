"""Fine-tuning beside Stable-Baselines3's PPO: agent-steps per processor second, learning included, one core.

`python tests/benchmarks/bench_finetuning.py` takes turns, every turn a process of its own; printed are medians, and
of the ratio of two neighbouring turns also the least and the most. Both fly the same world with the same two
networks (actor and critic, the seed's `attention-additive`, 256 wide), the same number of epochs and the same rows
per gradient step. Ours is the whole command, files included, without the gate, which Stable-Baselines3 has not.
Theirs is given one slot per aircraft on our batched world, no process and no Python loop per environment.

An agent-step is one flying aircraft in one step, on both sides. A slot-step is one place for an aircraft in one
step, also after its flight has ended: Stable-Baselines3 flies and learns those too, ours does not. Both counts are
printed for both; the ratio that counts is of agent-steps, per processor second (others may use the machine).
A second turn of theirs uses their own MlpPolicy (2 x 256). A second turn of ours learns as the command does by
default: from the half of the rows that say most, with the critic that comes with it. A third does so in two
processes, and counts wall-clock time, beside the second in the same time. `make bench` runs it where the slow tests
run, which need Stable-Baselines3 too.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

ENVS, HORIZON, EPOCHS, MINIBATCH = 64, 64, 4, 2048
NETWORK, VIEW = "attention-additive", "seed"
TURNS = 5


def one_core() -> None:
    """Let torch use one thread."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)


def config_of(steps: int, share: float = 1.0, critic: str = NETWORK, processes: int = 1) -> Any:
    """Return the configuration of our run."""
    from skyclone.train.finetuning.config import FinetuneConfig
    from skyclone.train.finetuning.ppo import PPOConfig

    update = PPOConfig(epochs=EPOCHS, minibatch=MINIBATCH, target_kl=0.0, share=share, lr=5e-5)
    return FinetuneConfig(
        steps=steps,
        envs=ENVS,
        horizon=HORIZON,
        warmup=0,
        gate_every=10_000,
        gate_scenarios=2,
        critic=critic,
        processes=processes,
        ppo=update,
    )


def make_source(folder: Path) -> Path:
    """Write a checkpoint to start from; what it has learned does not matter here."""
    from skyclone.collect.airspace.world_config import WorldConfig
    from skyclone.datasets.traffic.view import View
    from skyclone.train import checkpoint, networks

    view = View.parse(VIEW)
    world = WorldConfig().to_json()
    checkpoint.save(folder / "best", networks.make(NETWORK, view), view, {"stage": "clone", "world": world})
    return folder


def ours(is_default: bool = False, processes: int = 1) -> dict[str, float]:
    """Fine-tune for some hundred thousand agent-steps; the first rollouts, of little traffic, do not count.

    Args:
        is_default: With the share of the rows and the critic of the command, instead of all rows and their critic.
        processes: How many share the episodes.
    """
    from skyclone.train.finetuning.config import FinetuneConfig
    from skyclone.train.finetuning.run import Finetuning

    usual = FinetuneConfig()
    options = {"share": usual.ppo.share, "critic": usual.critic} if is_default else {}
    clock = time.process_time if processes == 1 else time.perf_counter

    ends: list[tuple[float, float]] = []

    def note(line: str) -> None:
        """Look at the clock at the end of each iteration."""
        if line.startswith("Stage 2 - Iter"):
            ends.append((clock(), time.perf_counter()))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, source = config_of(400_000, processes=processes, **options), make_source(folder)
        tuning = Finetuning(source, folder / "run", config, device="cpu", say=note)
        summary = tuning.train()
        rounds = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    first, last = 3, len(rounds) - 2  # the last one flies through the gate
    seconds, wall = (ends[last][which] - ends[first][which] for which in (0, 1))
    slots = (last - first) * HORIZON * ENVS * tuning.worlds[0].aircraft
    spent = {key: value for key, value in summary["seconds"].items() if key != "gate"}
    return {
        "flying": (rounds[last]["steps"] - rounds[first]["steps"]) / seconds,
        "wall": (rounds[last]["steps"] - rounds[first]["steps"]) / wall,
        "slots": slots / seconds,
        "learning": spent["learning"] / sum(spent.values()),
    }


def matmul() -> dict[str, float]:
    """Measure the machine's matrix-multiply rate, and how much of it learning reaches."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    from skyclone.datasets.traffic.observation import Observation
    from skyclone.datasets.traffic.view import View
    from skyclone.train import networks
    from skyclone.train.finetuning import ppo
    from skyclone.train.finetuning.critic import Critic
    from skyclone.train.runs.processes import Processes

    left, right = torch.randn(MINIBATCH, 256), torch.randn(256, 256)
    rates = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(50):
            torch.mm(left, right)
        rates.append(50 * 2 * MINIBATCH * 256 * 256 / (time.process_time() - start))
    view = View.parse(VIEW)
    network = networks.make(NETWORK, view)
    actor, critic = ppo.Actor(network, -3.0), Critic(view, network.spec, 0)
    rows, seen = 8 * MINIBATCH, 19
    observation = Observation(
        torch.randn(rows, 7), torch.randn(rows, seen, view.intruder_features), torch.rand(rows, seen) < 0.5
    )
    batch = ppo.UpdateBatch(observation, torch.randn(rows, 2), *(torch.zeros(3, rows).unbind(0)), None)
    settings = ppo.PPOConfig(epochs=1, minibatch=MINIBATCH, target_kl=0.0)
    optimizer, generator = ppo.make_optimizer(actor, critic, settings), torch.Generator()
    update = ppo.Update(actor, critic, deepcopy(network), optimizer, settings, generator, Processes())

    def learn() -> float:
        start = time.process_time()
        update.learn(batch)
        return time.process_time() - start

    learn()
    seconds = min(learn() for _ in range(3))
    with FlopCounterMode(display=False) as counter:
        learn()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        learn()
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    share = sum(value for key, value in times.items() if key in _MATMULS) / sum(times.values())
    return {
        "machine": statistics.median(rates) / 1e9,
        "learning": counter.get_total_flops() / seconds / 1e9,
        "flop_per_row": counter.get_total_flops() / rows,
        "share": share,
    }


_MATMULS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def theirs(own_network: bool) -> dict[str, float]:
    """Run Stable-Baselines3's PPO on the same world.

    Args:
        own_network: Their MlpPolicy instead of our two networks.
    """
    from sb3_networks import TheSameNetworks
    from stable_baselines3 import PPO

    from skyclone.collect.airspace.world_config import WorldConfig
    from skyclone.collect.environments import SectorVectorEnv, StableBaselinesVecEnv

    world = WorldConfig(reward="detour")
    slots = StableBaselinesVecEnv(SectorVectorEnv(ENVS, world, VIEW, teacher=None, autoreset_mode="SAME_STEP"))
    policy: Any = "MlpPolicy" if own_network else TheSameNetworks
    shape: Any = {"net_arch": {"pi": [256, 256], "vf": [256, 256]}}
    shape = shape if own_network else {"view": VIEW, "network": NETWORK}
    settings: Any = {"n_steps": HORIZON, "batch_size": MINIBATCH, "n_epochs": EPOCHS, "learning_rate": 5e-5}
    model = PPO(policy, slots, policy_kwargs={"log_std_init": -3.0, **shape}, device="cpu", **settings)
    rows = ENVS * world.aircraft * HORIZON
    model.learn(rows)
    slots.agent_steps = 0
    start = time.process_time()
    model.learn(3 * rows, reset_num_timesteps=False)
    seconds = time.process_time() - start
    return {"flying": slots.agent_steps / seconds, "slots": 3 * rows / seconds}


def turn(name: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, name], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Take turns and print what they came to."""
    titles = {
        "ours": "skyclone finetune, all rows",
        "ours-default": "skyclone finetune",
        "ours-two": "skyclone finetune, 2 processes",
        "sb3": "SB3 PPO, the same networks",
        "sb3-mlp": "SB3 PPO, its MlpPolicy",
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in titles}
    machines = []
    for _ in range(TURNS):
        for name, turns in found.items():
            turns.append(turn(name))
        machines.append(turn("matmul"))
    print(f"{'':<32} agent-steps/s  slot-steps/s  (per processor second, median of {TURNS})")
    for name, title in titles.items():
        if name == "ours-two":
            continue
        flying, slots = (_median(found[name], key) for key in ("flying", "slots"))
        print(f"{title:<32} {flying:13,.0f} {slots:13,.0f}{_ratio(found['ours-default'], found[name], name)}")
    print(f"{_median(found['ours'], 'learning'):.0%} of ours with all rows is learning.")
    twice = sorted(two["wall"] / one["wall"] for two, one in zip(found["ours-two"], found["ours-default"]))
    print(
        f"Two processes: {statistics.median(twice):.2f} times one in agent-steps per second of the wall clock "
        f"({twice[0]:.2f} to {twice[-1]:.2f})"
    )
    shares = sorted(each["learning"] / each["machine"] for each in machines)
    print(
        f"Matrix multiply: {_median(machines, 'machine'):.0f} GF/s here; learning reaches "
        f"{_median(machines, 'learning'):.0f}, {statistics.median(shares):.0%} of that ({shares[0]:.0%} to "
        f"{shares[-1]:.0%}; {_median(machines, 'flop_per_row') / 1e3:,.0f} kFLOP a row and epoch), "
        f"{_median(machines, 'share'):.0%} of its time in them"
    )


def _median(turns: list[dict[str, float]], key: str) -> float:
    """Return the median of a figure."""
    return statistics.median(each[key] for each in turns)


def _ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]], name: str) -> str:
    """Return by how much ours is faster, turn by turn, as text; nothing for ours itself."""
    if name == "ours-default":
        return ""
    parts = []
    for key, unit in (("flying", "agent-steps"), ("slots", "slot-steps")):
        ratios = sorted(mine[key] / each[key] for mine, each in zip(ours, theirs))
        parts.append(f"{statistics.median(ratios):.2f} times in {unit} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    return "  ours is " + ", ".join(parts)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_core()
        measure = {
            "ours": ours,
            "ours-default": lambda: ours(True),
            "ours-two": lambda: ours(True, 2),
            "matmul": matmul,
            "sb3": lambda: theirs(False),
            "sb3-mlp": lambda: theirs(True),
        }
        print(json.dumps(measure[sys.argv[1]]()))
    else:
        main()
