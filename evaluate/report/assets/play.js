// Moving aircraft by hand: a flight that is the recorded one, but for one step in which some aircraft are elsewhere.
// What its contender and MVP do there is computed, not recorded, as if everyone knew everything.
const LOOKS = 8;

// What decides for a contender: (own, others) => { action, weights, numbers }; null for one that the page cannot run.
function deciderOf(contender, replay) {
  if (contender.rule) {
    return (own, others) => ({ action: actionTowards(own, mvpVelocity(own, others, contender.rule), replay) });
  }
  if (!contender.network) return null;
  const network = new Network(contender.network);
  return (own, others) => {
    const seen = observe(own, others, network.view);
    return { ...network.forward(network, seen), numbers: seen.numbers };
  };
}

// moved: a Map of aircraft to their [east, north] in a step; decide: of `deciderOf`.
function playedFrom(still, step, moved, decide) {
  const flight = Object.create(still), start = step * still.count, { replay, layout } = still;
  Object.assign(flight, { still, moved, east: still.east.slice(), north: still.north.slice() });
  for (const [aircraft, [east, north]] of moved) {
    flight.east[start + aircraft] = east;
    flight.north[start + aircraft] = north;
  }
  const present = [...Array(still.count).keys()].filter((each) => still.flies(step, each));
  const states = present.map((each) => flight.state(step, each));
  const only = (pairs, these) => Object.assign(pairs.slice(), { [step]: these });
  flight.conflicts = only(still.conflicts, conflictsAmong(states, layout.hovers, replay));
  flight.losses = only(still.losses, flight.lossesAmong(flight.conflicts[step], step));

  const isSilent = ({ number }) => layout.flown_by?.[number] === "silent", known = new Map();
  const decided = (aircraft) => {
    if (!known.has(aircraft)) {
      const own = states.find((each) => each.number === aircraft), others = states.filter((each) => each !== own && (isSilent(own) || !isSilent(each)));
      const made = flight.isOther(aircraft) ? null : decide && decide(own, others);
      const mvp = actionTowards(own, mvpVelocity(own, others, replay.mvp_rule), replay);
      known.set(aircraft, {
        decision: { flown: made && moveOf(own, made.action, replay), mvp: moveOf(own, mvp, replay) },
        looks: made?.weights ? heaviest(made) : [],
      });
    }
    return known.get(aircraft);
  };
  const isHere = (at, aircraft) => at === step && still.flies(step, aircraft);
  flight.decision = (at, aircraft) => (isHere(at, aircraft) ? decided(aircraft).decision : still.decision(at, aircraft));
  flight.looks = (at, aircraft) => (isHere(at, aircraft) ? decided(aircraft).looks : still.looks(at, aircraft));
  flight.ghosts = () => [];
  flight.reason = (at, aircraft) => (at === step ? "" : still.reason(at, aircraft));
  return flight;
}

function conflictsAmong(states, hovers, replay) {
  const pairs = [];
  states.forEach((own, place) => {
    for (const other of states.slice(place + 1)) {
      if (hovers.includes(own.number) && hovers.includes(other.number)) continue;
      const zone = zoneOf(own, other, replay.zone_m);
      if (isConflict(relative(own, other), zone, replay.lookahead_s)) pairs.push([own.number, other.number]);
    }
  });
  return pairs;
}

// Whom a network looks at, as `Flight.looks` has it.
function heaviest({ weights, numbers }) {
  const found = numbers.map((intruder, place) => ({ intruder, weights: weights.map((shares) => shares[place]) }));
  return found.sort((one, two) => Math.max(...two.weights) - Math.max(...one.weights)).slice(0, LOOKS);
}

// Dragging: pointer events of a canvas. on: { at(x, y): an aircraft, placeOf(aircraft): its x and y, isChosen(),
// choose(aircraft), drag(aircraft, x, y) }; a press that does not move chooses. A finger drags aircraft only once an
// ownship is chosen: before, it scrolls the page.
function listenToDrags(canvas, on) {
  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
  };
  let held = null;
  canvas.addEventListener("touchstart", (event) => {
    const isOn = event.touches.length === 1 && on.at(...placeOf(event.touches[0])) >= 0;
    if (isOn && on.isChosen()) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const [x, y] = placeOf(event), aircraft = on.at(x, y);
    const isLoose = aircraft >= 0 && (event.pointerType !== "touch" || on.isChosen());
    held = { aircraft, isLoose, x, y, from: on.placeOf(aircraft), isDragged: false };
    canvas.closest("section").focus({ preventScroll: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = placeOf(event);
    if (!held?.isLoose || (!held.isDragged && Math.hypot(x - held.x, y - held.y) < 4)) return;
    if (!held.isDragged) canvas.setPointerCapture(event.pointerId);
    held.isDragged = true;
    on.drag(held.aircraft, held.from.x + x - held.x, held.from.y + y - held.y);
  });
  canvas.addEventListener("pointerup", () => {
    if (held && !held.isDragged) on.choose(held.aircraft);
    held = null;
  });
  canvas.addEventListener("pointercancel", () => { held = null; });
}
