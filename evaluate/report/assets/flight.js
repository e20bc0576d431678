// A recorded flight, decoded. How it is coded: docs/evaluation-json.md; everything is little-endian.
const GONE = -32768, NO_INTRUDER = 65535, DECISION_BYTES = 7, CALM_S = 10;

function viewOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new DataView(bytes.buffer);
}

class Flight {
  constructor(recorded, replay) {
    this.replay = replay;
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
  }

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
    const { count, east, north } = this, zone2 = this.replay.zone_m ** 2;
    this.losses = [];
    this.events = [];
    let before = new Set(), events = 0;
    for (let step = 0; step < this.steps; step++) {
      const now = new Set(), pairs = [], start = step * count;
      for (const [i, j] of this.conflicts[step]) {
        const dx = east[start + i] - east[start + j], dy = north[start + i] - north[start + j];
        if (!(dx * dx + dy * dy < zone2)) continue;
        now.add(i * count + j);
        pairs.push([i, j]);
        if (!before.has(i * count + j)) events++;
      }
      before = now;
      this.losses.push(pairs);
      this.events.push(events);
    }
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
  ahead(layout, step, aircraft) {
    const leg = this.turns[aircraft].filter((turn) => turn <= step).length;
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

  // State of an ownship, what it flew and what MVP would have done; tracks in rad clockwise from north.
  decision(step, aircraft) {
    const row = step < this.steps ? this.rows[step * this.count + aircraft] : -1;
    if (row < 0) return null;
    const { replay, decisions } = this, start = row * DECISION_BYTES, track = this.track(step, aircraft);
    const speed = decisions.getUint8(start + 2) / 255 * replay.speed_mps;
    const action = (place) => {
      const turn = decisions.getInt8(place) / 127 * replay.turn_rad;
      const change = decisions.getInt8(place + 1) / 127 * replay.change_mps;
      const target = Math.max(replay.least_speed_mps, Math.min(replay.speed_mps, speed + change));
      return { turn, change: target - speed, track: track + turn, speed: target };
    };
    return { track, speed, flown: action(start + 3), mvp: action(start + 5) };
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
