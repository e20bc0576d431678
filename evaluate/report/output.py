"""What an evaluation leaves in its folder.

`evaluation.json` for programs, `report.html` for people, `recording.json` to make the report from again, and
`flown/`, what was flown, so that the next evaluation there need not fly it once more.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from ...collect.collector.workers import one_thread
from ...datasets.errors import ConfigurationError
from ...datasets.files.atomic import clean, publish
from ..attention import attention
from ..evaluation.contenders import Loaded
from ..evaluation.evaluation import Evaluation
from ..evaluation.verdict import judge
from . import archive as recording
from . import learning_curves as curves
from . import replay

JSON_NAME, REPORT_NAME = "evaluation.json", "report.html"
FLOWN_NAME = "flown"
"""Folder of what was flown, for the next evaluation into the same folder."""
WATCHED_SCENARIOS, REPLAYED_SCENARIOS = 32, 4
REPLAYED_FLIGHTS = 900
"""Of single aircraft at most: with many aircraft and contenders, fewer scenarios are replayed."""


def check_folder(folder: Path) -> None:
    """Make the folder and see that it can be written into, before anything is flown.

    Raises:
        ConfigurationError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"--out {folder}: expected a folder that can be written into, got: {error.strerror}. Choose another."
        ) from None


def describe(evaluation: Evaluation) -> dict[str, Any]:
    """Return the JSON object of `evaluate --json`, the verdict included."""
    return {**evaluation.to_json(), "verdict": judge(evaluation)._asdict()}


def write(
    folder: Path, evaluation: Evaluation, loaded: dict[str, Loaded], command: str = "", made_at: str = ""
) -> dict[str, Any]:
    """Write the files, each whole or not at all, and return the JSON object.

    Args:
        folder: Where to; it is there.
        evaluation: What came out.
        loaded: The contenders, who fly a few scenarios once more for the attention and the replay.
        command: The command that made it.
        made_at: When.
    """
    from . import page as report  # matplotlib takes a second to import: only for those who want pictures

    plan = evaluation.plan
    shown = [loaded[contender.name] for contender in plan.contenders]
    with one_thread():
        episodes = range(min(WATCHED_SCENARIOS, plan.scenarios))
        watched = {
            each.contender.name: attention.watch(each.policy, plan.world, plan.seed, episodes, plan.device)
            for each in shown
            if each.policy
        }
        looks = {name: figures for name, figures in watched.items() if figures}
        replayed = max(1, min(REPLAYED_SCENARIOS, REPLAYED_FLIGHTS // (len(shown) * plan.world.aircraft)))
        episodes = range(min(replayed, plan.scenarios))
        flights = replay.record(shown, plan.world, plan.seed, episodes, plan.device)
    result = {
        **describe(evaluation),
        "attention": {name: figures.to_json() for name, figures in looks.items()},
        "command": command,
    }
    content = report.Report(
        evaluation,
        command,
        made_at,
        looks,
        curves={each.contender.name: curves.read(each.contender.name) for each in shown if each.policy},
        replay=flights,
    )
    page = report.render(content)
    clean(folder)
    publish(folder / recording.NAME, recording.write(content))
    publish(folder / JSON_NAME, json.dumps(result, indent=1, allow_nan=False).encode() + b"\n")
    publish(folder / REPORT_NAME, report.encoded(page))
    return result
