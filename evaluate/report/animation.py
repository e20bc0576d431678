"""The replay as a picture or as a short animation, drawn by Pillow: for a README, slides, and galleries.

Its look is that of `assets/picture.js` in the light colours of `assets/report.css`.

Notation: T steps, N aircraft, M rows (an ownship in a step), H heads, k of the intruders kept.
"""

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from math import cos, hypot, pi, sin

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..evaluation.config import UNRESOLVED
from .camera import DECISION, GONE, NO_INTRUDER
from .replay import Filmed, Flight, Replay, Scenario

SECONDS, FRAMES_PER_S = 10, 10
"""Of an animation."""
MARK = b"skyclone replay"
"""In the beginning of each file, as a comment."""
SIDE = 340
"""Pixels of a panel."""
_FINE = 3  # drawn so much larger, and scaled down: Pillow smooths no edges
_HEAD, _GAP = 26, 10  # pixels above a panel, and between two
_TRAIL_S, _LEAST_WEIGHT = 20.0, 0.05
_INK, _MUTED, _CARD, _LOST, _AIRCRAFT, _LOST_FILL = "#1b1f24", "#8b939c", "#ffffff", "#b3001b", "#0063a6", "#f3ccd1"
_TRAIL, _HEADS = "#a9c8e2", ("#b84a00", "#00745a", "#9b3f7c", "#7a6400", "#2b7bb0", "#6b7280")


@dataclass(frozen=True)
class Decoded:
    """A flight, read again.

    Attributes:
        replay: What it is part of.
        scenario: How it is laid out.
        flight: As it is kept.
    """

    replay: Replay
    scenario: Scenario
    flight: Flight

    @cached_property
    def places_m(self) -> np.ndarray:
        """(T, N, 2) east and north, NaN for who does not fly."""
        whole = _array(self.flight.positions, "<i2", self.flight.steps, self.replay.aircraft, 2)
        return np.where(whole == GONE, np.nan, whole * self.replay.unit_m)

    @cached_property
    def rows(self) -> np.ndarray:
        """(T, N) where an ownship's decision in a step stands; only where it flies."""
        is_flying = ~np.isnan(self.places_m[..., 0])
        return (is_flying.cumsum() - 1).reshape(is_flying.shape)

    @cached_property
    def tracks(self) -> np.ndarray:
        """(M,) rad."""
        return _array(self.flight.decisions, DECISION, -1)["track"] * (2 * pi / 65536)

    @cached_property
    def conflicts(self) -> list[list[tuple[int, int]]]:
        """Pairs i < j in each step."""
        found: list[list[tuple[int, int]]] = [[] for _ in range(self.flight.steps)]
        count = self.replay.aircraft
        for code in self.flight.conflicts:
            step, pair = divmod(code, count * count)
            found[step].append(divmod(pair, count))
        return found

    def losses(self, step: int) -> list[tuple[int, int]]:
        """Return the pairs that are too near in a step."""
        places, scales = self.places_m[step], self.scenario.zone_scales or [1.0] * self.replay.aircraft
        return [
            (i, j)
            for i, j in self.conflicts[step]
            if hypot(*(places[i] - places[j])) < self.replay.zone_m * max(scales[i], scales[j])
        ]

    @cached_property
    def events(self) -> list[int]:
        """How many losses of separation have begun by each step."""
        before: set[tuple[int, int]] = set()
        counts, total = [], 0
        for step in range(self.flight.steps):
            now = set(self.losses(step))
            total += len(now - before)
            before = now
            counts.append(total)
        return counts

    def looks(self, step: int, ownship: int) -> list[tuple[int, list[float]]]:
        """Return whom an ownship looks at, with a weight per head."""
        attention = self.flight.attention
        if attention is None or np.isnan(self.places_m[step, ownship, 0]):
            return []
        row, heads, kept = self.rows[step, ownship], attention.heads, attention.kept
        intruders = _array(attention.intruders, "<u2", -1, kept)[row]
        weights = _array(attention.weights, "u1", -1, heads, kept)[row] / 255
        pairs = zip(intruders.tolist(), weights.T.tolist(), strict=True)
        return [(intruder, shares) for intruder, shares in pairs if intruder != NO_INTRUDER]


def _array(text: str, kind: str | np.dtype, *shape: int) -> np.ndarray:
    """Return an array of base64."""
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def panels_of(replay: Replay, names: dict[str, str]) -> list[tuple[str, Decoded]]:
    """Return what is shown side by side: the first scenario, by the first contender and by the last, with names."""
    first = next((each for each in replay.contenders if each.name == UNRESOLVED), replay.contenders[0])
    shown: list[Filmed] = [first, *replay.contenders[-1:]] if len(replay.contenders) > 1 else [first]
    scenario = replay.scenarios[0]
    return [(names.get(each.name, each.name), Decoded(replay, scenario, each.flights[0])) for each in shown]


def ownship_of(panels: list[tuple[str, Decoded]]) -> int:
    """Return whom a picture follows: who is in conflict for the longest, in the flight on the right."""
    counts = np.zeros(panels[-1][1].replay.aircraft, int)
    for pairs in panels[-1][1].conflicts:
        for pair in pairs:
            counts[list(pair)] += 1
    return int(counts.argmax())


def busiest(panels: list[tuple[str, Decoded]]) -> int:
    """Return the step with the most conflicts, in the flight on the left."""
    return int(np.argmax([len(pairs) for pairs in panels[0][1].conflicts]))


def picture(replay: Replay, names: dict[str, str], side: int = SIDE) -> bytes:
    """Return a PNG of the busiest moment.

    Args:
        replay: What was filmed.
        names: What people read instead of each contender's name.
        side: Pixels of a panel.
    """
    panels = panels_of(replay, names)
    comment = PngInfo()
    comment.add_text("Comment", MARK.decode())
    image = _draw(panels, float(busiest(panels)), ownship_of(panels), side)
    return _file(image, "PNG", optimize=True, pnginfo=comment)


def animation(replay: Replay, names: dict[str, str], side: int = SIDE) -> bytes:
    """Return a GIF of `SECONDS` that plays the flights from the beginning to where the last panel's ends.

    Args:
        replay: What was filmed.
        names: What people read instead of each contender's name.
        side: Pixels of a panel.
    """
    panels, count = panels_of(replay, names), SECONDS * FRAMES_PER_S
    times = np.linspace(0.0, panels[-1][1].flight.steps - 1, count).tolist()
    ownship = ownship_of(panels)
    images = [_draw(panels, time, ownship, side) for time in times]
    palette = _palette()
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    duration = 1000 // FRAMES_PER_S
    return _file(
        first, "GIF", save_all=True, append_images=others, duration=duration, loop=0, optimize=True, comment=MARK
    )


def _palette() -> Image.Image:
    """Return the colours of an animation: those that are drawn, and three shades of each for smooth edges."""
    colours = [
        ImageColor.getrgb(each)[:3] for each in (_INK, _MUTED, _LOST, _AIRCRAFT, _TRAIL, _LOST_FILL, *_HEADS)
    ]
    shades = [
        [round(255 - (255 - part) * share) for part in each] for each in colours for share in (1, 0.75, 0.5, 0.25)
    ]
    made = Image.new("P", (1, 1))
    made.putpalette([255, 255, 255, *(part for shade in shades for part in shade)])
    return made


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image's file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _draw(panels: list[tuple[str, Decoded]], time: float, ownship: int, side: int) -> Image.Image:
    """Return the panels at a time in steps, side by side."""
    width = len(panels) * side + (len(panels) - 1) * _GAP
    image = Image.new("RGB", (width, side + _HEAD), _CARD)
    for place, (name, decoded) in enumerate(panels):
        left = place * (side + _GAP)
        image.paste(_Canvas(decoded, side).draw(time, ownship), (left, _HEAD))
        step = min(int(time), decoded.flight.steps - 1)
        text = f"{name[:30]}: {decoded.events[step]} LoS so far"
        pen = ImageDraw.Draw(image)
        pen.text((left + 2, 4), text, fill=_INK, font=ImageFont.load_default(15))
    return image


class _Canvas:
    """One panel, seen from above.

    Args:
        decoded: The flight.
        side: Pixels.
    """

    def __init__(self, decoded: Decoded, side: int) -> None:
        self.decoded, self.side = decoded, side * _FINE
        self.image = Image.new("RGB", (self.side, self.side), _CARD)
        self.pen = ImageDraw.Draw(self.image)
        corners = np.array(decoded.scenario.corners_m)
        self.middle_m = (corners.max(0) + corners.min(0)) / 2
        self.scale = self.side / (1.08 * float((corners.max(0) - corners.min(0)).max()))

    def at(self, place_m: np.ndarray) -> tuple[float, float]:
        """Return where a place is, in pixels."""
        east, north = (place_m - self.middle_m) * self.scale
        return self.side / 2 + float(east), self.side / 2 - float(north)

    def draw(self, time: float, ownship: int) -> Image.Image:
        """Return the panel at a time in steps."""
        decoded, steps = self.decoded, self.decoded.flight.steps
        step = min(int(time), steps - 1)
        after = decoded.places_m[min(step + 1, steps - 1)]
        part = min(time, steps - 1) - step
        now = decoded.places_m[step]
        places = np.where(np.isnan(after), now, now + part * (after - now))
        self.polygon(decoded.scenario.corners_m, _MUTED)
        for corners in decoded.scenario.no_fly_m:
            self.polygon(corners, _LOST)
        present = np.flatnonzero(~np.isnan(now[:, 0])).tolist()
        self.trails(step, places, present)
        losses = decoded.losses(step)
        lost = {each for pair in losses for each in pair}
        for aircraft in present:
            self.zone(places[aircraft], aircraft, aircraft in lost)
        for i, j in decoded.conflicts[step]:
            is_lost = (i, j) in losses
            self.line(places[i], places[j], _LOST if is_lost else _MUTED, 3.0 if is_lost else 1.0)
        if ownship in present:
            self.attention(step, ownship, places)
            self.ring(places[ownship])
        for aircraft in present:
            track = float(decoded.tracks[decoded.rows[step, aircraft]])
            hovers = aircraft in decoded.scenario.hovers
            self.aircraft(places[aircraft], track, _LOST if aircraft in lost else _AIRCRAFT, hovers)
        return self.image.resize((self.side // _FINE, self.side // _FINE), Image.Resampling.LANCZOS)

    def polygon(self, corners: list[list[float]], colour: str) -> None:
        """Draw an outline."""
        points = [self.at(np.array(corner)) for corner in [*corners, corners[0]]]
        self.pen.line(points, fill=colour, width=_FINE, joint="curve")

    def trails(self, step: int, places: np.ndarray, present: list[int]) -> None:
        """Draw where each has been in the last seconds."""
        first = max(0, step - round(_TRAIL_S / self.decoded.replay.step_s))
        for aircraft in present:
            past = self.decoded.places_m[first : step + 1, aircraft]
            points = [self.at(each) for each in past[~np.isnan(past[:, 0])]]
            self.pen.line([*points, self.at(places[aircraft])], fill=_TRAIL, width=_FINE, joint="curve")

    def zone(self, place: np.ndarray, aircraft: int, is_lost: bool) -> None:
        """Draw half the protected zone of an aircraft."""
        scales, (x, y) = self.decoded.scenario.zone_scales, self.at(place)
        radius = 0.5 * self.decoded.replay.zone_m * (scales[aircraft] if scales else 1.0) * self.scale
        box = (x - radius, y - radius, x + radius, y + radius)
        colour, fill = (_LOST, _LOST_FILL) if is_lost else (_TRAIL, None)
        self.pen.ellipse(box, outline=colour, fill=fill, width=_FINE)

    def line(self, one: np.ndarray, other: np.ndarray, colour: str, width: float) -> None:
        """Draw a line between two places."""
        self.pen.line([self.at(one), self.at(other)], fill=colour, width=max(1, round(width * _FINE)))

    def attention(self, step: int, ownship: int, places: np.ndarray) -> None:
        """Draw a line per head to each intruder that it weighs, the thicker the more; heads side by side."""
        for intruder, weights in self.decoded.looks(step, ownship):
            if np.isnan(places[intruder, 0]):
                continue
            along = places[intruder] - places[ownship]
            across = np.array([-along[1], along[0]]) / max(hypot(*along), 1e-6)
            for head, weight in enumerate(weights):
                if weight < _LEAST_WEIGHT:
                    continue
                aside = across * ((head - (len(weights) - 1) / 2) * 4 * _FINE / self.scale)
                colour = _HEADS[head % len(_HEADS)]
                self.line(places[ownship] + aside, places[intruder] + aside, colour, 1 + 3 * weight)

    def ring(self, place: np.ndarray) -> None:
        """Mark the ownship."""
        (x, y), radius = self.at(place), 10 * _FINE
        self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=_INK, width=2 * _FINE)

    def aircraft(self, place: np.ndarray, track: float, colour: str, hovers: bool) -> None:
        """Draw an aircraft, pointing along its track; a square for one that hovers."""
        (x, y), size = self.at(place), 0.8 * _FINE
        if hovers:
            self.pen.rectangle(
                (x - 5 * size, y - 5 * size, x + 5 * size, y + 5 * size), outline=colour, width=_FINE
            )
            return
        sine, cosine = size * sin(track), size * cos(track)
        shape = ((0, 8), (5, -6), (0, -3), (-5, -6))
        points = [(x + right * cosine + ahead * sine, y + right * sine - ahead * cosine) for right, ahead in shape]
        self.pen.polygon(points, fill=colour)
