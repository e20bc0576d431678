"""What float32 may round off in a network: float64 is made to round as coarsely, and the actions' spread measured.

In float32 every operation returns z + e instead of z, with |e| <= u s, u = 2^-24. Its size s is

- 0 for copies and wherever z is a float32 number (IEEE 754 rounds no exact result),
- 4 |z| for an elementwise function (4 units in the last place; sums, products and roots need 1 only), and 4 for
  a sigmoid and a tanh, whose approximations in onnxruntime err absolutely,
- sqrt(n) sum |w x| for a sum of n products: n partial sums are rounded, none larger than sum |w x|; errors that
  are independent grow like sqrt(n), not n (Higham, Mary 2019, doi:10.1137/18M1226312),
- p (|x - max x| + sqrt(n) + 4) for a softmax p of n: exp makes the error of x - max x a relative one,
- (|x| + |mean|) |w| / deviation + |z| for a layer norm, which subtracts the mean before it divides.

To first order the actions are off by J e, with J their derivative by the results of all operations. A run in
float64 in which each e is u s or -u s at random gives one sample of J e, whatever the network does (Monte Carlo
arithmetic; Parker 1997). The root mean square of some runs is what independent errors of full size add up to. Real
ones are smaller: torch and onnxruntime were found within 0.7 of it, over all networks and ten thousand rows each.
Four times that is allowed. Where an order of intruders hangs on rounding, it changes between the runs too, and the
row is allowed the jump.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ...datasets.traffic.observation import Observation

UNIT = 2.0**-24
"""Largest relative error of a number rounded to float32."""
FUNCTION_UNITS = 4.0
RUNS, ALLOWANCE = 8, 4.0
_HUGE = 1e30  # the -max of a masked score, beyond which nothing is disturbed
_ATEN = torch.ops.aten


def allowed_error(network: Callable[[Observation], Tensor], observation: Observation) -> Tensor:
    """Return how far float32 may be from a float64 network, for each number it returns.

    Args:
        network: With float64 weights.
        observation: In float64.
    """
    exact = network(observation)
    squares = torch.zeros_like(exact)
    for run in range(RUNS):
        with _Rounding(torch.Generator().manual_seed(run)):
            squares += (network(observation) - exact).square()
    return ALLOWANCE * (squares / RUNS).sqrt() + FUNCTION_UNITS * UNIT * exact.abs()


class _Rounding(TorchDispatchMode):
    """While it is active, every operation is off by as much as float32 may round, up or down at random."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let one operation happen, in place or not, and disturb what came out."""
        returned = function(*args, **(kwargs or {}))
        if function.is_view:
            return returned
        size_of = _SIZES.get(function.overloadpacket, _of_elements)
        for result in returned if isinstance(returned, (tuple, list)) else (returned,):
            if isinstance(result, Tensor) and result.is_floating_point() and result.numel():
                sign = torch.empty_like(result).uniform_(-1, 1, generator=self._generator).sign_()
                result.add_(sign.mul_(size_of(result, *args)).mul_(UNIT))
                size_of = _of_elements  # what is said above is of the first result
        return returned


def _of_elements(result: Tensor, *args: Any) -> Tensor:
    is_rounded = (result != result.float()) & (result.abs() < _HUGE)
    return FUNCTION_UNITS * result.abs().where(is_rounded, 0.0)


def _of_products(result: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return sqrt(one.shape[-1]) * (one.abs() @ other.abs())


def _of_sum(result: Tensor, terms: Tensor, dims: list[int], *args: Any) -> Tensor:
    return sqrt(terms.numel() / result.numel()) * terms.abs().sum(dims, *args)


def _of_softmax(result: Tensor, scores: Tensor, dim: int, *args: Any) -> Tensor:
    below = (scores.amax(dim, keepdim=True) - scores).clamp_max(_HUGE)
    return result * (below + sqrt(scores.shape[dim]) + FUNCTION_UNITS)


def _of_layer_norm(result: Tensor, values: Tensor, shape: Any, weight: Tensor, *args: Any) -> Tensor:
    deviation, mean = torch.std_mean(values, -1, correction=0, keepdim=True)
    return (values.abs() + mean.abs()) * weight.abs() / deviation + result.abs()


_SIZES: dict[Any, Callable[..., Tensor]] = {
    _ATEN.mm: _of_products,
    _ATEN.bmm: _of_products,
    _ATEN.addmm: lambda result, bias, one, other: bias.abs() + _of_products(result, one, other),
    _ATEN.addcmul: lambda result, term, one, other: term.abs() + (one * other).abs(),
    _ATEN.sum: _of_sum,
    _ATEN._softmax: _of_softmax,
    _ATEN.native_layer_norm: _of_layer_norm,
    **dict.fromkeys(
        (_ATEN.sigmoid, _ATEN.sigmoid_, _ATEN.tanh, _ATEN.tanh_),
        lambda result, *args: torch.full_like(result, FUNCTION_UNITS),
    ),
}
"""The size s of what an operation rounds, from its result and arguments; `_of_elements` for all others."""
