// The traffic seen from above, on a canvas. Nothing in it depends on colour: heads differ in dashes, width, side and
// number, the two arrows in filled and hollow, losses of separation in line width and filled circles.
const TRAIL_S = 20, ARROW_S = 20, LEAST_WEIGHT = 0.02, ZOOM = 3;
// Where aircraft stand closer than ROOMY pixels on average they are drawn smaller, where closer than CROWDED without
// waypoints and numbers; zoomed in, there is as much room as for ZOOMED aircraft.
const ROOMY = 36, CROWDED = 24, ZOOMED = 64;
const HEADS = [
  { colour: "--c2", dashes: [], width: 7 },
  { colour: "--c3", dashes: [9, 5], width: 5 },
  { colour: "--c4", dashes: [2, 4], width: 3.5 },
  { colour: "--c6", dashes: [12, 4, 2, 4], width: 6 },
  { colour: "--c5", dashes: [5, 3], width: 4 },
  { colour: "--c0", dashes: [16, 5], width: 3 },
];
const headLook = (head) => HEADS[head % HEADS.length];
const headWidth = (head, weight) => Math.max(1, headLook(head).width * (0.2 + 0.8 * weight));

class Palette {
  constructor() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink", "muted", "grid", "los", "card", "c0", "c1", "c2", "c3", "c4", "c5", "c6"]) {
      this["--" + name] = style.getPropertyValue("--" + name).trim();
    }
  }
}

class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.side = 0;
    this.seen = []; // where aircraft were drawn, for clicks: { aircraft, x, y }
  }

  resize() {
    const side = this.canvas.clientWidth, density = window.devicePixelRatio || 1;
    const pixels = Math.round(side * density);
    if (this.canvas.width !== pixels) this.canvas.width = this.canvas.height = pixels;
    this.side = side;
    this.pen.setTransform(density, 0, 0, density, 0, 0);
  }

  // view: { flight, layout, time, ownship (-1 for none), hidden (a Set of heads), isZoomed, hasGhosts, palette }
  draw(view) {
    const { flight, time, ownship, palette } = view, { pen } = this;
    if (!this.side) this.resize();
    pen.clearRect(0, 0, this.side, this.side);
    const step = Math.min(Math.floor(time), flight.steps - 1), isOver = time >= flight.steps;
    const places = isOver ? new Map() : this.places(flight, step, time - step);
    const own = places.get(ownship);
    const centre = own && flight.still ? this.places(flight.still, step, 0).get(ownship) : own; // still while dragged
    this.aim(flight, view.isZoomed && centre);
    for (const place of places.values()) { place.x = this.x(place.east); place.y = this.y(place.north); }
    this.seen = [...places.values()].filter((place) => this.isInside(place));

    const losses = isOver ? [] : flight.losses[step], conflicts = isOver ? [] : flight.conflicts[step];
    const looks = own && !view.layout.hovers.includes(ownship) ? flight.looks(step, ownship) : [];
    const shown = looks.filter((look) => look.weights.some((w, head) => w >= LEAST_WEIGHT && !view.hidden.has(head)));
    const lost = new Set(losses.flat());
    const marked = new Set([...shown.map((look) => look.intruder), ownship, ...(this.isCrowded ? [] : lost)]);
    const against = new Set(conflicts.filter((pair) => pair.includes(ownship)).flat());
    for (const each of against) marked.add(each);

    const hovers = (aircraft) => view.layout.hovers.includes(aircraft);
    const ahead = (aircraft) => flight.ahead(step, aircraft);
    this.drawNoFly(view.layout.no_fly_m, palette);
    this.drawSector(view.layout.corners_m, palette);
    this.drawTrails(flight, step, palette);
    const isClear = ({ aircraft }) => !own || marked.has(aircraft) || lost.has(aircraft);
    for (const [alpha, part] of [[0.5, this.seen.filter((each) => !isClear(each))], [1, this.seen.filter(isClear)]]) {
      pen.globalAlpha = alpha;
      const isFlownHere = (each) => (isClear(each) ? 1 : 0.5) === alpha && !hovers(each.aircraft);
      const flown = [...places.values()].filter(isFlownHere);
      if (!this.isCrowded) this.drawWaypoints(flown.map((each) => ahead(each.aircraft)[0]), palette);
      for (const isLost of [false, true]) {
        const these = part.filter((each) => lost.has(each.aircraft) === isLost);
        this.drawZones(these, isLost, flight, palette);
        this.drawAircraft(these.filter((each) => !hovers(each.aircraft)), isLost, palette);
        this.drawHovering(these.filter((each) => hovers(each.aircraft)), isLost, palette);
      }
    }
    pen.globalAlpha = 1;
    const handed = this.seen.filter((each) => !isOver && flight.reason(step, each.aircraft));
    this.drawHanded(handed, (each) => flight.reason(step, each.aircraft), palette);
    this.drawPairs(conflicts, places, palette["--ink"], [4, 4], 1.2);
    this.drawPairs(losses, places, palette["--los"], [], 3.5);
    let lines = 0;
    const isFlown = own && !hovers(ownship);
    if (own) {
      const route = isFlown ? ahead(ownship) : [];
      if (this.isCrowded) this.drawWaypoints(route.slice(0, 1), palette);
      this.drawWaypoints(route.slice(1), palette);
      this.drawOwnship(own, route, flight, palette);
    }
    const decision = isFlown ? flight.decision(step, ownship) : null;
    const ghosts = own && view.hasGhosts ? this.drawGhosts(flight.ghosts(step, ownship), places, palette) : 0;
    if (isFlown) {
      lines = this.drawLooks(own, shown, places, view);
      this.drawArrow(own, decision.mvp, palette, false);
      if (decision.flown) this.drawArrow(own, decision.flown, palette, true);
    }
    if (own) {
      for (const aircraft of this.isCrowded ? [ownship] : marked) {
        const sign = against.has(aircraft) && aircraft !== ownship ? "!" : "";
        if (places.has(aircraft)) this.drawNumber(places.get(aircraft), aircraft + sign, palette);
      }
    }
    const arrows = isFlown ? (decision.flown ? 2 : 1) : 0;
    Object.assign(this.canvas.dataset, { step, ownship: own ? ownship : "", lines, ghosts, arrows });
    if (flight.fallback) this.canvas.dataset.handed = handed.map((each) => each.aircraft).join();
    else delete this.canvas.dataset.handed;
  }

  // Between two steps an aircraft is drawn on the line between its positions.
  places(flight, step, part) {
    const { east, north, count } = flight, places = new Map();
    for (let aircraft = 0; aircraft < count; aircraft++) {
      if (!flight.flies(step, aircraft)) continue;
      const at = step * count + aircraft, next = flight.flies(step + 1, aircraft) ? at + count : at;
      places.set(aircraft, {
        aircraft,
        east: east[at] + part * (east[next] - east[at]),
        north: north[at] + part * (north[next] - north[at]),
        track: flight.track(step, aircraft),
      });
    }
    return places;
  }

  aim(flight, centre) {
    const { replay } = flight, zoom = centre ? ZOOM * Math.max(1, Math.sqrt(flight.count / ZOOMED)) : 1;
    const room = this.side / Math.sqrt(flight.count) * zoom;
    this.size = Math.min(1, room / ROOMY);
    this.isCrowded = room < CROWDED;
    this.scale = this.side / (replay.unit_m * -GONE) * zoom;
    this.zone = replay.zone_m * this.scale;
    [this.middleEast, this.middleNorth] = centre ? [centre.east, centre.north] : [0, 0];
  }

  east(x) { return this.middleEast + (x - this.side / 2) / this.scale; }
  north(y) { return this.middleNorth - (y - this.side / 2) / this.scale; }
  x(east) { return this.side / 2 + (east - this.middleEast) * this.scale; }
  y(north) { return this.side / 2 - (north - this.middleNorth) * this.scale; }

  isInside({ x, y }) {
    const margin = Math.max(this.zone, 20);
    return Math.min(x, y) > -margin && Math.max(x, y) < this.side + margin;
  }

  drawSector(corners, palette) {
    const { pen } = this;
    pen.strokeStyle = palette["--muted"]; pen.lineWidth = 1.2; pen.lineJoin = "round";
    pen.beginPath();
    for (const [east, north] of corners) pen.lineTo(this.x(east), this.y(north));
    pen.closePath(); pen.stroke();
  }

  // Polygons that nobody should enter: outlined, and hatched.
  drawNoFly(polygons, palette) {
    const { pen, side } = this;
    pen.strokeStyle = palette["--los"]; pen.lineJoin = "round";
    for (const corners of polygons) {
      pen.beginPath();
      for (const [east, north] of corners) pen.lineTo(this.x(east), this.y(north));
      pen.closePath(); pen.lineWidth = 1.5; pen.stroke();
      pen.save();
      pen.clip();
      pen.beginPath();
      for (let start = -side; start < side; start += 8) { pen.moveTo(start, 0); pen.lineTo(start + side, side); }
      pen.lineWidth = 1; pen.globalAlpha = 0.45; pen.stroke();
      pen.restore();
    }
  }

  // At most every second pixel of a trail is a point of its own.
  drawTrails(flight, step, palette) {
    const { pen } = this, first = Math.max(0, step - Math.round(TRAIL_S / flight.replay.step_s));
    const stride = Math.max(1, Math.floor(2 / (flight.replay.speed_mps / 2 * flight.replay.step_s * this.scale)));
    pen.strokeStyle = palette["--c1"]; pen.lineWidth = 1.5; pen.globalAlpha = 0.4;
    pen.beginPath();
    for (const place of this.seen) {
      const begin = Math.max(first, flight.first[place.aircraft]); // it may have entered since
      for (let back = begin; back <= step; back += stride) {
        const at = back * flight.count + place.aircraft;
        const x = this.x(flight.east[at]), y = this.y(flight.north[at]);
        if (back === begin) pen.moveTo(x, y); else pen.lineTo(x, y);
      }
      pen.lineTo(place.x, place.y);
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  drawWaypoints(waypoints, palette) {
    const { pen } = this;
    pen.strokeStyle = palette["--muted"]; pen.lineWidth = 1.2;
    pen.beginPath();
    for (const [east, north] of waypoints) {
      const x = this.x(east), y = this.y(north);
      pen.moveTo(x - 3, y - 3); pen.lineTo(x + 3, y + 3); pen.moveTo(x - 3, y + 3); pen.lineTo(x + 3, y - 3);
    }
    pen.stroke();
  }

  // To each aircraft its own; a circle that the aircraft itself would hide is left out.
  drawZones(places, isLost, flight, palette) {
    const { pen, size } = this, alpha = pen.globalAlpha;
    pen.beginPath();
    for (const { x, y, aircraft } of places) {
      const radius = this.zone * flight.scale(aircraft) / 2;
      if (!isLost && radius <= 6 * size) continue;
      pen.moveTo(x + radius, y); pen.arc(x, y, radius, 0, 2 * Math.PI);
    }
    pen.strokeStyle = palette[isLost ? "--los" : "--muted"]; pen.lineWidth = isLost ? 2 : 0.8;
    if (isLost) { pen.globalAlpha = 0.25; pen.fillStyle = palette["--los"]; pen.fill(); pen.globalAlpha = alpha; }
    pen.stroke();
  }

  // Those that a fallback flies: a dashed ring, outside an ownship's own, and the first letter of the reason.
  drawHanded(places, reasonOf, palette) {
    const { pen } = this, radius = Math.max(8, 17 * this.size);
    pen.strokeStyle = pen.fillStyle = palette["--c3"];
    pen.lineWidth = 2.2; pen.setLineDash([5, 3]);
    for (const { x, y } of places) { pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.stroke(); }
    pen.setLineDash([]);
    if (this.isCrowded) return;
    pen.font = "bold 12px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    for (const place of places) {
      const x = place.x + 0.7 * (radius + 7), y = place.y + 0.7 * (radius + 7), text = reasonOf(place)[0];
      pen.lineWidth = 3; pen.lineJoin = "round"; pen.strokeStyle = palette["--card"];
      pen.strokeText(text, x, y); pen.fillText(text, x, y);
    }
  }

  // Aircraft that look alike, in one go.
  drawAircraft(places, isLost, palette) {
    const { pen, size } = this;
    pen.beginPath();
    for (const { x, y, track } of places) {
      const sine = size * Math.sin(track), cosine = size * Math.cos(track);
      pen.moveTo(x + 8 * sine, y - 8 * cosine);
      for (const [right, ahead] of [[5, -6], [0, -3], [-5, -6]]) {
        pen.lineTo(x + right * cosine + ahead * sine, y + right * sine - ahead * cosine);
      }
      pen.closePath();
    }
    pen.fillStyle = palette[isLost ? "--los" : "--c1"]; pen.fill();
  }

  // Those that hover: hollow squares.
  drawHovering(places, isLost, palette) {
    const { pen } = this, half = Math.max(2, 5 * this.size);
    pen.strokeStyle = palette[isLost ? "--los" : "--c1"]; pen.lineWidth = Math.max(1.2, 2.4 * this.size);
    pen.lineJoin = "miter";
    pen.beginPath();
    for (const { x, y } of places) pen.rect(x - half, y - half, 2 * half, 2 * half);
    pen.stroke();
  }

  drawPairs(pairs, places, colour, dashes, width) {
    const { pen } = this;
    pen.strokeStyle = colour; pen.lineWidth = width; pen.setLineDash(dashes);
    pen.beginPath();
    for (const [one, other] of pairs) {
      const from = places.get(one), to = places.get(other);
      pen.moveTo(from.x, from.y); pen.lineTo(to.x, to.y);
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  // The whole protected zone, a conspicuous ring, and the straight lines along the waypoints ahead.
  drawOwnship(own, route, flight, palette) {
    const { pen } = this;
    pen.strokeStyle = palette["--ink"];
    pen.lineWidth = 1; pen.setLineDash([1, 4]);
    pen.beginPath(); pen.moveTo(own.x, own.y);
    for (const [east, north] of route) pen.lineTo(this.x(east), this.y(north));
    pen.stroke();
    pen.setLineDash([6, 3]);
    pen.beginPath(); pen.arc(own.x, own.y, this.zone * flight.scale(own.aircraft), 0, 2 * Math.PI); pen.stroke();
    pen.setLineDash([]); pen.lineWidth = 2.5;
    pen.beginPath(); pen.arc(own.x, own.y, 12, 0, 2 * Math.PI); pen.stroke();
  }

  // Where the ownship takes the others to be: diamonds, a line from each to where it is; a question mark beside one
  // that it has no track of. Returns how many are drawn.
  drawGhosts(ghosts, places, palette) {
    const { pen, size } = this, half = Math.max(3, 6 * size);
    let drawn = 0;
    pen.strokeStyle = palette["--c3"]; pen.fillStyle = palette["--c3"]; pen.lineWidth = 1.5;
    pen.font = "bold 13px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    for (const { intruder, offset } of ghosts) {
      const at = places.get(intruder);
      if (!at) continue;
      drawn++;
      pen.globalAlpha = 0.75;
      if (!offset) { pen.fillText("?", at.x - 11, at.y + 10); continue; }
      const x = at.x + offset[0] * this.scale, y = at.y - offset[1] * this.scale;
      pen.beginPath();
      pen.moveTo(x, y - half);
      for (const [dx, dy] of [[half, 0], [0, half], [-half, 0]]) pen.lineTo(x + dx, y + dy);
      pen.closePath();
      pen.moveTo(at.x, at.y); pen.lineTo(x, y);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    return drawn;
  }

  // A line per head and intruder, side by side, the head's number on it; returns how many there are.
  drawLooks(own, looks, places, view) {
    const { pen } = this, heads = view.flight.heads;
    let lines = 0;
    pen.font = "bold 10px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    for (const { intruder, weights } of looks) {
      const to = places.get(intruder);
      if (!to) continue;
      const dx = to.x - own.x, dy = to.y - own.y, length = Math.hypot(dx, dy) || 1;
      weights.forEach((weight, head) => {
        if (weight < LEAST_WEIGHT || view.hidden.has(head)) return;
        const look = headLook(head), aside = 6 * (head - (heads - 1) / 2);
        const x = own.x - dy / length * aside, y = own.y + dx / length * aside;
        pen.strokeStyle = view.palette[look.colour];
        pen.lineWidth = headWidth(head, weight); pen.setLineDash(look.dashes);
        pen.beginPath();
        pen.moveTo(x + dx * 12 / length, y + dy * 12 / length); pen.lineTo(x + dx, y + dy);
        pen.stroke();
        lines++;
        if (weight < 0.1 || length < 60) return;
        const along = 0.45 + 0.12 * head;
        this.drawMark(x + along * dx, y + along * dy, String(head + 1), view.palette[look.colour], view.palette);
      });
    }
    pen.setLineDash([]);
    return lines;
  }

  drawMark(x, y, text, colour, palette) {
    const { pen } = this;
    pen.setLineDash([]); pen.lineWidth = 1.5;
    pen.beginPath(); pen.arc(x, y, 7.5, 0, 2 * Math.PI);
    pen.fillStyle = palette["--card"]; pen.fill(); pen.stroke();
    pen.fillStyle = colour; pen.fillText(text, x, y + 0.5);
  }

  // The velocity that was chosen (filled), or that MVP would have chosen (hollow): where it leads in ARROW_S.
  drawArrow(own, { track, speed }, palette, isFlown) {
    const { pen } = this, sine = Math.sin(track), cosine = Math.cos(track);
    const length = Math.max(speed * ARROW_S * this.scale, 16), [shaft, head] = isFlown ? [1.6, 5] : [5, 10];
    const tip = length + (isFlown ? 0 : 5), neck = tip - (isFlown ? 11 : 15);
    const left = [[-shaft, 0], [-shaft, neck], [-head, neck]], right = [[head, neck], [shaft, neck], [shaft, 0]];
    pen.beginPath();
    for (const [across, ahead] of [...left, [0, tip], ...right]) {
      pen.lineTo(own.x + across * cosine + ahead * sine, own.y + across * sine - ahead * cosine);
    }
    pen.closePath();
    pen.lineWidth = 1.6; pen.lineJoin = "miter";
    pen.fillStyle = palette[isFlown ? "--ink" : "--card"]; pen.strokeStyle = palette["--ink"];
    pen.fill();
    if (!isFlown) pen.stroke();
  }

  drawNumber({ x, y }, text, palette) {
    const { pen } = this;
    pen.font = "600 12px system-ui, sans-serif"; pen.textAlign = "left"; pen.textBaseline = "alphabetic";
    pen.lineWidth = 3; pen.lineJoin = "round"; pen.strokeStyle = palette["--card"]; pen.fillStyle = palette["--ink"];
    pen.strokeText(text, x + 9, y - 9); pen.fillText(text, x + 9, y - 9);
  }

  // The aircraft at a place of the canvas, -1 for none.
  aircraftAt(x, y) {
    let found = -1, least = 24;
    for (const place of this.seen) {
      const distance = Math.hypot(place.x - x, place.y - y);
      if (distance < least) [found, least] = [place.aircraft, distance];
    }
    return found;
  }
}
