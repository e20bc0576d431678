"""Fine-tuning beside Stable-Baselines3's PPO: agent-steps/s, learning included, one core, ratios in one run.

`python tests/benchmarks/bench_finetuning.py` takes turns, every turn a process of its own; medians are printed.
Both fly the same world with the same two networks (actor and critic, the seed's `attention-additive`, 256
wide), the same number of epochs and the same rows per gradient step. Ours is the whole command, files
included, without the gate, which Stable-Baselines3 has not. Theirs is given one slot per aircraft on our
batched world, no process and no Python loop per environment, and every slot counts, also those whose aircraft
has landed: the kindest way to count for them. A second turn of theirs uses their own MlpPolicy (2 x 256).
Their package is optional: install `stable-baselines3` beside skyclone to see that half.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ENVS, HORIZON, EPOCHS, MINIBATCH = 64, 64, 4, 2048
NETWORK, VIEW = "attention-additive", "seed"
TURNS = 3


def one_core() -> None:
    """Let torch use one thread."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)


def config_of(steps: int) -> Any:
    """Return the configuration of our run."""
    from skyclone.train.finetune_configuration import FinetuneConfig
    from skyclone.train.ppo import PPOConfig

    update = PPOConfig(epochs=EPOCHS, minibatch=MINIBATCH, target_kl=0.0)
    return FinetuneConfig(
        steps=steps, envs=ENVS, horizon=HORIZON, warmup=0, gate_every=10_000, gate_scenarios=2, ppo=update
    )


def make_source(folder: Path) -> Path:
    """Write a checkpoint to start from; what it has learned does not matter here."""
    from skyclone.collect.configuration import WorldConfig
    from skyclone.datasets.observation import View
    from skyclone.train import checkpoint, networks

    view = View.parse(VIEW)
    world = WorldConfig().to_json()
    checkpoint.save(folder / "best", networks.make(NETWORK, view), view, {"stage": "clone", "world": world})
    return folder


def ours() -> dict[str, float]:
    """Fine-tune for some hundred thousand agent-steps; the first rollouts, of little traffic, do not count."""
    from skyclone.train.finetune import Finetuning

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, source = config_of(400_000), make_source(folder)
        summary = Finetuning(source, folder / "run", config, device="cpu", say=lambda line: None).train()
        rounds = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    first, last = rounds[3], rounds[-2]  # the last one flies through the gate
    rate = (last["steps"] - first["steps"]) / (last["seconds"] - first["seconds"])
    seconds = {key: value for key, value in summary["seconds"].items() if key != "gate"}
    return {"rate": rate, "learning": seconds["learning"] / sum(seconds.values())}


def matmul() -> dict[str, float]:
    """Measure the machine's matrix-multiply rate, and how much of it learning reaches."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    from skyclone.datasets.observation import Observation, View
    from skyclone.train import networks, ppo
    from skyclone.train.critic import Critic

    left, right = torch.randn(MINIBATCH, 256), torch.randn(256, 256)
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(50):
            torch.mm(left, right)
        rates.append(50 * 2 * MINIBATCH * 256 * 256 / (time.perf_counter() - start))
    view = View.parse(VIEW)
    network = networks.make(NETWORK, view)
    actor, critic = ppo.Actor(network, -3.0), Critic(view, network.spec, 0)
    rows, seen = 8 * MINIBATCH, 19
    observation = Observation(
        torch.randn(rows, 7), torch.randn(rows, seen, view.intruder_features), torch.rand(rows, seen) < 0.5
    )
    batch = ppo.Batch(observation, torch.randn(rows, 2), *(torch.zeros(3, rows).unbind(0)), None)
    settings = ppo.PPOConfig(epochs=1, minibatch=MINIBATCH, target_kl=0.0)
    optimizer, generator = ppo.make_optimizer(actor, critic, settings), torch.Generator()

    def learn() -> float:
        start = time.perf_counter()
        ppo.update(actor, critic, optimizer, batch, settings, generator)
        return time.perf_counter() - start

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
    from sb3_adapter import SlotsOfWorld, TheSameNetworks
    from stable_baselines3 import PPO

    slots = SlotsOfWorld(ENVS, VIEW)
    policy: Any = "MlpPolicy" if own_network else TheSameNetworks
    shape: Any = {"net_arch": {"pi": [256, 256], "vf": [256, 256]}}
    shape = shape if own_network else {"view": VIEW, "network": NETWORK}
    settings: Any = {"n_steps": HORIZON, "batch_size": MINIBATCH, "n_epochs": EPOCHS, "learning_rate": 5e-5}
    model = PPO(policy, slots, policy_kwargs={"log_std_init": -3.0, **shape}, device="cpu", **settings)
    rows = ENVS * slots.aircraft * HORIZON
    model.learn(rows)
    slots.flown = 0
    start = time.perf_counter()
    model.learn(3 * rows, reset_num_timesteps=False)
    seconds = time.perf_counter() - start
    return {"rate": 3 * rows / seconds, "flying": slots.flown / seconds}


def turn(name: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, name], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Take turns and print the medians."""
    has_theirs = importlib.util.find_spec("stable_baselines3") is not None
    names = ["ours", *(["sb3", "sb3-mlp"] if has_theirs else [])]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(TURNS):
        for name in names:
            found[name].append(turn(name))
    median = {
        name: {key: statistics.median(each[key] for each in turns) for key in turns[0]}
        for name, turns in found.items()
    }
    mine, machine = median["ours"], turn("matmul")
    print(f"skyclone finetune            {mine['rate']:9,.0f} agent-steps/s ({mine['learning']:.0%} learning)")
    for name, title in (("sb3", "SB3 PPO, the same networks"), ("sb3-mlp", "SB3 PPO, its MlpPolicy")):
        if has_theirs:
            each = median[name]
            print(
                f"{title:<28} {each['rate']:9,.0f} slot-steps/s ({each['flying']:,.0f} flying): "
                f"{mine['rate'] / each['rate']:.2f} times that (flying: {mine['rate'] / each['flying']:.2f})"
            )
    if not has_theirs:
        print("Stable-Baselines3 is not installed: pip install stable-baselines3 beside skyclone to compare.")
    print(
        f"matrix multiply              {machine['machine']:9.1f} GF/s here; learning reaches "
        f"{machine['learning']:.1f} ({machine['flop_per_row'] / 1e3:,.0f} kFLOP a row and epoch), "
        f"{machine['share']:.0%} of its time in them"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_core()
        measure = {"ours": ours, "matmul": matmul, "sb3": lambda: theirs(False), "sb3-mlp": lambda: theirs(True)}
        print(json.dumps(measure[sys.argv[1]]()))
    else:
        main()
