"""One update after the other: loss, gradient, clipping, optimizer, and the sums of the epoch, all on one device.

Nothing is fetched from the device between two calls of `Updater.check`. So that a NaN or infinity found there is
never in the weights, it is noticed on the device, and every update from the bad one on is left out.

Notation: M rows of a batch, all processes together.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...datasets.loading.loader import Batch
from ...datasets.traffic.observation import Observation
from ..networks import Network
from ..runs.muon import Muon
from ..runs.optimizers import adamw
from ..runs.processes import Processes
from .config import CloningConfig

_CLIP_GUARD = 1e-6  # torch's own, in `clip_grad_norm_`


class Found(NamedTuple):
    """What `Updater.check` fetched.

    Attributes:
        loss: Sum over the epoch's batches of loss times rows.
        gradient_norm: Sum over the epoch's batches of the norm of all gradients.
        bad: Loss and norm of the first batch that was not finite, and its number in the epoch, from 1; None if all
            were.
    """

    loss: float
    gradient_norm: float
    bad: tuple[float, float, int] | None


class Updater:
    """Updates a network, batch by batch.

    Args:
        network: On the device.
        config: Learning rate, weight decay and clipping.
        processes: Those that hold a copy of the network each.

    Attributes:
        optimizer: AdamW or Muon.
    """

    def __init__(self, network: Network, config: CloningConfig, processes: Processes) -> None:
        self._network, self._processes, self._clip = network, processes, config.gradient_clip
        self._parameters = list(network.parameters())
        self._device = self._parameters[0].device
        self.optimizer: Muon | torch.optim.AdamW
        if config.optimizer == "muon":
            self.optimizer = Muon(self._parameters, lr=config.lr, weight_decay=config.weight_decay)
        else:
            self.optimizer = adamw(self._parameters, lr=config.lr, weight_decay=config.weight_decay)
        self._has_failed = torch.zeros((), dtype=torch.bool, device=self._device)
        # Both optimizers leave out the update where this is 1: a gradient scaler's way, without a round trip.
        self._leave_out = torch.zeros((), device=self._device)
        self.optimizer.found_inf = self._leave_out  # type: ignore[union-attr]
        self._model: nn.Module = network
        if processes.size > 1:
            self._model = DistributedDataParallel(network)
        self._last = torch.zeros(2, device=self._device)  # loss and norm of the last batch, or of the bad one
        self._rows = torch.ones(2, dtype=torch.float64, device=self._device)  # what they are multiplied by
        self.begin(0.0, 0.0, 0)

    def begin(self, loss: float, gradient_norm: float, batch: int) -> None:
        """Begin an epoch, or continue it with the sums it had after some batches."""
        self._sums = torch.tensor((loss, gradient_norm), dtype=torch.float64, device=self._device)
        self._good = torch.tensor(float(batch), device=self._device)  # batches of the epoch up to the bad one

    def update(self, batch: Batch, rows: int, learning_rate: float) -> None:
        """Make one update with this process's part of a batch.

        Args:
            batch: On the device; may have no row.
            rows: M.
            learning_rate: For this update.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        share = len(batch.action) / rows
        observation, action, _ = batch if share else _stand_in(batch)
        loss = (self._model(observation) - action).square().mean()
        # DDP takes the mean over the processes: each one's loss counts as much as it has rows.
        scale = share * self._processes.size
        with self._processes.reaching():
            (loss if scale == 1 else loss * scale).backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._note(self._processes.total(loss.detach() * share), norm, rows)
        self.optimizer.step()

    def _note(self, loss: Tensor, norm: Tensor, rows: int) -> None:
        """Add up the figures of an update, and notice the first one that is not finite."""
        pair = torch.stack((loss, norm))
        self._last = torch.where(self._has_failed, self._last, pair)
        self._has_failed |= (pair * 0).sum() != 0  # 0 times NaN or infinity is NaN
        self._leave_out.copy_(self._has_failed)
        self._good += ~self._has_failed
        self._rows[:1].fill_(rows)
        self._sums += pair.double() * self._rows

    def check(self) -> Found:
        """Fetch the sums; waits for the device."""
        fetched = torch.cat((self._sums, self._last, self._good.unsqueeze(0), self._leave_out.unsqueeze(0)))
        loss, norm, last_loss, last_norm, good, has_failed = fetched.tolist()
        return Found(loss, norm, (last_loss, last_norm, int(good) + 1) if has_failed else None)

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients of the attention's matrices in the last update, before clipping, by name."""
        clipped_to = (self._clip / (self._last[1] + _CLIP_GUARD)).clamp(max=1.0)
        return {
            name: weight.grad / clipped_to
            for name, weight in self._network.projections().items()
            if weight.grad is not None
        }


def _stand_in(batch: Batch) -> Batch:
    """Return one row of nothing for a batch (or part of one) without rows: every process must take part."""

    def row(tensor: Tensor) -> Tensor:
        return tensor.new_zeros((1, *tensor.shape[1:]))

    return Batch(Observation(*map(row, batch.observation)), row(batch.action), row(batch.in_conflict))
