"""Fly scenario files of drones in BlueSky with the plugin: python tests/benchmarks/survey_bluesky.py FILE.scn...

Prints the table of docs/bluesky.md: for each scenario, and for eight drones through one point, the losses of
separation, the pair-seconds in them and the arrivals within 300 s without resolution, with BlueSky's MVP and with
the policies that ship, also with a monitor. All in one process: BlueSky takes longer to start than to fly. Its
compiled bearings are wrong (BlueSky's issue 616), which harms MVP; they are switched off.
"""

import contextlib
import io
import math
import os
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "evaluate" / "deployment"))

import fly_in_bluesky  # noqa: E402 -- a program of the tests
import test_bluesky_plugin  # noqa: E402

from skyclone.evaluate.deployment.cli import install  # noqa: E402

SECONDS = 300
METHODS = {
    "none": "RESO OFF",
    "MVP": "RESO MVP",
    "pretrained:clone": "SKYCLONE pretrained:clone;RESO SKYCLONE",
    "pretrained:tuned": "SKYCLONE pretrained:tuned;RESO SKYCLONE",
    "pretrained:clone@rta": "SKYCLONE pretrained:clone@rta;RESO SKYCLONE",
    "pretrained:tuned@rta": "SKYCLONE pretrained:tuned@rta;RESO SKYCLONE",
}


def main(files: list[Path]) -> None:
    """Fly each file with each method."""
    with tempfile.TemporaryDirectory(prefix="skyclone-survey-") as home:
        os.environ.update(dict.fromkeys(("HOME", "XDG_CONFIG_HOME"), home))
        install(Path(home))
        origin = find_spec("bluesky").origin  # type: ignore[union-attr]
        settings = (Path(origin).parent / "resources" / "default.cfg").read_text()  # type: ignore[arg-type]
        Path(home, "settings.cfg").write_text(settings + "\nprefer_compiled = False\n")
        folder = Path(home, "scenario")
        folder.mkdir()
        for file in files:
            (folder / file.name).write_text(test_bluesky_plugin.HEAD + file.read_text())
        (folder / "eight.scn").write_text(test_bluesky_plugin.HEAD + test_bluesky_plugin.through_one_point(8))
        with contextlib.redirect_stdout(io.StringIO()):
            bs, _ = fly_in_bluesky.start(home)
            fly_in_bluesky.fly(bs, "RESO OFF", 1, "eight")  # commands take another step in the first flight
        print(f"| scenario | {' | '.join(METHODS)} |", f"|---|{'---|' * len(METHODS)}", sep="\n")
        for name in (*(file.stem for file in files), "eight"):
            cells = []
            for method in METHODS.values():
                with contextlib.redirect_stdout(io.StringIO()):
                    flown = fly_in_bluesky.fly(bs, method, SECONDS, name)
                cells.append(f"{flown['los']}, {flown['in_los_s']:.0f} s, {len(flown['arrived_s'])}")
                nearest = flown["nearest_m"] if math.isfinite(flown["nearest_m"]) else 0.0
                print(
                    name,
                    method,
                    cells[-1],
                    f"nearest {nearest:.0f} m",
                    flown["arrived_s"],
                    file=sys.stderr,
                    flush=True,
                )
            print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main([Path(name) for name in sys.argv[1:]])
