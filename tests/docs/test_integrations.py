"""Stock libraries take a thousand steps in the environments, by the code of docs/integrations.md as it stands."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from forked_command import Forked, code

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
PACKAGES = {
    "stable_baselines3": "stable-baselines3",
    "torchrl": "torchrl",
    "ray": "ray",
    "tree": "dm-tree",
    "lz4": "lz4",
    "ormsgpack": "ormsgpack",
    "supersuit": "supersuit",
    "pettingzoo": "pettingzoo",
}
QUIET = "import warnings; warnings.simplefilter('ignore')\n"
OTHERS = {"ray": ("tree", "lz4", "ormsgpack")}
"""What is imported behind the package that a block names."""

CLEANRL = """
import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

def network(outputs):
    width = int(np.prod(envs.single_observation_space.shape))
    return nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, outputs))

actor, critic, log_std = network(2), network(1), nn.Parameter(torch.zeros(2))
optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters(), log_std], lr=3e-4, eps=1e-5)
horizon, returns, steps = 160, [], 0
next_obs, next_done = torch.tensor(envs.reset(seed=1)[0]), torch.zeros(envs.num_envs)
for iteration in range(2):
    rows = []
    for _ in range(horizon):
        with torch.no_grad():
            policy = Normal(actor(next_obs), log_std.exp())
            action, value = policy.sample(), critic(next_obs).flatten()
        obs, done = next_obs, next_done
        seen, reward, terminated, truncated, infos = envs.step(action.numpy())
        next_obs, next_done = torch.tensor(seen), torch.tensor(terminated | truncated).float()
        rows.append((obs, action, policy.log_prob(action).sum(1), torch.tensor(reward).float(), done, value))
        steps += envs.num_envs
        if "episode" in infos:
            returns += infos["episode"]["r"][infos["_episode"]].tolist()
    obs, action, log_prob, reward, done, value = (torch.stack(each) for each in zip(*rows))
    with torch.no_grad():
        advantage, last, following, alive = torch.zeros_like(reward), 0, critic(next_obs).flatten(), 1 - next_done
        for t in reversed(range(horizon)):
            delta = reward[t] + 0.99 * following * alive - value[t]
            advantage[t] = last = delta + 0.99 * 0.95 * alive * last
            following, alive = value[t], 1 - done[t]
    target = advantage + value
    for _ in range(4):
        ratio = (Normal(actor(obs), log_std.exp()).log_prob(action).sum(-1) - log_prob).exp()
        surrogate = torch.min(advantage * ratio, advantage * ratio.clamp(0.8, 1.2)).mean()
        loss = 0.5 * (critic(obs).squeeze(-1) - target).square().mean() - surrogate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
assert steps >= 1_000 and torch.isfinite(loss), (steps, loss)
assert returns and np.isfinite(returns).all()
"""
"""The loop of CleanRL's `ppo_continuous_action.py`, shortened."""

CHECKS = {
    "Gymnasium": ["assert infos['episode']['l'] > 1 and infos['outcome'] > 0"],
    "Stable-Baselines3": [
        "assert model.num_timesteps >= 1_000 and model.env.agent_steps > 500 and len(model.ep_info_buffer)",
        "assert model.num_timesteps >= 1_000 and model.ep_info_buffer[0]['l'] > 1",
    ],
    "TorchRL": [
        "assert steps >= 1_000 and all(torch.isfinite(value).all() for value in losses.values()), steps",
        "assert rollout.numel() == 1_000 and rollout['next', 'aircraft', 'info', 'outcome'].max() > 0",
    ],
    "RLlib": [
        "assert result['env_runners']['num_env_steps_sampled_lifetime'] >= 1_000\n"
        "assert abs(result['learners']['pilot']['total_loss']) < float('inf')"
    ],
    "CleanRL": [CLEANRL],
    "SuperSuit": ["assert observation.shape == (10, 31) and reward.any()"],
    "PettingZoo's AEC": [
        "from pettingzoo.test import api_test, parallel_api_test\n"
        "api_test(env, num_cycles=100)\nparallel_api_test(again, num_cycles=100)"
    ],
}
"""What holds after each block of a heading."""


def blocks() -> dict[str, list[str]]:
    """Return the page's blocks of Python by heading."""
    found = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        found[title] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return found


def missing_from(block: str) -> list[str]:
    """Return the packages, as pip knows them, that a block imports and that are not installed."""
    named = [name for name in re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE) if name in PACKAGES]
    needed = [each for name in named for each in (name, *OTHERS.get(name, ()))]
    return [PACKAGES[name] for name in dict.fromkeys(needed) if importlib.util.find_spec(name) is None]


def test_each_block_is_checked() -> None:
    assert {title: len(found) for title, found in blocks().items()} == {
        title: len(checks) for title, checks in CHECKS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "check"),
    [
        pytest.param(block, check, id=f"{title}-{number}")
        for title, found in blocks().items()
        for number, (block, check) in enumerate(zip(found, CHECKS.get(title, [])))
    ],
)
def test_a_library_trains(block: str, check: str, tmp_path: Path) -> None:
    missing = missing_from(block)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install {' '.join(missing)}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "local"}
    if "ray" not in block:
        process = Forked(code, QUIET + block + check, cwd=tmp_path, env=environment)
        _, said = process.communicate(timeout=280)
        assert process.returncode == 0, said[-3000:]
        return
    done = subprocess.run(  # Ray starts processes of its own, and looks at what started this one
        [sys.executable, "-W", "ignore", "-c", block + check],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
