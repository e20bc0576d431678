"""Muon: matrices are moved by orthogonal steps, all else by AdamW.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. The momentum of a matrix is
replaced by the nearest matrix whose singular values are all about 1, so that a step moves every direction alike,
and not only the few that the gradient is full of. A clone comes to the same loss in a third of the updates
(`train/LOG.md`).

`torch.optim.Muon` does the same in bfloat16: on a processor without such instructions (AVX2) that takes 117 ms
for the matrix of 256 x 256 that takes 5 ms here, in float32.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .optimizers import adamw

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration: Jordan's
_ITERATIONS = 5
_LEAST = 1e-7
_NARROWEST = 16
"""A matrix with fewer rows or columns (the output layer, the heads' small projections) is left to AdamW."""


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about U V^T of a matrix U S V^T, by a Newton-Schulz iteration.

    Singular values come out between 0.7 and 1.2, except those that are nothing beside the largest.
    """
    first, third, fifth = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(_LEAST)
    for _ in range(_ITERATIONS):
        square = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=third, alpha=fifth), wide, beta=first)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """One optimizer of all weights of a network.

    Args:
        parameters: All weights; what is no matrix, or a narrow one, goes to AdamW.
        lr: Learning rate of both.
        weight_decay: Of both.
        momentum: Of the matrices; Nesterov's.

    Attributes:
        found_inf: Where set to a tensor that is 1, a step changes no weight: as in torch's fused optimizers,
            without a round trip to the device.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        every = list(parameters)
        matrices = [each for each in every if each.ndim == 2 and min(each.shape) >= _NARROWEST]
        taken = set(map(id, matrices))
        rest = [each for each in every if id(each) not in taken]
        self._rest = adamw([{"params": rest}], lr=lr, weight_decay=weight_decay)
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__([{"params": matrices}, *self._rest.param_groups], defaults)
        self.found_inf: Tensor | None = None
        self._share()

    def _share(self) -> None:
        """Let AdamW work on the groups and the state that are saved here."""
        self._rest.param_groups = self.param_groups[1:]
        self._rest.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back a state, of both."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make a step."""
        if self.found_inf is not None:
            self._rest.found_inf = self.found_inf  # type: ignore[attr-defined]
        self._rest.step()
        group = self.param_groups[0]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            momentum = state["momentum"].lerp_(weight.grad, 1.0 - group["momentum"])
            rows, columns = weight.shape
            step = orthogonal(weight.grad.lerp(momentum, group["momentum"])) * max(1.0, rows / columns) ** 0.5
            moved = weight * (1.0 - group["lr"] * group["weight_decay"]) - group["lr"] * step
            weight.copy_(moved if self.found_inf is None else torch.where(self.found_inf == 1, weight, moved))
