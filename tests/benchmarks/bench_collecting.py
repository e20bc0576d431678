"""Collecting beside BlueSky: agent-steps/s with 20 aircraft and MVP, one core, as ratios in one run.

`python tests/benchmarks/bench_collecting.py` takes turns: BlueSky (python geometry, one update per second of
flight, which is the least it can do; and 0.05 s, as it flies by default) and skyclone (world, MVP, record,
Parquet and hash included), five times each, every turn a process of its own. Medians are printed. Times are
processor time of one thread, so that a busy neighbour counts as little as possible.
"""

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPISODES = 256
TURNS = 5


def ours() -> float:
    """Collect a dataset on one core and return rows/s, all included but the start of Python."""
    from skyclone.collect.collector.collector import collect
    from skyclone.collect.collector.config import CollectConfig

    with tempfile.TemporaryDirectory() as folder:
        collect(Path(folder) / "warm", CollectConfig(episodes=8), workers=1)
        start = time.process_time()
        manifest, _ = collect(Path(folder) / "data", CollectConfig(episodes=EPISODES), workers=1)
        return manifest.rows / (time.process_time() - start)


def bluesky(step_s: float) -> float:
    """Fly the same traffic in BlueSky with its MVP and return agent-steps (1 s of flight each) per second."""
    import numpy as np

    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        import bluesky as bs

        bs.init(mode="sim", detached=True, workdir=folder)
        from bluesky.tools import geo
        from bluesky.tools.geo import _geo
        from bluesky.traffic.asas import statebased

        geo.kwikqdrdist_matrix = _geo.kwikqdrdist_matrix
        statebased.StateBased.select()
        from skyclone.collect.airspace.world_config import WorldConfig
        from skyclone.collect.scenarios.registry import lay_out

        for command in ("ASAS ON", "RESO MVP", "ZONER 0.0593952", "DTLOOK 15"):  # R of 110 m in NM
            bs.stack.stack(command)
        layout = lay_out(WorldConfig(), 0, 0)
        for number, (start, end) in enumerate(zip(layout.position_m, layout.waypoint_m)):
            latitude, longitude = np.degrees(start[::-1] / 6371000.0)
            heading = np.degrees(np.arctan2(*(end - start))) % 360
            bs.traf.cre(f"D{number}", "M600", latitude, longitude, heading, 0.0, 9.0)
        bs.stack.process()
        bs.core.simtime.setdt(step_s)
        bs.sim.op()
        seconds = 60 if step_s == 1.0 else 10
        detections: list[None] = []
        inner = statebased.StateBased.detect

        def detect(*arguments: object) -> object:
            detections.append(None)
            return inner(*arguments)

        statebased.StateBased.detect = detect
        begin = time.process_time()
        for _ in range(round(seconds / step_s)):
            bs.sim.step()
        rate = 20 * seconds / (time.process_time() - begin)
        if abs(len(detections) - seconds) > 1:
            raise RuntimeError(f"expected one conflict detection per second of flight, got {len(detections)}")
        return rate


WAYS = {
    "skyclone": ours,
    "BlueSky, 1 s steps": lambda: bluesky(1.0),
    "BlueSky, 0.05 s steps": lambda: bluesky(0.05),
}


def main() -> None:
    """Take turns and print medians and ratios."""
    if len(sys.argv) == 2:
        import torch

        torch.set_num_threads(1)
        print(json.dumps(WAYS[sys.argv[1]]()))
        return
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(TURNS):
        for name in WAYS:
            said = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True)
            rates[name].append(float(said.stdout.strip().splitlines()[-1]))
    print(f"Collecting, 20 aircraft, MVP, one core (processor time), median of {TURNS} turns [least to most]")
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["skyclone"], values))
        print(
            f"  {name:<22} {statistics.median(values):>10,.0f} agent-steps/s "
            f"[{min(values):,.0f} to {max(values):,.0f}]   skyclone is {ratio:.1f} x"
        )


if __name__ == "__main__":
    main()
