"""The replay in the report: its controls, its legend and its script; what it shows is drawn in the browser."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template

from ..evaluation.evaluation import Evaluation
from .replay import Replay

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("flight.js", "picture.js", "strip.js", "replay.js")
_SPEEDS = ("0.5", "1", "2", "5", "10", "30")
_SPEED = "5"
_ARROWS = {
    "flown": '<svg class="sample" viewBox="0 0 44 16" aria-hidden="true">'
    '<path d="M2 6.4H32V3L42 8 32 13V9.6H2z" fill="var(--ink)"/></svg>',
    "mvp": '<svg class="sample" viewBox="0 0 44 16" aria-hidden="true">'
    '<path d="M2 4.5H30V1L42.5 8 30 15V11.5H2z" fill="var(--card)" stroke="var(--ink)" stroke-width="1.5"/></svg>',
}


def script() -> str:
    """Return the script of the page."""
    parts = [(_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def render(replay: Replay, evaluation: Evaluation) -> str:
    """Return the section.

    Args:
        replay: From `replay.record`.
        evaluation: What it belongs to.
    """
    short = evaluation.plan.short_names
    names = [contender.name for contender in replay.contenders]
    shown = [names.index(name) for name in _shown(names, evaluation)]
    numbers = [str(number) for number in range(replay.aircraft)]
    return Template((_ASSETS / "replay.html").read_text(encoding="utf-8")).substitute(
        scenarios=_options(str(scenario.number) for scenario in replay.scenarios),
        speeds=_options(_SPEEDS, _SPEED, "x"),
        aircraft='<option value="-1">none</option>' + _options(numbers),
        panels="".join(_panel(_options((short[name] for name in names), short[names[place]])) for place in shown),
        teacher=escape(replay.mvp),
        **_ARROWS,
    )


def _shown(names: list[str], evaluation: Evaluation) -> list[str]:
    """Return who is shown first: the contender that the report is about beside the one it is held against."""
    against = evaluation.differences
    subject = next((name for name in reversed(against) if name in names), names[-1])
    reference = next((name for name in against.get(subject, {}) if name in names), names[0])
    return list(dict.fromkeys((reference, subject)))


def _options(values: Iterable[str], chosen: str = "", unit: str = "") -> str:
    """Return what a list has to choose from."""
    return "".join(
        f'<option value="{escape(value)}"{" selected" * (value == chosen)}>{escape(value)}{unit}</option>'
        for value in values
    )


def _panel(contenders: str) -> str:
    """Return one flight: the picture, and a chosen ownship's decision and attention in words."""
    decisions = "".join(
        f"<tr><th scope=row>{_ARROWS[kind]} {text}</th><td></td><td></td></tr>"
        for kind, text in (("flown", "flown"), ("mvp", "MVP"))
    )
    picture, strip = "traffic seen from above; a chosen ownship is described below", "conflicts over time"
    return (
        f'<div class="replay-panel"><label>Flown by <select>{contenders}</select></label>'
        f'<canvas class="picture" role="img" aria-label="{picture}"></canvas>'
        f'<canvas class="strip" role="img" aria-label="{strip}"></canvas><p class="status"></p>'
        '<div class="ownship" hidden><table class="decisions"><thead><tr><td></td><th scope=col>turn</th>'
        f"<th scope=col>speed (m/s)</th></tr></thead><tbody>{decisions}</tbody></table>"
        '<p class="note"></p><div class="heads"></div><div class="scroll"><table class="looks" hidden>'
        "<thead><tr></tr></thead><tbody></tbody></table></div></div></div>"
    )
