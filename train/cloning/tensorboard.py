"""What a tracker shows of a network that is being cloned, besides figures: its weights, and where it looks."""

from ...datasets.traffic.view import View
from ..networks import Network
from ..runs.trackers import Tracker


def show_network(board: Tracker, network: Network, view: View, step: int, draws: bool) -> None:
    """Add the distribution of the weights and, if wanted, the network's attention on the fixed scene.

    Args:
        board: The run's tracker.
        network: As it is after the iteration.
        view: What it observes.
        step: Batches used so far.
        draws: Whether its attention is drawn, if it has any.
    """
    for name, weight in network.named_parameters():
        board.add_histogram(f"weights/{name}", weight.detach().cpu(), step)
    if draws:
        from . import plots  # pulls in matplotlib, which takes a second

        plot = plots.attention(network, view)
        if plot is not None:
            board.add_image("attention/scene", plot, step, dataformats="HWC")
    board.flush()


def is_power_of_two(number: int) -> bool:
    """Return whether a number from 1 on is 1, 2, 4, 8, ...: plots are costly, and change fastest at first."""
    return number & (number - 1) == 0
