// A recorded flight, decoded. How it is coded: docs/evaluation-json.md; everything is little-endian.
const GONE = -32768, NO_INTRUDER = 65535, NO_TRACK = -128, DECISION_BYTES = 7, CALM_S = 10;

function viewOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new DataView(bytes.buffer);
}

class Flight {
  constructor(recorded, replay, layout) {
    Object.assign(this, { replay, layout, scales: layout.zone_scales ?? [] });
    this.steps = recorded.steps;
    this.count = replay.aircraft;
    this.decisions = viewOf(recorded.decisions);
    this.readPositions(viewOf(recorded.positions));
    this.conflicts = this.readConflicts(recorded.conflicts);
    this.mostConflicts = Math.max(...this.conflicts.map((pairs) => pairs.length));
    this.findLosses();
    this.readLegs(recorded.legs);
    const attention = recorded.attention;
    this.heads = attention ? attention.heads : 0;
    this.kept = attention ? attention.kept : 0;
    this.intruders = attention && viewOf(attention.intruders);
    this.weights = attention && viewOf(attention.weights);
    const { ghosts } = recorded;
    this.near = ghosts &&
      { kept: ghosts.kept, intruders: viewOf(ghosts.intruders), offsets: viewOf(ghosts.offsets) };
    this.fallback = recorded.fallback && viewOf(recorded.fallback);
    this.handed = Array.from({ length: this.steps }, (_, step) => {
      const everyone = this.fallback ? [...Array(this.count).keys()] : [];
      return everyone.filter((aircraft) => this.reason(step, aircraft)).length;
    });
  }

  // Whether somebody else than the contender flies an aircraft, in a mix.
  isOther(aircraft) { return !["self", undefined, ""].includes(this.layout.flown_by?.[aircraft]); }

  // The protected zone of an aircraft in units of the world's; of a pair it is the larger one.
  scale(aircraft) { return this.scales[aircraft] ?? 1; }

  // East and north in m, NaN for who does not fly; `rows`: where an ownship's decision in a step stands, -1 for none.
  readPositions(view) {
    const size = this.steps * this.count;
    this.east = new Float32Array(size);
    this.north = new Float32Array(size);
    this.rows = new Int32Array(size);
    for (let place = 0, row = 0; place < size; place++) {
      const east = view.getInt16(4 * place, true), flies = east !== GONE;
      this.east[place] = flies ? east * this.replay.unit_m : NaN;
      this.north[place] = flies ? view.getInt16(4 * place + 2, true) * this.replay.unit_m : NaN;
      this.rows[place] = flies ? row++ : -1;
    }
  }

  readConflicts(codes) {
    const steps = Array.from({ length: this.steps }, () => []), pairs = this.count * this.count;
    for (const code of codes) {
      const pair = code % pairs;
      steps[Math.floor(code / pairs)].push([Math.floor(pair / this.count), pair % this.count]);
    }
    return steps;
  }

  // Per step the pairs within the protected zone, all of them in conflict, and how many such events have begun by then.
  findLosses() {
    const { count } = this;
    this.losses = [];
    this.events = [];
    let before = new Set(), events = 0;
    for (let step = 0; step < this.steps; step++) {
      const pairs = this.lossesAmong(this.conflicts[step], step), now = new Set(pairs.map(([i, j]) => i * count + j));
      for (const pair of now) if (!before.has(pair)) events++;
      before = now;
      this.losses.push(pairs);
      this.events.push(events);
    }
  }

  lossesAmong(pairs, step) {
    const zone = (i, j) => this.replay.zone_m * Math.max(this.scale(i), this.scale(j));
    return pairs.filter(([i, j]) => this.distance(step, i, j) < zone(i, j));
  }

  // Per aircraft the steps from which on it flies to the next waypoint of its route, and its first step (Infinity: never).
  readLegs(codes) {
    this.turns = Array.from({ length: this.count }, () => []);
    for (const code of codes) this.turns[code % this.count].push(Math.floor(code / this.count));
    this.first = Array.from({ length: this.count }, (_, aircraft) => {
      for (let step = 0; step < this.steps; step++) if (this.flies(step, aircraft)) return step;
      return Infinity;
    });
  }

  // The waypoints that an aircraft has yet to reach, the one it flies to first.
  ahead(step, aircraft) {
    const { layout } = this, leg = this.turns[aircraft].filter((turn) => turn <= step).length;
    return [layout.waypoints_m[aircraft], ...(layout.routes_m[aircraft] ?? [])].slice(leg);
  }

  flies(step, aircraft) {
    return step < this.steps && this.rows[step * this.count + aircraft] >= 0;
  }

  track(step, aircraft) {
    const row = this.rows[step * this.count + aircraft];
    return this.decisions.getUint16(row * DECISION_BYTES, true) / 65536 * 2 * Math.PI;
  }

  distance(step, one, other) {
    const start = step * this.count;
    return Math.hypot(this.east[start + one] - this.east[start + other],
      this.north[start + one] - this.north[start + other]);
  }

  speed(step, aircraft) {
    const row = this.rows[step * this.count + aircraft];
    return this.decisions.getUint8(row * DECISION_BYTES + 2) / 255 * this.replay.speed_mps;
  }

  // An aircraft as `observe` and MVP take it; older archives lack its limits and the wind.
  state(step, aircraft) {
    const { layout, replay } = this, at = step * this.count + aircraft;
    return {
      number: aircraft, east: this.east[at], north: this.north[at],
      track: this.track(step, aircraft), speed: this.speed(step, aircraft), scale: this.scale(aircraft),
      waypoint: this.ahead(step, aircraft)[0], wind: layout.winds_mps?.[step] ?? [0, 0],
      limits: layout.limits_mps?.[aircraft] ?? layout.limits_mps?.[0] ?? [NaN, replay.least_speed_mps,
        replay.speed_mps],
    };
  }

  // What an ownship flew and what MVP would have done; tracks in rad clockwise from north.
  decision(step, aircraft) {
    const row = step < this.steps ? this.rows[step * this.count + aircraft] : -1;
    if (row < 0) return null;
    const start = row * DECISION_BYTES, own = this.state(step, aircraft);
    const action = (place) => [this.decisions.getInt8(place) / 127, this.decisions.getInt8(place + 1) / 127];
    return { flown: moveOf(own, action(start + 3), this.replay), mvp: moveOf(own, action(start + 5), this.replay) };
  }

  // Where an ownship takes the aircraft around it to be, the nearest first: [{ intruder, offset: [east, north] in m,
  // null for one that it has no track of }]; none where everyone knows everything.
  ghosts(step, aircraft) {
    const row = this.near && step < this.steps ? this.rows[step * this.count + aircraft] : -1, found = [];
    for (let place = 0; row >= 0 && place < this.near.kept; place++) {
      const at = 2 * (row * this.near.kept + place), intruder = this.near.intruders.getUint16(at, true);
      if (intruder === NO_INTRUDER) continue;
      const [east, north] = [this.near.offsets.getInt8(at), this.near.offsets.getInt8(at + 1)];
      const scale = this.replay.offset_m;
      found.push({ intruder, offset: east === NO_TRACK ? null : [east * scale, north * scale] });
    }
    return found;
  }

  // Why a fallback flies an aircraft, such as "progress"; "" where it does not.
  reason(step, aircraft) {
    const row = this.fallback && step < this.steps ? this.rows[step * this.count + aircraft] : -1;
    const code = row >= 0 ? this.fallback.getUint8(row) : 0;
    return code ? this.replay.reasons[code - 1] : "";
  }

  // Whom an ownship looks at, heaviest first: [{ intruder, weights: one per head }].
  looks(step, aircraft) {
    const row = this.heads && step < this.steps ? this.rows[step * this.count + aircraft] : -1;
    const found = [];
    for (let place = 0; row >= 0 && place < this.kept; place++) {
      const intruder = this.intruders.getUint16(2 * (row * this.kept + place), true);
      if (intruder === NO_INTRUDER) continue;
      const weights = [];
      for (let head = 0; head < this.heads; head++) {
        weights.push(this.weights.getUint8((row * this.heads + head) * this.kept + place) / 255);
      }
      found.push({ intruder, weights });
    }
    return found;
  }

  // The next step in which a pair comes into conflict that was not in conflict in the CALM_S before; null for none.
  nextConflict(after) {
    const last = new Map(), calm = CALM_S / this.replay.step_s;
    for (let step = 0; step < this.steps; step++) {
      for (const pair of this.conflicts[step]) {
        const key = pair[0] * this.count + pair[1], isNew = !(step - last.get(key) <= calm);
        if (isNew && step > after) return { step, pair };
        last.set(key, step);
      }
    }
    return null;
  }
}
