"""Rank correlation over the intruders of each row.

Notation: M rows (an ownship in a step), K intruders seen, H heads.
"""

import torch
from torch import Tensor


def somers_d(weights: Tensor, push: Tensor, is_present: Tensor) -> Tensor:
    """Return the rank correlation between weights and pushes per row, (M, H); NaN if all pushes are equal.

    Somers' D (1962): of the pairs of intruders with unequal push, the share that the weights order alike minus
    the share they order the other way round. Unlike Spearman's it reaches 1 although most pushes are 0; where
    no two weights are equal either, it is Kendall's tau.

    Args:
        weights: (M, H, K).
        push: (M, K), or any other order of the intruders.
        is_present: (M, K).
    """
    higher = torch.sign(push.unsqueeze(-1) - push.unsqueeze(-2))  # (M, K, K)
    higher = higher * (is_present.unsqueeze(-1) & is_present.unsqueeze(-2))
    pairs = higher.abs().sum((-1, -2))  # (M,)

    def of(head: Tensor) -> Tensor:
        heavier = torch.sign((head.unsqueeze(-1) - head.unsqueeze(-2)).nan_to_num())  # (M, K, K)
        return (heavier * higher).sum((-1, -2)) / pairs

    return torch.stack([of(head) for head in weights.unbind(1)], 1)  # head by head: M K^2 numbers are many
