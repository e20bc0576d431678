// A flight at a glance, as a strip below it: how many pairs are in conflict, when separation is lost, how many
// aircraft a fallback flies, and now.
class Strip {
  constructor(canvas, seek) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      seek((event.clientX - box.left) / box.width * this.steps);
    });
  }

  resize() {
    const density = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * density);
    this.canvas.height = Math.round(this.height * density);
    this.pen.setTransform(density, 0, 0, density, 0, 0);
  }

  // Both flights have the same scales: `steps` long, `most` conflicts high. What does not move is drawn once.
  draw({ flight, time, steps, most, palette }) {
    if (!this.width) this.resize();
    if (!this.width) return; // not on the page now, as when it is printed
    const { pen, width, height, canvas } = this;
    const key = [flight, steps, most, palette, canvas.width];
    if (key.some((part, place) => part !== this.key?.[place])) {
      Object.assign(this, { key, steps });
      this.drawStill(flight, most, palette);
    }
    pen.clearRect(0, 0, width, height);
    pen.drawImage(this.still, 0, 0, width, height);
    pen.fillStyle = palette["--ink"];
    pen.fillRect(Math.min(time * width / steps, width - 2), 0, 2, height);
  }

  drawStill(flight, most, palette) {
    const { canvas, steps, width, height } = this, stride = width / steps;
    this.still = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const pen = this.still.getContext("2d");
    pen.scale(canvas.width / width, canvas.height / height);
    pen.fillStyle = palette["--muted"]; pen.globalAlpha = 0.5;
    flight.conflicts.forEach((pairs, step) => {
      const tall = pairs.length / most * (height - 8);
      pen.fillRect(step * stride, height - tall, stride, tall);
    });
    pen.globalAlpha = 1; pen.fillStyle = palette["--los"];
    flight.losses.forEach((pairs, step) => {
      if (pairs.length) pen.fillRect(step * stride, 0, Math.max(stride, 1.5), 7);
    });
    pen.fillStyle = palette["--c3"];
    flight.handed.forEach((handed, step) => {
      const tall = handed && 4 + handed / flight.count * (height - 8) / 2;
      pen.fillRect(step * stride, height - tall, Math.max(stride, 1.5), tall);
    });
  }
}
