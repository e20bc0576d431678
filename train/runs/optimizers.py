"""Adam and AdamW as torch has them, without torch's compiler, which nothing here uses.

torch marks some methods of an optimizer as not to be compiled. To do so it imports the compiler when they are first
called: two seconds, in every process that trains. What is called here is what it marks.
"""

import sys
from collections.abc import Callable, Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import nn

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
_MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
_ADAM: Callable[..., Any] = unwrap(torch.optim.Adam.step)
_ADAMW: Callable[..., Any] = unwrap(torch.optim.AdamW.step)


class _Adam(torch.optim.Adam):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make a step."""
        return _ADAM(self, closure)


class _AdamW(torch.optim.AdamW):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make a step."""
        return _ADAMW(self, closure)


def adam(
    parameters: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> torch.optim.Adam:
    """Return Adam, fused."""
    _spare_compiler()
    return _Adam(parameters, lr=lr, betas=betas, eps=eps, fused=True)


def adamw(parameters: Parameters, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW, fused."""
    _spare_compiler()
    return _AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def _spare_compiler() -> None:
    """Let all optimizers call these methods as they are, unless the compiler is there already."""
    if "torch._dynamo" in sys.modules:
        return
    for name in _MARKED:
        method = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if method is not None:  # torch looks here for the method that is marked
            method.__dict__.setdefault("__dynamo_disable", method)
