"""PPO in several processes: the run's own, and helpers that do what it does on episodes of their own.

A helper is a process of this program, started when training begins and ended with it. It speaks to nobody and
writes nothing: it is told what to do, does it together with the others (`Processes`), and answers.
"""

import multiprocessing
import signal
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ...collect.collector.workers import without_ctrl_c
from ...datasets.errors import SkycloneError
from ..runs import gate
from ..runs.device import torch_threads
from ..runs.gate import GateFlights
from ..runs.processes import ProcessError, Processes
from ..runs.stopwatch import Stopwatch
from .methods import Learned, Material, TuningProgress
from .ppo_method import PPOMethod

_HOST = "127.0.0.1"
_START_S = 300.0  # for a helper to import what it needs, on a machine that is busy
_PATIENCE_S = 10.0  # for a helper that was told to end


class Team:
    """PPO in this process and helpers; a `Method`.

    Args:
        material: What to do, and with what; on the CPU.
        clock: Counts where the time goes, in this process.
        size: How many processes there are, this one included; 2 or more.
    """

    def __init__(self, material: Material, clock: Stopwatch, size: int) -> None:
        self._material, self._size = material, size
        self._own = PPOMethod(material, clock, Processes(0, size))
        self._helpers: list[tuple[Any, Connection]] = []
        self._restored: tuple[Any, ...] = ()  # what helpers are told when they start
        self.network, self.modules, self.crews = self._own.network, self._own.modules, self._own.crews

    def _start(self) -> None:
        """Start the helpers: when they are needed first, so that a run that fails before has none."""
        store = dist.TCPStore(_HOST, 0, self._size, is_master=True, wait_for_workers=False)
        context = multiprocessing.get_context("spawn")
        for rank in range(1, self._size):
            here, there = context.Pipe()
            arguments = (there, rank, self._size, store.port, self._material)
            helper = context.Process(target=_help, args=arguments, name=f"skyclone-{rank}", daemon=True)
            with without_ctrl_c():  # while it imports; then it ignores it
                helper.start()
            there.close()
            self._helpers.append((helper, here))
        for _, connection in self._helpers:
            if not connection.poll(_START_S):
                raise self._lost()
            connection.recv()  # it is there
        dist.init_process_group("gloo", store=store, rank=0, world_size=self._size)
        if self._restored:
            self._tell("restore", *self._restored)

    def learn(self, progress: TuningProgress) -> Learned:
        """Let all fly a rollout, and update critic and actor with all of them."""
        self._tell("learn", progress)
        with self._own.processes.reaching():
            return self._own.learn(progress)

    def fly_gate(self, is_parent: bool = False) -> GateFlights:
        """Fly the policy, or its parent, through the gate, each process its part of the scenarios."""
        self._tell("own_gate", is_parent)
        own = self._own.own_gate(is_parent)
        parts = [own, *self._answers()]
        return gate.join([gate.interleave(of_world) for of_world in zip(*parts, strict=True)])

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to continue, of all processes."""
        self._tell("saved")
        tensors, description = self._own.saved()
        for of_crews, counters in self._answers():
            tensors |= of_crews
            description["crews"] += counters
        return tensors, description

    def restore(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Take back what `saved` returned."""
        self._own.restore(tensors, description)
        self._restored = ({name: tensor.numpy() for name, tensor in tensors.items()}, dict(description))

    def close(self) -> None:
        """End the helpers."""
        if dist.is_initialized() and self._helpers:
            dist.destroy_process_group()  # who waits for this process sees that it is gone
        for _, connection in self._helpers:
            connection.close()
        for helper, _ in self._helpers:
            helper.join(_PATIENCE_S)
            helper.kill()
            helper.join()
        self._helpers = []

    def _tell(self, what: str, *arguments: Any) -> None:
        """Tell all helpers what to do.

        Raises:
            ProcessError: One has ended.
        """
        if not self._helpers:
            self._start()
        try:
            for _, connection in self._helpers:
                connection.send((what, arguments))
        except OSError:
            raise self._lost() from None

    def _answers(self) -> list[Any]:
        """Return what each helper answers.

        Raises:
            ProcessError: One has ended.
        """
        try:
            return [connection.recv() for _, connection in self._helpers]
        except (EOFError, OSError):
            raise self._lost() from None

    def _lost(self) -> ProcessError:
        """Return the error for a helper that is gone."""
        return ProcessError(
            "a process that helped has ended: it was killed, or ran out of memory. The same command with --resume "
            "continues from the last saved state; --processes 1 needs no help, and begins another run."
        )


def _help(connection: Connection, rank: int, size: int, port: int, material: Material) -> None:
    """Do what the first process tells, until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when all stop
    # OSError, EOFError, RuntimeError, ProcessError: the first process has ended, or will say what went wrong
    with suppress(OSError, EOFError, RuntimeError, SkycloneError):
        connection.send(rank)
        store = dist.TCPStore(_HOST, port, size, is_master=False)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
        with torch_threads(material.config.threads):
            method = PPOMethod(material, Stopwatch(), Processes(rank, size))
            while True:
                what, arguments = connection.recv()
                if what == "learn":
                    method.learn(*arguments)
                elif what == "restore":
                    tensors, description = arguments
                    method.restore({name: torch.from_numpy(each) for name, each in tensors.items()}, description)
                elif what == "own_gate":
                    connection.send(method.own_gate(*arguments))
                else:
                    tensors, description = method.saved()
                    own = {name: each for name, each in tensors.items() if name.startswith(f"process{rank}.")}
                    connection.send((own, description["crews"]))
