"""The replay in the report: its controls, its legend and its script; what it shows is drawn in the browser."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from .evaluation import Evaluation

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("flight.js", "picture.js", "replay.js")
_SPEEDS = (0.5, 1, 2, 5, 10, 30)
_SPEED = 5
_KEYS = (
    ("Space", "play or pause"),
    ("← →", "a step back or on; with Shift ten"),
    ("Home End", "the beginning, the end"),
    ("+ −", "faster, slower"),
    ("O", "the next aircraft as ownship; with Shift the one before"),
    ("C", "where the next conflict begins (right-hand flight)"),
    ("1 to 9", "a head on or off"),
    ("Z", "zoom in on the ownship"),
    ("Esc", "no ownship"),
)
_PICTURE = "traffic seen from above; what it shows of a chosen ownship stands in words below it"


def script() -> str:
    """Return the script of the page."""
    parts = [(_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def render(replay: dict[str, Any], evaluation: Evaluation) -> str:
    """Return the section.

    Args:
        replay: From `replay.record`.
        evaluation: What it belongs to.
    """
    short = evaluation.plan.short_names
    names = [contender["name"] for contender in replay["contenders"]]
    panels = "".join(_panel([short[name] for name in names], names.index(name)) for name in _shown(names, evaluation))
    numbers = [str(scenario["number"]) for scenario in replay["scenarios"]]
    aircraft = [("-1", "none"), *((str(number), str(number)) for number in range(replay["aircraft"]))]
    return (
        '<section id="replay" class="replay" tabindex=0 aria-labelledby="replay-title"><h2 id="replay-title">Replay</h2>'
        '<p class="muted">Click an aircraft, or press <kbd>C</kbd> for the next conflict, to see what it looks at and '
        'what MVP would have done.</p><div class="controls"><button id="replay-play" type="button">Play</button>'
        '<input id="replay-scrub" type="range" min="0" max="1" step="any" value="0" aria-label="time">'
        '<output id="replay-clock">0 s</output></div><div class="controls">'
        f"{_choice('Scenario', 'scenario', zip(numbers, numbers))}"
        f"{_choice('Speed', 'speed', ((f'{speed:g}', f'{speed:g}x') for speed in _SPEEDS), f'{_SPEED:g}')}"
        f"{_choice('Ownship', 'ownship', aircraft)}"
        '<label><input id="replay-zoom" type="checkbox"> zoom in on it</label>'
        '<button id="replay-conflict" type="button">Next conflict</button></div>'
        f'<div class="replay-panels">{panels}</div>{_legend(replay["mvp"])}'
        "<noscript><p>The replay needs JavaScript; everything else does not.</p></noscript></section>"
    )


def _shown(names: list[str], evaluation: Evaluation) -> list[str]:
    """Return who is shown first: the contender that the report is about beside the one it is held against."""
    against = evaluation.differences
    subject = next((name for name in reversed(against) if name in names), names[-1])
    reference = next((name for name in against.get(subject, {}) if name in names), names[0])
    return list(dict.fromkeys((reference, subject)))


def _choice(label: str, name: str, options: Iterable[tuple[str, str]], chosen: str = "") -> str:
    """Return a labelled list to choose from; options are values and texts."""
    rows = "".join(
        f'<option value="{escape(value)}"{" selected" * (value == chosen)}>{escape(text)}</option>'
        for value, text in options
    )
    return f'<label>{label} <select id="replay-{name}">{rows}</select></label>'


def _panel(names: list[str], chosen: int) -> str:
    """Return one flight: the picture, and a chosen ownship's decision and attention in words."""
    options = "".join(
        f"<option{' selected' * (number == chosen)}>{escape(name)}</option>" for number, name in enumerate(names)
    )
    decisions = "".join(
        f"<tr><th scope=row>{_ARROWS[kind]} {text}</th><td></td><td></td></tr>"
        for kind, text in (("flown", "flown"), ("mvp", "MVP"))
    )
    return (
        f'<div class="replay-panel"><label>Flown by <select>{options}</select></label>'
        f'<canvas role="img" aria-label="{_PICTURE}"></canvas><p class="status"></p>'
        '<div class="ownship" hidden><table class="decisions"><thead><tr><td></td><th scope=col>turn</th>'
        f"<th scope=col>speed</th></tr></thead><tbody>{decisions}</tbody></table>"
        '<p class="note"></p><div class="heads"></div><div class="scroll"><table class="looks" hidden><thead><tr></tr>'
        "</thead><tbody></tbody></table></div></div></div>"
    )


_ARROWS = {
    "flown": '<svg class="sample" viewBox="0 0 44 16" aria-hidden="true">'
    '<path d="M2 6.4H32V3L42 8 32 13V9.6H2z" fill="var(--ink)"/></svg>',
    "mvp": '<svg class="sample" viewBox="0 0 44 16" aria-hidden="true">'
    '<path d="M2 4.5H30V1L42.5 8 30 15V11.5H2z" fill="var(--card)" stroke="var(--ink)" stroke-width="1.5"/></svg>',
}


def _legend(mvp: str) -> str:
    """Say what the picture's signs and the keys mean."""
    keys = "".join(f"<dt>{''.join(_kbd(key))}</dt><dd>{text}</dd>" for key, text in _KEYS)
    return (
        '<ul class="legend muted"><li>Circles have half the protected zone as their radius: where two overlap, '
        "separation is lost (thick line, filled circles). Thin dashes: in conflict. Crosses: waypoints. Tails: the "
        "last 20 s.</li>"
        "<li>Ownship: double circle, its whole protected zone dashed, a dotted line to its waypoint. "
        f"{_ARROWS['flown']} the velocity it chose, {_ARROWS['mvp']} the one that {escape(mvp)} would have chosen in "
        "the same state; both are 20 s long.</li>"
        "<li>Attention: a line per head to each intruder, the thicker the more weight, with dashes, width and number "
        "of its own; weights below 2 % are left out.</li></ul>"
        f'<details class="keys"><summary>Keys</summary><dl>{keys}</dl></details>'
    )


def _kbd(keys: str) -> Iterable[str]:
    """Return keys as they are drawn."""
    return (f"<kbd>{key}</kbd> " if key != "to" else "to " for key in keys.split())
