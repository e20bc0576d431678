import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from skyclone.train.runs.optimizers import adam, adamw

TRAINS = """
import sys, torch
from skyclone.train.runs.muon import Muon
from skyclone.train.runs.optimizers import adam, adamw
from skyclone.train.tensor_file import optimizer_tensors, restore_optimizer

weight = torch.nn.Parameter(torch.ones(32, 32))
for optimizer in (adam([weight], lr=0.5), adamw([weight], 0.5, 0.1), Muon([weight], lr=0.5, weight_decay=0.0)):
    before = weight.detach().clone()
    weight.square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    restore_optimizer(optimizer, optimizer_tensors(optimizer))
    assert weight.grad is None
    assert not torch.equal(weight, before)
assert "torch._dynamo" not in sys.modules
"""


def test_who_trains_imports_no_compiler() -> None:
    """In a process of its own: this one has perhaps imported it."""
    done = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_each_step_is_torch_s_own(name: str) -> None:
    mine, theirs = ([nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))] for _ in range(2))
    options: dict[str, Any] = {"lr": 0.1, "eps": 1e-5} if name == "Adam" else {"lr": 0.1, "weight_decay": 0.3}
    kind = getattr(torch.optim, name)
    pair = ({"Adam": adam, "AdamW": adamw}[name](mine, **options), kind(theirs, **options, fused=True))
    assert isinstance(pair[0], kind)
    for _ in range(5):
        for optimizer, (weight,) in zip(pair, (mine, theirs)):
            optimizer.zero_grad()
            weight.sin().sum().backward()
            optimizer.step()
        assert torch.equal(mine[0], theirs[0])
    assert mine[0].requires_grad
    assert torch.is_grad_enabled()
