// The replay's controls and panels: time, scenario, contenders, ownship; and in words what the picture shows.
const ROWS = 5;
const WHY = {
  separation: "separation is lost", progress: "no progress", envelope: "outside the envelope of the training",
  neighbour: "in conflict with one that has been handed over", // in archives of 2026-11-26
};

class Panel {
  constructor(element, replay, seek) {
    const find = (selector) => element.querySelector(selector);
    this.replay = replay;
    this.picture = new Picture(find(".picture"));
    this.strip = new Strip(find(".strip"), seek);
    this.select = find("select");
    this.status = find(".status");
    this.ownship = find(".ownship");
    this.note = find(".note");
    this.heads = find(".heads");
    this.decisions = find(".decisions tbody");
    this.looks = find(".looks");
    Object.assign(this, { flights: new Map(), deciders: new Map(), played: null, shown: "" });
  }

  flight(scenario) {
    const { replay } = this, recorded = this.contender.flights[scenario];
    if (!this.flights.has(recorded)) this.flights.set(recorded, new Flight(recorded, replay, replay.scenarios[scenario]));
    return this.flights.get(recorded);
  }

  get contender() { return this.replay.contenders[this.select.selectedIndex]; }

  // Put an aircraft elsewhere in a step, until `putBack`.
  move(scenario, step, aircraft, place) {
    const still = this.flight(scenario), { contender } = this;
    if (!this.deciders.has(contender)) this.deciders.set(contender, deciderOf(contender, this.replay));
    const moved = new Map([...(this.played?.moved ?? []), [aircraft, place]]);
    this.played = playedFrom(still, step, moved, this.deciders.get(contender));
  }

  putBack() { this.played = null; }

  draw(view) {
    const { flight } = view;
    this.picture.draw({ ...view, flight: this.played ?? flight });
    this.strip.draw(view);
    view = { ...view, flight: this.played ?? flight };
    const step = Math.min(Math.floor(view.time), flight.steps);
    const shown = [step, view.ownship, this.select.selectedIndex, ...view.hidden].join();
    if (shown === this.shown && this.last === view.flight) return;
    [this.shown, this.last] = [shown, view.flight];
    this.show(step, view);
  }

  show(step, { flight, layout, ownship, hidden, toggle }) {
    const isOver = step >= flight.steps, events = flight.events[Math.min(step, flight.steps - 1)];
    const hovers = (aircraft) => layout.hovers.includes(aircraft), { first } = flight;
    const everyone = [...Array(flight.count).keys()], present = everyone.filter((each) => flight.flies(step, each));
    const flying = present.filter((each) => !hovers(each)).length, hovering = present.length - flying;
    const toEnter = first.filter((each) => each > step && each < Infinity).length;
    const others = (hovering ? `${hovering} hovering, ` : "") + (toEnter ? `${toEnter} yet to enter, ` : "");
    const pairs = flight.conflicts[step]?.length;
    this.status.textContent = isOver ? `all have ended; ${events} LoS in all`
      : `${flying} flying, ${others}${pairs} ${pairs === 1 ? "pair" : "pairs"} in conflict, ` +
        `${flight.losses[step].length} LoS now, ${flight.still ? "moved by hand" : `${events} so far`}`;
    this.ownship.hidden = ownship < 0;
    if (ownship < 0) return;
    const isFlown = !hovers(ownship), decision = isFlown ? flight.decision(step, ownship) : null;
    this.note.textContent = !isFlown ? `Aircraft ${ownship} hovers: nobody flies it.`
      : first[ownship] === Infinity ? `Aircraft ${ownship} never enters here.`
      : first[ownship] > step ? `Aircraft ${ownship} enters at ${Math.round(first[ownship] * this.replay.step_s)} s.`
      : !decision ? `Aircraft ${ownship} has ended its flight here.`
      : flight.reason(step, ownship) ? `Aircraft ${ownship} is flown by the fallback: ${WHY[flight.reason(step, ownship)]}.`
      : flight.isOther(ownship) ? `Aircraft ${ownship} is flown by ${layout.flown_by[ownship]}, not by this contender.`
      : !decision.flown ? `Aircraft ${ownship}. This page cannot run this contender: only MVP's move is shown.`
      : flight.heads ? `Aircraft ${ownship} looks at:`
        : `Aircraft ${ownship}. This contender has no attention to show.`;
    this.heads.style.visibility = isFlown ? "" : "hidden"; // nothing jumps
    this.showHeads(flight.heads, hidden, toggle);
    const cells = decision ? [decision.flown, decision.mvp].map((each) => each && [inTurn(each.turn), inSpeed(each)]) : [];
    for (const [number, row] of [...this.decisions.rows].entries()) {
      [...row.cells].slice(1).forEach((cell, column) => { cell.textContent = cells[number]?.[column] ?? "–"; });
    }
    this.showLooks(step, flight, ownship, isFlown);
  }

  // A checkbox per head with a sample of its line, which is the legend as well.
  showHeads(count, hidden, toggle) {
    if (this.heads.childElementCount !== count) {
      this.heads.replaceChildren(...Array.from({ length: count }, (_, head) => {
        const label = document.createElement("label"), box = document.createElement("input");
        box.type = "checkbox";
        box.addEventListener("change", () => toggle(head));
        label.append(box, lineSample(head), ` head ${head + 1}`);
        return label;
      }));
    }
    this.heads.querySelectorAll("input").forEach((box, head) => { box.checked = !hidden.has(head); });
  }

  // A row per intruder, and one for all others; there are always as many, so that nothing jumps while it plays.
  showLooks(step, flight, ownship, isFlown) {
    this.looks.hidden = !flight.heads || !isFlown || !flight.flies(step, ownship) || flight.isOther(ownship);
    if (this.looks.hidden) return;
    const heads = [...Array(flight.heads).keys()], looks = flight.looks(step, ownship), top = looks.slice(0, ROWS);
    fill(this.looks.tHead.rows[0], ["intruder", "away", ...heads.map((head) => `head ${head + 1}`)]);
    const rows = top.map(({ intruder, weights }) => ({
      intruder, weights,
      what: this.called(flight, step, ownship, intruder),
      away: `${Math.round(flight.distance(step, ownship, intruder))} m`,
    }));
    const rest = heads.map((head) => top.reduce((left, look) => Math.max(0, left - look.weights[head]), 1));
    while (rows.length < ROWS) rows.push({ what: "", away: "", weights: [] });
    rows.push(looks.length ? { what: "others", away: "", weights: rest } : { what: "none", away: "", weights: [] });
    rows.forEach(({ intruder = "", what, away, weights }, place) => {
      const row = this.looks.tBodies[0].rows[place] ?? this.looks.tBodies[0].insertRow();
      row.dataset.intruder = intruder;
      fill(row, [what, away, ...heads.map((head) => weights.length ? percent(weights[head]) : "")]);
      heads.forEach((head) => row.cells[head + 2].style.setProperty("--weight", weights[head] ?? 0));
    });
  }

  called(flight, step, one, other) {
    const has = (pairs) => pairs.some((pair) => pair.includes(one) && pair.includes(other));
    return `${other}${has(flight.losses[step]) ? ", LoS" : has(flight.conflicts[step]) ? ", conflict" : ""}`;
  }
}

const percent = (share) => `${Math.round(100 * share)} %`;
const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

function inTurn(angle) {
  const degrees = Math.round(Math.abs(angle) * 1800 / Math.PI) / 10;
  return degrees ? `${degrees.toFixed(1)}° ${angle < 0 ? "left" : "right"}` : "straight on";
}

function inSpeed({ change, airspeed }) {
  return `${signed(change, 1)} to ${airspeed.toFixed(1)}`;
}

function fill(row, texts) {
  while (row.cells.length < texts.length) row.insertCell();
  while (row.cells.length > texts.length) row.deleteCell(-1);
  texts.forEach((text, i) => { if (row.cells[i].textContent !== text) row.cells[i].textContent = text; });
}

function lineSample(head) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), { colour, dashes } = headLook(head);
  svg.setAttribute("viewBox", "0 0 44 12");
  svg.setAttribute("class", "sample");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", "M0 6H44");
  line.style.stroke = `var(${colour})`;
  line.style.strokeWidth = headWidth(head, 0.8);
  line.style.strokeDasharray = dashes.join(" ") || "none";
  svg.append(line);
  return svg;
}

class Replay {
  constructor(section, replay) {
    const byId = (name) => document.getElementById("replay-" + name);
    Object.assign(this, { section, replay, hidden: new Set(), aircraft: -1 });
    Object.assign(this, { time: 0, steps: 0, last: 0, isPlaying: false });
    for (const name of ["play", "scrub", "clock", "speed", "scenario", "ownship", "conflict", "zoom", "back", "ghosts"]) {
      this[name] = byId(name);
    }
    const seek = (time) => this.seek(time);
    this.panels = [...section.querySelectorAll(".replay-panel")].map((element) => new Panel(element, replay, seek));
    this.palette = new Palette();
    this.listen();
    this.begin();
  }

  listen() {
    this.play.addEventListener("click", () => this.toggle());
    this.scrub.addEventListener("input", () => this.seek(Number(this.scrub.value)));
    this.scenario.addEventListener("change", () => { this.time = 0; this.begin(); });
    this.ownship.addEventListener("change", () => this.choose(Number(this.ownship.value)));
    this.conflict.addEventListener("click", () => this.goToConflict());
    this.zoom.addEventListener("change", () => this.render());
    this.ghosts?.addEventListener("change", () => this.render());
    this.back.addEventListener("click", () => {
      this.putBack();
      this.section.focus({ preventScroll: true }); // a button that is disabled would take the keys with it
      this.render();
    });
    for (const panel of this.panels) {
      panel.select.addEventListener("change", () => this.begin());
      const { picture } = panel;
      listenToDrags(picture.canvas, {
        at: (x, y) => picture.aircraftAt(x, y),
        placeOf: (aircraft) => picture.seen.find((place) => place.aircraft === aircraft),
        isChosen: () => this.aircraft >= 0,
        choose: (aircraft) => this.choose(aircraft === this.aircraft ? -1 : aircraft),
        drag: (aircraft, x, y) => this.move([panel], aircraft, () => [picture.east(x), picture.north(y)]),
      });
    }
    this.section.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => {
      for (const panel of this.panels) { panel.picture.resize(); panel.strip.resize(); }
      this.render();
    }).observe(this.panels[0].picture.canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.palette = new Palette();
      this.render();
    });
  }

  press(event) {
    const { tagName, type } = event.target, isBox = type === "checkbox";
    if (event.ctrlKey || event.metaKey || event.altKey || tagName === "SELECT") return;
    if ((tagName === "BUTTON" || isBox) && (event.key === " " || event.key === "Enter")) return;
    if (type === "range" && (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End")) return;
    const stride = event.shiftKey ? 10 : 1, whole = this.time + 1e-9;
    const actions = {
      " ": () => this.toggle(),
      ArrowRight: () => this.seek(Math.floor(whole) + stride),
      ArrowLeft: () => this.seek(Math.ceil(this.time - 1e-9) - stride),
      Home: () => this.seek(0),
      End: () => this.seek(this.steps),
      Escape: () => this.choose(-1),
      o: () => this.chooseNext(1),
      O: () => this.chooseNext(-1),
      c: () => this.goToConflict(),
      b: () => { this.putBack(); this.render(); },
      g: () => { if (this.ghosts) this.ghosts.checked = !this.ghosts.checked; this.render(); },
      w: () => this.push(0, stride),
      a: () => this.push(-stride, 0),
      s: () => this.push(0, -stride),
      d: () => this.push(stride, 0),
      z: () => { this.zoom.checked = !this.zoom.checked; this.render(); },
      "+": () => this.changeSpeed(1),
      "-": () => this.changeSpeed(-1),
    };
    const head = "123456789".indexOf(event.key);
    const pushed = "WASD".includes(event.key) ? actions[event.key.toLowerCase()] : null; // with Shift
    const action = actions[event.key] ?? pushed ?? (head >= 0 ? () => this.toggleHead(head) : null);
    if (!action) return;
    event.preventDefault();
    action();
  }

  flights() {
    return this.panels.map((panel) => panel.flight(this.scenario.selectedIndex));
  }

  // Put an aircraft elsewhere in some panels, in the step that is shown: place(its present state) => [east, north].
  move(panels, aircraft, place) {
    if (!this.replay.mvp_rule) return; // an archive from before aircraft could be moved
    const scenario = this.scenario.selectedIndex, step = Math.floor(this.time);
    this.isPlaying = false;
    this.time = step;
    for (const panel of panels) {
      const flight = panel.played ?? panel.flight(scenario);
      if (flight.flies(step, aircraft)) panel.move(scenario, step, aircraft, place(flight.state(step, aircraft)));
    }
    if (this.aircraft < 0) this.aircraft = aircraft;
    this.render();
  }

  // Move the ownship some times 10 m.
  push(right, up) {
    if (this.aircraft < 0) return;
    this.move(this.panels, this.aircraft, ({ east, north }) => [east + 10 * right, north + 10 * up]);
  }

  putBack() {
    for (const panel of this.panels) panel.putBack();
  }

  begin() {
    this.putBack();
    this.steps = Math.max(...this.flights().map((flight) => flight.steps));
    this.scrub.max = String(this.steps);
    this.time = Math.min(this.time, this.steps);
    this.render();
  }

  toggle() {
    this.isPlaying = !this.isPlaying;
    if (this.isPlaying) {
      this.putBack();
      if (this.time >= this.steps) this.time = 0;
      this.last = performance.now();
      requestAnimationFrame((now) => this.tick(now));
    }
    this.render();
  }

  tick(now) {
    if (!this.isPlaying) return;
    this.time += Math.min(Math.max(now - this.last, 0) / 1000, 0.2) * Number(this.speed.value) / this.replay.step_s;
    this.last = now;
    if (this.time >= this.steps) [this.time, this.isPlaying] = [this.steps, false];
    this.render();
    requestAnimationFrame((next) => this.tick(next));
  }

  seek(time) {
    this.putBack();
    this.time = Math.max(0, Math.min(this.steps, time));
    this.render();
  }

  changeSpeed(by) {
    const { speed } = this;
    speed.selectedIndex = Math.max(0, Math.min(speed.options.length - 1, speed.selectedIndex + by));
  }

  choose(aircraft) {
    this.aircraft = aircraft;
    this.render();
  }

  // The next ownship that flies now in one of the panels.
  chooseNext(by) {
    const flights = this.flights(), step = Math.min(Math.floor(this.time), this.steps), count = this.replay.aircraft;
    const { hovers } = this.replay.scenarios[this.scenario.selectedIndex];
    const start = this.aircraft < 0 && by < 0 ? 0 : this.aircraft;
    for (let away = 1; away <= count; away++) {
      const next = (((start + by * away) % count) + count) % count;
      if (!hovers.includes(next) && flights.some((flight) => flight.flies(step, next))) { this.choose(next); return; }
    }
  }

  // To where the next conflict begins in the last panel, with one of the two as the ownship; from the end to the first.
  goToConflict() {
    const flight = this.flights().at(-1), now = Math.min(Math.floor(this.time), flight.steps);
    const found = flight.nextConflict(now) ?? flight.nextConflict(-1);
    if (!found) { this.panels.at(-1).status.textContent = "There is no conflict in this flight."; return; }
    this.isPlaying = false;
    const { hovers } = this.replay.scenarios[this.scenario.selectedIndex];
    this.aircraft = hovers.includes(found.pair[0]) ? found.pair[1] : found.pair[0];
    this.seek(found.step);
  }

  toggleHead(head) {
    if (!this.hidden.delete(head)) this.hidden.add(head);
    this.render();
  }

  render() {
    const { time, steps, hidden, palette, aircraft: ownship } = this, number = this.scenario.selectedIndex;
    const layout = this.replay.scenarios[number];
    const isZoomed = this.zoom.checked, hasGhosts = this.ghosts?.checked ?? false;
    const toggle = (head) => this.toggleHead(head);
    const most = Math.max(4, ...this.flights().map((flight) => flight.mostConflicts));
    for (const panel of this.panels) {
      const flight = panel.flight(number);
      panel.draw({ flight, layout, time, steps, most, ownship, hidden, isZoomed, hasGhosts, palette, toggle });
    }
    this.scrub.value = String(time);
    this.back.disabled = this.panels.every((panel) => !panel.played);
    this.clock.textContent = `${Math.floor(time * this.replay.step_s)} s`;
    const label = this.isPlaying ? "Pause" : "Play";
    if (this.play.textContent !== label) this.play.textContent = label;
    if (this.ownship.value !== String(ownship)) this.ownship.value = String(ownship);
  }
}

const section = document.getElementById("replay");
if (section) new Replay(section, JSON.parse(document.getElementById("replay-data").textContent));
