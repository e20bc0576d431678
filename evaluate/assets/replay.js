"use strict";
(function () {
  const section = document.getElementById("replay");
  if (!section) return;
  const data = JSON.parse(document.getElementById("replay-data").textContent);
  const GONE = -32768, TRAIL = 15;
  const count = data.aircraft, unit = data.unit_m, zone = data.zone_m;

  const byId = (name) => document.getElementById("replay-" + name);
  const play = byId("play"), scrub = byId("scrub"), clock = byId("clock");
  const speed = byId("speed"), scenario = byId("scenario");
  const state = { time: 0, playing: false, last: 0, steps: 0 };

  // Positions come as base64 of little-endian int16, (steps, aircraft, 2).
  function decode(flight) {
    if (flight.frames) return flight;
    const text = atob(flight.positions), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const view = new DataView(bytes.buffer), frames = new Int16Array(bytes.length / 2);
    for (let i = 0; i < frames.length; i++) frames[i] = view.getInt16(2 * i, true);
    flight.frames = frames;
    flight.pairs = Array.from({ length: flight.steps }, () => []);
    for (const code of flight.conflicts) {
      const step = Math.floor(code / (count * count)), pair = code % (count * count);
      flight.pairs[step].push([Math.floor(pair / count), pair % count]);
    }
    flight.losses = losses(flight);
    return flight;
  }

  function at(flight, step, aircraft) {
    const place = 2 * (step * count + aircraft), east = flight.frames[place];
    return east === GONE ? null : [east * unit, flight.frames[place + 1] * unit];
  }

  // Pairs within R, and how many such events began up to each step.
  function losses(flight) {
    const result = [];
    let before = new Set(), events = 0;
    for (let step = 0; step < flight.steps; step++) {
      const now = new Set(), pairs = [];
      for (let i = 0; i < count; i++) {
        const one = at(flight, step, i);
        if (!one) continue;
        for (let j = i + 1; j < count; j++) {
          const other = at(flight, step, j);
          if (!other || Math.hypot(one[0] - other[0], one[1] - other[1]) >= zone) continue;
          const key = i * count + j;
          now.add(key);
          pairs.push([i, j]);
          if (!before.has(key)) events++;
        }
      }
      before = now;
      result.push({ pairs, events });
    }
    return result;
  }

  const panels = Array.from(section.querySelectorAll(".replay-panel")).map((element) => ({
    canvas: element.querySelector("canvas"),
    select: element.querySelector("select"),
    status: element.querySelector(".status"),
  }));

  function flightOf(panel) {
    return decode(data.contenders[panel.select.selectedIndex].flights[scenario.selectedIndex]);
  }

  // Between two steps an aircraft is drawn on the line between its positions.
  function positions(flight, time) {
    const step = Math.min(Math.floor(time), flight.steps - 1), part = Math.min(time - step, 1), places = [];
    for (let i = 0; i < count; i++) {
      const one = at(flight, step, i);
      if (!one) { places.push(null); continue; }
      const next = step + 1 < flight.steps ? at(flight, step + 1, i) : null;
      const back = step > 0 ? at(flight, step - 1, i) : null;
      const [from, to] = next ? [one, next] : back ? [back, one] : [one, one];
      const place = next ? [one[0] + part * (next[0] - one[0]), one[1] + part * (next[1] - one[1])] : one;
      places.push({ at: place, track: Math.atan2(to[0] - from[0], to[1] - from[1]) });
    }
    return places;
  }

  function colours() {
    const style = getComputedStyle(document.documentElement), get = (name) => style.getPropertyValue(name).trim();
    return { ink: get("--ink"), muted: get("--muted"), grid: get("--grid"), los: get("--los"), page: get("--page"),
      aircraft: get("--c1") };
  }

  function draw(panel, colour) {
    const flight = flightOf(panel), layout = data.scenarios[scenario.selectedIndex];
    const canvas = panel.canvas, side = canvas.clientWidth, density = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(side * density)) canvas.width = canvas.height = Math.round(side * density);
    const pen = canvas.getContext("2d");
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, side, side);
    const scale = side / (unit * -GONE);
    const x = (east) => side / 2 + east * scale, y = (north) => side / 2 - north * scale;
    pen.lineJoin = "round";

    pen.strokeStyle = colour.muted; pen.lineWidth = 1.2; pen.setLineDash([]);
    pen.beginPath();
    layout.corners_m.forEach(([east, north]) => pen.lineTo(x(east), y(north)));
    pen.closePath(); pen.stroke();

    const step = Math.min(Math.floor(state.time), flight.steps - 1);
    const isOver = state.time >= flight.steps;
    const places = isOver ? Array(count).fill(null) : positions(flight, state.time);
    layout.waypoints_m.forEach(([east, north], i) => {
      if (!places[i]) return;
      pen.strokeStyle = colour.muted;
      pen.beginPath();
      pen.moveTo(x(east) - 3, y(north) - 3); pen.lineTo(x(east) + 3, y(north) + 3);
      pen.moveTo(x(east) - 3, y(north) + 3); pen.lineTo(x(east) + 3, y(north) - 3);
      pen.stroke();
    });

    const lost = isOver ? { pairs: [], events: flight.losses.length ? flight.losses[flight.steps - 1].events : 0 }
      : flight.losses[step];
    const conflicts = isOver ? [] : flight.pairs[step];
    const inLoss = new Set(lost.pairs.flat());
    places.forEach((place, i) => {
      if (!place) return;
      pen.strokeStyle = colour.aircraft; pen.globalAlpha = 0.45; pen.lineWidth = 1.5;
      pen.beginPath();
      for (let back = Math.max(0, step - TRAIL); back <= step; back++) {
        const trail = at(flight, back, i);
        if (trail) pen.lineTo(x(trail[0]), y(trail[1]));
      }
      pen.lineTo(x(place.at[0]), y(place.at[1]));
      pen.stroke();
      pen.globalAlpha = 1;
    });
    places.forEach((place, i) => {
      if (!place) return;
      const isLost = inLoss.has(i);
      pen.beginPath();
      pen.arc(x(place.at[0]), y(place.at[1]), zone / 2 * scale, 0, 2 * Math.PI);
      pen.strokeStyle = isLost ? colour.los : colour.muted; pen.lineWidth = isLost ? 2 : 0.8;
      if (isLost) { pen.globalAlpha = 0.25; pen.fillStyle = colour.los; pen.fill(); pen.globalAlpha = 1; }
      pen.stroke();
      triangle(pen, x(place.at[0]), y(place.at[1]), place.track, isLost ? colour.los : colour.aircraft);
    });
    link(pen, conflicts, places, x, y, colour.ink, [4, 4], 1.2);
    link(pen, lost.pairs, places, x, y, colour.los, [], 3);

    const flying = places.filter(Boolean).length;
    panel.status.textContent = isOver ? `all have ended; ${lost.events} LoS in all`
      : `${flying} flying, ${conflicts.length} in conflict, ${lost.pairs.length} LoS now, ${lost.events} so far`;
  }

  function triangle(pen, x, y, track, colour) {
    pen.save(); pen.translate(x, y); pen.rotate(track);
    pen.beginPath(); pen.moveTo(0, -7); pen.lineTo(4.5, 5); pen.lineTo(0, 2.5); pen.lineTo(-4.5, 5); pen.closePath();
    pen.fillStyle = colour; pen.fill(); pen.restore();
  }

  function link(pen, pairs, places, x, y, colour, dashes, width) {
    pen.strokeStyle = colour; pen.lineWidth = width; pen.setLineDash(dashes);
    for (const [i, j] of pairs) {
      if (!places[i] || !places[j]) continue;
      pen.beginPath();
      pen.moveTo(x(places[i].at[0]), y(places[i].at[1])); pen.lineTo(x(places[j].at[0]), y(places[j].at[1]));
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  function render() {
    const colour = colours();
    panels.forEach((panel) => draw(panel, colour));
    scrub.value = String(state.time);
    clock.textContent = `${Math.floor(state.time * data.step_s)} s`;
    play.textContent = state.playing ? "Pause" : "Play";
  }

  function tick(now) {
    if (!state.playing) return;
    state.time += Math.min((now - state.last) / 1000, 0.2) * Number(speed.value) / data.step_s;
    state.last = now;
    if (state.time >= state.steps) { state.time = state.steps; state.playing = false; }
    render();
    requestAnimationFrame(tick);
  }

  function toggle() {
    state.playing = !state.playing;
    if (state.playing) {
      if (state.time >= state.steps) state.time = 0;
      state.last = performance.now();
      requestAnimationFrame(tick);
    }
    render();
  }

  function seek(time) {
    state.time = Math.max(0, Math.min(state.steps, time));
    render();
  }

  function choose() {
    state.steps = Math.max(...panels.map((panel) => flightOf(panel).steps));
    scrub.max = String(state.steps);
    state.time = Math.min(state.time, state.steps);
    render();
  }

  play.addEventListener("click", toggle);
  scrub.addEventListener("input", () => seek(Number(scrub.value)));
  scenario.addEventListener("change", () => { state.time = 0; choose(); });
  panels.forEach((panel) => panel.select.addEventListener("change", choose));
  section.addEventListener("keydown", (event) => {
    const tag = event.target.tagName;
    if (tag === "SELECT" || tag === "BUTTON" && event.key === " ") return;
    if (event.key === " ") { event.preventDefault(); toggle(); return; }
    if (tag === "INPUT") return;
    if (event.key === "ArrowRight") { event.preventDefault(); seek(Math.floor(state.time) + 1); }
    if (event.key === "ArrowLeft") { event.preventDefault(); seek(Math.ceil(state.time) - 1); }
  });
  window.addEventListener("resize", render);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  choose();
})();
