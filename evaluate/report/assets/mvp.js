// MVP and its conflicts: collect/airspace/conflicts.py and collect/teachers/mvp.py, for one ownship at a time; and what
// an action leads to. `replay` has turn_rad and change_mps, what an action of 1 stands for.
const HEAD_ON_M = 10;

const zoneOf = (own, other, zone) => zone * Math.max(own.scale, other.scale);

// Whether a pair will be within the zone in the look-ahead time, straight on.
function isConflict({ d, v, distance }, zone, lookahead) {
  const approach = d[0] * v[0] + d[1] * v[1], cross = d[0] * v[1] - d[1] * v[0];
  const speed2 = Math.max(v[0] * v[0] + v[1] * v[1], 1e-6), distance2 = distance * distance, zone2 = zone * zone;
  const path = approach + lookahead * speed2, later2 = distance2 + lookahead * (approach + path);
  const isNear = cross * cross < zone2 * speed2, isClosing = approach < 0 || distance2 < zone2;
  return isNear && isClosing && (path > 0 || later2 < zone2);
}

// MVP's change of velocity for one conflict.
function push({ d, v, distance }, zone) {
  const tcpa = -(d[0] * v[0] + d[1] * v[1]) / Math.max(v[0] * v[0] + v[1] * v[1], 1e-6);
  let closest = [d[0] + v[0] * tcpa, d[1] + v[1] * tcpa], dcpa = Math.hypot(...closest);
  const intrusion = zone - dcpa, away = Math.max(distance, 1e-6);
  if (dcpa <= HEAD_ON_M) [closest, dcpa] = [[d[1] / away * HEAD_ON_M, -d[0] / away * HEAD_ON_M], HEAD_ON_M];
  const a = zone / away, b = dcpa / away;
  const cosine = a * b + Math.sqrt(Math.max(1 - a * a, 0) * Math.max(1 - b * b, 0));
  const strength = away > zone && dcpa < away ? zone / cosine - dcpa : intrusion;
  const factor = -strength / (Math.max(Math.abs(tcpa), 1e-6) * dcpa);
  return closest.map((part) => factor * part);
}

// Straight to the waypoint at cruise speed, in wind through the air.
function toWaypoint({ east, north, waypoint, wind, limits }) {
  const bearing = Math.atan2(waypoint[0] - east, waypoint[1] - north);
  const sine = Math.sin(bearing), cosine = Math.cos(bearing);
  const along = wind[0] * sine + wind[1] * cosine, across = wind[0] * cosine - wind[1] * sine;
  const isCalm = !wind[0] && !wind[1];
  const speed = isCalm ? limits[0] : Math.max(along + Math.sqrt(Math.max(limits[0] ** 2 - across ** 2, 0)), 0);
  return [speed * sine, speed * cosine];
}

// The velocity that MVP wants; rule: { zone_m (0: nothing is resolved), lookahead_s }.
function mvpVelocity(own, others, rule) {
  const velocity = velocityOf(own);
  let conflicts = 0;
  for (const other of others) {
    const pair = relative(own, other), zone = zoneOf(own, other, rule.zone_m);
    if (!rule.zone_m || !isConflict(pair, zone, rule.lookahead_s)) continue;
    const change = push(pair, zone);
    velocity[0] += change[0];
    velocity[1] += change[1];
    conflicts++;
  }
  if (!conflicts) return toWaypoint(own);
  const length = Math.hypot(...velocity), [, least, most] = own.limits;
  const factor = clamp(length, least, most) / Math.max(length, 1e-9);
  return velocity.map((part) => part * factor);
}

// Heading and airspeed: track and speed where there is no wind.
function throughAir({ track, speed, wind, east, north, waypoint }) {
  if (!wind[0] && !wind[1]) return { heading: track, airspeed: speed };
  const air = velocityOf({ track, speed }).map((part, axis) => part - wind[axis]), airspeed = Math.hypot(...air);
  if (airspeed < 0.01) return { heading: Math.atan2(waypoint[0] - east, waypoint[1] - north), airspeed: 0 };
  return { heading: Math.atan2(air[0], air[1]), airspeed };
}

// The action [turn, speed change] towards a velocity, each in [-1, 1].
function actionTowards(own, velocity, replay) {
  const air = velocity.map((part, axis) => part - own.wind[axis]), target = Math.hypot(...air);
  const { heading, airspeed } = throughAir(own);
  const turn = target === 0 ? 0 : wrapAngle(Math.atan2(air[0], air[1]) - heading);
  return [clamp(turn / replay.turn_rad, -1, 1), clamp((target - airspeed) / replay.change_mps, -1, 1)];
}

// What an action leads to: the turn and the change of airspeed, and track and speed over ground after them.
function moveOf(own, [turn, change], replay) {
  const { heading, airspeed } = throughAir(own), turned = turn * replay.turn_rad;
  const target = clamp(airspeed + change * replay.change_mps, own.limits[1], own.limits[2]);
  const [airEast, airNorth] = velocityOf({ track: heading + turned, speed: target });
  const east = airEast + own.wind[0], north = airNorth + own.wind[1];
  const after = target ? Math.atan2(east, north) : heading + turned; // one at rest has a direction too
  return { turn: turned, change: target - airspeed, airspeed: target, track: after, speed: Math.hypot(east, north) };
}
