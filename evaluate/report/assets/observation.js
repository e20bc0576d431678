// What an ownship sees: datasets/traffic/observation.py, for one ownship at a time. An aircraft is { number, east,
// north, track, speed, waypoint: [east, north], scale (of its protected zone), wind: [east, north],
// limits: [cruise, least, most] }.
const velocityOf = ({ track, speed }) => [speed * Math.sin(track), speed * Math.cos(track)];
const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
const wrapAngle = (angle) => angle - 2 * Math.PI * Math.floor((angle + Math.PI) / (2 * Math.PI));

// Where an intruder is and how it moves, as seen from an ownship; axes east and north.
function relative(own, other) {
  const [east, north] = velocityOf(own), [otherEast, otherNorth] = velocityOf(other);
  const d = [other.east - own.east, other.north - own.north];
  return { other, d, v: [otherEast - east, otherNorth - north], distance: Math.hypot(...d) };
}

// (east, north) as (right, ahead) of a track.
function rotated([east, north], track) {
  const sine = Math.sin(track), cosine = Math.cos(track);
  return [east * cosine - north * sine, east * sine + north * cosine];
}

// view: as View.to_json. Returns { ownship: 7 numbers, intruders: their features, numbers: who they are }, nearest first.
function observe(own, others, view) {
  const around = others.map((other) => relative(own, other)).sort((one, two) => one.distance - two.distance);
  const seen = around.slice(0, view.intruders ?? around.length);
  return {
    ownship: ownshipFeatures(own, view),
    intruders: seen.map((pair) => intruderFeatures(pair, own, view)),
    numbers: seen.map((pair) => pair.other.number),
  };
}

function ownshipFeatures(own, view) {
  const to = [own.waypoint[0] - own.east, own.waypoint[1] - own.north];
  const drift = own.track - Math.atan2(to[0], to[1]), speed = own.speed / view.speed_mps;
  const away = Math.hypot(...to) / view.length_m, isFar = away > view.bound;
  const unit = view.length_m * (isFar ? away : 1);
  const centre = Math.hypot(own.east, own.north) / view.length_m;
  const nearer = isFar ? 0 : Math.min(1, 0.5 * view.bound / centre) / view.length_m;
  const place = [own.east * nearer, own.north * nearer], waypoint = [to[0] / unit, to[1] / unit];
  const rest = view.name === "seed" ? [...place, speed * Math.sin(own.track), speed * Math.cos(own.track)]
    : [...rotated([-place[0], -place[1]], own.track), ...rotated(waypoint, own.track)];
  return [Math.cos(drift), Math.sin(drift), speed, ...rest];
}

function intruderFeatures({ d, v, distance }, own, view) {
  const length = Math.min(view.bound / distance, 1 / view.length_m);
  const turned = view.name === "seed" ? [d, v] : [rotated(d, own.track), rotated(v, own.track)];
  const features = [distance * length, ...turned[0].map((part) => part * length),
    ...turned[1].map((part) => part / view.speed_mps)];
  return view.name === "cpa" ? [...features, ...approachFeatures(d, v, distance, view)] : features;
}

// tcpa within two look-ahead times, dcpa, closing speed, conflict flag.
function approachFeatures(d, v, distance, view) {
  const approach = d[0] * v[0] + d[1] * v[1], speed2 = Math.max(v[0] * v[0] + v[1] * v[1], 1e-6);
  const tcpa = -approach / speed2, dcpa = Math.hypot(d[0] + v[0] * tcpa, d[1] + v[1] * tcpa);
  const half = Math.sqrt(Math.max(view.protected_zone_m ** 2 - dcpa * dcpa, 0) / speed2);
  const isConflict = dcpa < view.protected_zone_m && tcpa + half > 0 && tcpa - half < view.lookahead_s;
  const limit = 2 * view.lookahead_s;
  return [clamp(tcpa, -limit, limit) / view.lookahead_s, Math.min(dcpa / view.length_m, view.bound),
    -approach / Math.max(distance, 1e-3) / view.speed_mps, isConflict ? 1 : 0];
}
