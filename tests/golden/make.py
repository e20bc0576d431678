"""Make `made.tar.xz`: `python tests/golden/make.py`, with the environment of the code that is to be frozen."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ARCHIVE = Path(__file__).with_name("made.tar.xz")
NETWORK = "--model attention-additive:hidden=16:heads=2 --observation ego:intruders=3 --device cpu"
GATE = "--aircraft 4 --gate-scenarios 2 --gate-every 6 --device cpu"
PPO = f"--envs 4 --horizon 16 --warmup 1 {GATE}"
ANALYTIC = f"--method analytic --envs 4 --save-every 1 {GATE}"
DAGGER = "--from clone --data flights --episodes 2 --probe 2 --gate-scenarios 2 --batch-size 256 --device cpu"
SMALL = (
    *("attention-additive:hidden=8", "attention-dot:hidden=8", "attention-context:hidden=8", "lstm:hidden=8"),
    *("pairwise:hidden=8:width=8", "thresholds:hidden=8:width=8", "transformer:hidden=8:width=8"),
    *("deepsets:hidden=8:width=8", "mlp:hidden=8"),
)
COMMANDS = {
    "flights": "collect --out flights --episodes 6 --aircraft 5 --episodes-per-shard 3 --noise 0.2 "
    "--scenario random-n:low=3 --workers 1 --seed 3",
    "crossing": "collect --out crossing --format hdf5 --episodes 2 --aircraft 3 --episodes-per-shard 1 "
    "--scenario crossing:angle_deg=60 --workers 1 --seed 17",
    "clone": f"train --data flights --out clone --epochs 3 --batch-size 256 --lr 0.01 {NETWORK}",
    "clone-part": "train --data flights --data crossing --mix 1,1 --conflict-weight 2 --schedule cosine "
    f"--out clone-part --epochs 16 --batch-size 64 --lr 0.01 {NETWORK}",
    "ppo": f"finetune --from clone --out ppo --steps 600 {PPO}",
    "ppo-part": f"finetune --from clone --out ppo-part --steps 1000 --anchor 0.1 {PPO}",
    "analytic": f"finetune --from clone --out analytic --steps 500 {ANALYTIC}",
    "analytic-part": f"finetune --from clone --out analytic-part --steps 900 --costs path=2:margin=1.15 {ANALYTIC}",
    "dagger": f"dagger --out dagger --rounds 1 {DAGGER}",
    "dagger-part": f"dagger --out dagger-part --rounds 2 --beta 0.5 {DAGGER}",
    "evaluated": "evaluate pretrained:clone pretrained:tuned clone --baselines none,mvp:margin=1.15,rvo "
    "--scenarios 2 --aircraft 6 --bootstrap 200 --json --out evaluated",
    "compared": f"compare --data flights --out compared --models {','.join(SMALL)} --observation ego:intruders=3 "
    "--seeds 1 --steps 6 --seconds 0 --batch-size 256 --scenarios 2 --bootstrap 100 --json",
    "minari": "datasets export-minari flights golden/flights-v0 --observation ego:intruders=3",
    "bluesky": "plugin bluesky",
}
STOPPED_AT = {
    "clone-part": ("metrics.jsonl", 4),
    "ppo-part": ("metrics.jsonl", 3),
    "analytic-part": ("metrics.jsonl", 3),
    "dagger-part": ("rounds/1/measured.safetensors", 0),
}
"""What is stopped by Ctrl-C: when this file has so many lines."""
LEFT_OUT = (
    *("*.png", "*.svg", "report.html", "tensorboard", "minari/**/*.hdf5", "dagger/rounds"),
    "compared/**/last.state.safetensors",
)
"""What is large, and nothing is read from again."""


def run(name: str, folder: Path) -> None:
    """Run one command, and stop it where it is to be stopped."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MINARI_DATASETS_PATH": str(folder / "minari")}
    command = [sys.executable, "-m", "skyclone", *COMMANDS[name].split()]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    if name in STOPPED_AT:
        path, lines = folder / name / STOPPED_AT[name][0], STOPPED_AT[name][1]
        while not (path.exists() and path.read_bytes().count(b"\n") >= lines):
            if process.poll() is not None:
                raise SystemExit(f"{name}: ended with {process.returncode} before it could be stopped")
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    expected = 1 if name in STOPPED_AT else 0
    if process.wait() != expected:
        raise SystemExit(f"{name}: expected exit code {expected}, got {process.returncode}")


def main() -> None:
    """Run all commands in a temporary folder, and pack what they leave."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in COMMANDS:
            print(name, flush=True)
            run(name, folder)
        for path in [path for pattern in LEFT_OUT for path in folder.rglob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / "commands.json").write_text(json.dumps(COMMANDS, indent=1) + "\n")
        with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
            archive.add(folder, ".")
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
