"""Loading beside Minari, Hugging Face `datasets` and a tensor in memory: rows/s, memory, bytes a row, shuffle.

`python tests/benchmarks/bench_loading.py` collects a dataset (20 aircraft), stores its observations (seed view, 19
intruders, 102 numbers) the way the others need them, and takes turns in one process with batches of 1024 (Minari:
whole episodes, it knows no rows). Processor time, one thread; medians. Ours computes the observations on the way.
The peak of memory is that of one process for each. Who is not installed is left out, and named.
"""

import contextlib
import gc
import importlib.util
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.flying.stored_perception import StoredPerception
from skyclone.datasets import Loader, Snapshots, View, open_dataset
from skyclone.datasets.loading.streaming import Stream
from skyclone.datasets.traffic.record import Table

BATCH, TURNS, TURN_S = 1024, 9, 0.4
EPISODES, EPISODES_PER_SHARD, BUFFER = 512, 16, 8  # 32 shards of some 36,000 rows, a quarter of them in memory
HF_BUFFER = 10_000

Batches = Iterator[int]
"""Yields the number of rows of each batch, epoch after epoch."""


def ours(folder: Path, **options: Any) -> Batches:
    """Yield from our loader."""
    loader = open_dataset(folder / "data").batches(batch_size=BATCH, **options)
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        for batch in loader:
            yield len(batch.action)


def in_memory(folder: Path) -> Batches:
    """Yield from our loader, all in memory."""
    return ours(folder)


def streaming(folder: Path) -> Batches:
    """Yield from our loader, streaming."""
    return ours(folder, stream=True, buffer_shards=BUFFER)


def perceived(folder: Path) -> Batches:
    """Yield what aircraft would have perceived, all in memory."""
    return ours(folder, perceive=StoredPerception("remote-id"))


def perceived_streaming(folder: Path) -> Batches:
    """Yield what aircraft would have perceived, streaming: found anew whenever a shard is read."""
    return ours(folder, stream=True, buffer_shards=BUFFER, perceive=StoredPerception("remote-id"))


def tensor(folder: Path) -> Batches:
    """Yield from stored observations in memory: the least anybody can do."""
    observation, action = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("observation", "action"))
    while True:
        for rows in torch.randperm(len(action)).split(BATCH):
            yield len(observation.index_select(0, rows)) + 0 * len(action.index_select(0, rows))


def hf_map(folder: Path) -> Batches:
    """Yield from HF `datasets`, map-style, by a DataLoader that shuffles."""
    import datasets

    stored = datasets.Dataset.from_parquet(str(folder / "rows-*.parquet"), cache_dir=str(folder / "cache"))
    loader = torch.utils.data.DataLoader(stored.with_format("torch"), batch_size=BATCH, shuffle=True)
    while True:
        for batch in loader:
            yield len(batch["action"])


def hf_streaming(folder: Path) -> Batches:
    """Yield from HF `datasets`, streaming, through a shuffle buffer."""
    import datasets

    files = {"train": str(folder / "rows-*.parquet")}
    stored = datasets.load_dataset("parquet", data_files=files, streaming=True, cache_dir=str(folder / "cache"))
    shuffled = stored["train"].shuffle(seed=0, buffer_size=HF_BUFFER).with_format("torch")
    loader = torch.utils.data.DataLoader(shuffled, batch_size=BATCH)
    for epoch in itertools.count():
        shuffled.set_epoch(epoch)
        for batch in loader:
            yield len(batch["action"])


def minari_episodes(folder: Path) -> Batches:
    """Yield whole episodes from Minari, in random order."""
    import minari

    stored = minari.load_dataset(f"skyclone/{folder.name}-v0")
    random = np.random.default_rng(0)
    while True:
        for episode in stored.iterate_episodes(random.permutation(stored.total_episodes).tolist()):
            torch.from_numpy(episode.observations)
            yield len(torch.from_numpy(episode.actions))


CONTENDERS: dict[str, tuple[Callable[[Path], Batches], str]] = {
    "skyclone, in memory": (in_memory, "skyclone"),
    f"skyclone, streaming, {BUFFER} shards held": (streaming, "skyclone"),
    "skyclone, remote-id, in memory": (perceived, "skyclone"),
    f"skyclone, remote-id, streaming, {BUFFER} shards held": (perceived_streaming, "skyclone"),
    "tensor in memory, observations stored": (tensor, "torch"),
    "HF datasets, map-style": (hf_map, "datasets"),
    "HF datasets, streaming": (hf_streaming, "datasets"),
    "Minari, whole episodes": (minari_episodes, "minari"),
}


def prepare(folder: Path, episodes: int) -> dict[str, float]:
    """Collect, and store observations for the others; return the bytes a row of each form."""
    collect(folder / "data", CollectConfig(episodes=episodes, episodes_per_shard=EPISODES_PER_SHARD))
    data = open_dataset(folder / "data")
    size = {"skyclone": sum(entry.bytes for entry in data.manifest.shards) / data.rows}
    batches = list(data.batches(batch_size=BATCH, shuffle=False))
    flat = [torch.cat((batch.observation.ownship, batch.observation.intruders.flatten(1)), 1) for batch in batches]
    observation, action = torch.cat(flat).numpy(), torch.cat([batch.action for batch in batches]).numpy()
    np.save(folder / "observation.npy", observation)
    np.save(folder / "action.npy", action)
    size["tensor"] = (observation.nbytes + action.nbytes) / data.rows
    if importlib.util.find_spec("datasets"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        for number, rows in enumerate(np.array_split(np.arange(data.rows), len(data.shards))):
            columns = {
                name: pa.FixedSizeListArray.from_arrays(pa.array(values[rows].ravel()), values.shape[1])
                for name, values in (("observation", observation), ("action", action))
            }
            pq.write_table(pa.table(columns), folder / f"rows-{number:03d}.parquet", compression="zstd")
        size["HF datasets, Parquet"] = sum(path.stat().st_size for path in folder.glob("rows-*")) / data.rows
    if importlib.util.find_spec("minari"):
        from skyclone.collect.collector.minari_export import export_minari

        stored = export_minari(data, f"skyclone/{folder.name}-v0")
        files = [path for path in stored.rglob("*") if path.is_file()]
        size["Minari, HDF5"] = sum(path.stat().st_size for path in files) / data.rows
    return size


def rates(folder: Path) -> dict[str, list[float]]:
    """Take turns; return rows/s of each turn."""
    sources = {
        name: make(folder) for name, (make, module) in CONTENDERS.items() if importlib.util.find_spec(module)
    }
    found: dict[str, list[float]] = {name: [] for name in sources}
    for turn in range(TURNS + 1):
        for name, batches in sources.items():
            next(batches)  # reading and filling buffers is not the steady state
            start, rows = time.process_time(), 0
            while (elapsed := time.process_time() - start) < TURN_S:
                rows += next(batches)
            if turn:  # the first turn warms up
                found[name].append(rows / elapsed)
    return found


def peak_megabytes(folder: Path, name: str) -> float:
    """Return by how much a process grows, at the most, that uses a contender for some hundred batches."""
    done = subprocess.run([sys.executable, __file__, str(folder), name], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure_peak(folder: Path, name: str) -> None:
    """Print the growth of this process in MB, mapped files included."""

    def status(key: str) -> int:
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

    make, _ = CONTENDERS[name]
    for _ in itertools.islice(make(folder.with_name("warm")), 3):
        pass  # imports, caches of allocators and the like are not counted
    gc.collect()
    before = status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    rows, start = 0, time.process_time()
    for count in make(folder):
        rows += count
        if rows > 400_000 or time.process_time() - start > 12:
            break
    print((status("VmHWM:") - before) / 1024)


class Numbered(Stream):
    """A stream whose labels are the episode and the number of the row."""

    def table(self, piece: int) -> Table:
        """Read a shard and number its rows."""
        table = super().table(piece)
        begin = int(self.counts[:piece].sum())
        numbers = np.arange(begin, begin + len(table["episode"]))
        return {**table, "teacher_turn": table["episode"].astype("f4"), "teacher_speed": numbers.astype("f4")}


def shuffle_quality(folder: Path, buffer: int | None) -> tuple[float, float, float]:
    """Return mean displacement / rows, rank correlation with the order on disk, distinct episodes in a batch."""
    data = open_dataset(folder / "data")
    source: Snapshots | Stream
    if buffer is None:
        source = Snapshots.of(data)
        source.own[:, 2] = torch.from_numpy(data.table()["episode"].astype("f4"))
        source.own[:, 3] = torch.arange(len(source), dtype=torch.float32)
    else:
        source = Numbered.of(data, buffer_shards=buffer)
    batches = [batch.action for batch in Loader(source, View("seed", intruders=1), BATCH)]
    order = torch.cat(batches)[:, 1].long().numpy()
    place = np.arange(len(order))
    distinct = statistics.mean(len(batch[:, 0].unique()) for batch in batches[:-1])
    return np.abs(order - place).mean() / len(order), np.corrcoef(order, place)[0, 1], distinct


def main() -> None:
    """Print all figures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bench"
        os.environ["MINARI_DATASETS_PATH"] = str(Path(name) / "minari")
        (Path(name) / "minari").mkdir()
        os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(folder.with_name("warm"), 4)
            size = prepare(folder, EPISODES)
        data = open_dataset(folder / "data")
        print(f"{data.rows:,} rows of 20 aircraft in {len(data.shards)} shards; bytes a row on disk:")
        for form, count in size.items():
            print(f"  {form:<42} {count:8.1f}   {count / size['skyclone']:5.1f} x skyclone")
        found = rates(folder)
        first = next(iter(found.values()))
        print(f"Shuffled batches of {BATCH}, one core, median of {TURNS} turns [least to most]; peak memory")
        for form, values in found.items():
            ratio = statistics.median(own / other for own, other in zip(first, values))
            rate = f"{statistics.median(values):>11,.0f} rows/s [{min(values):,.0f} to {max(values):,.0f}]"
            print(
                f"  {form:<42} {rate:<45} skyclone in memory is {ratio:5.2f} x"
                f"   + {peak_megabytes(folder, form):5.0f} MB"
            )
        for form in sorted({module for _, module in CONTENDERS.values()}):
            if not importlib.util.find_spec(form):
                print(f"  {form} is not installed: left out")
        print("Shuffle: displacement / rows, rank correlation with the order on disk, episodes in a batch")
        for buffer in (None, 32, 16, 8, 4, 1):
            what = "in memory, uniform" if buffer is None else f"streaming, {buffer} of {len(data.shards)} shards"
            displacement, correlation, distinct = shuffle_quality(folder, buffer)
            print(f"  {what:<42} {displacement:8.3f} {correlation:8.3f} {distinct:8.1f}")


if __name__ == "__main__":
    measure_peak(Path(sys.argv[1]), sys.argv[2]) if len(sys.argv) > 1 else main()
