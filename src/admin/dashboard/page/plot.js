
/** A plot of the last 15 minutes: one or two lines, the values under the pointer or the arrow keys. */
const WINDOW_MS = 15 * 60_000;
const MARGIN = { top: 8, right: 8, bottom: 20, left: 50 };

class Plot {
  /** `series` are `{name, of(point, pointBefore), write(value)}`; the first is filled.
   *  A box of class `second` has the second colour alone. */
  constructor(id, series) {
    this.box = $(id);
    this.series = series;
    this.points = [];
    this.box.append($("plot-template").content.cloneNode(true));
    this.svg = this.box.querySelector("svg");
    this.labels = this.box.querySelector(".labels");
    this.value = this.box.querySelector(".value");
    this.box.tabIndex = 0;
    const isSecond = (at) => at > 0 || this.box.classList.contains("second");
    this.legend = series.map(({ name }, at) => {
      const now = make("b");
      $(`${id}-legend`).append(make("span", {}, make("span", { className: isSecond(at) ? "key second" : "key" }), `${name} `, now));
      return now;
    });
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.box.addEventListener("pointermove", (event) => this.pointAt(event.clientX));
    this.box.addEventListener("pointerleave", () => this.point(null));
    this.box.addEventListener("blur", () => this.point(null));
    this.box.addEventListener("keydown", (event) => this.step(event));
  }

  /** Takes the server's points, oldest first, and draws what they say. */
  show(points) {
    this.points = points.map((point, at) => ({
      at: new Date(point.at),
      ms: point.uptime_ms,
      values: this.series.map(({ of }) => of(point, points[at - 1])),
    })).filter(({ values }) => values[0] !== null);
    this.legend.forEach((now, of) => {
      const last = this.points.at(-1);
      say(now, last ? this.series[of].write(last.values[of]) : "–");
    });
    this.draw();
  }

  draw() {
    const { width, height } = this.box.getBoundingClientRect();
    if (width === 0) return;
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const latest = this.points.at(-1)?.ms ?? 0;
    const highest = Math.max(0, ...this.points.flatMap(({ values }) => values));
    const step = roundStep(highest / (height > 120 ? 3 : 1.5), this.series[0].base);
    const top = Math.max(step, Math.ceil(highest / step) * step);
    this.x = (ms) => right - ((latest - ms) / WINDOW_MS) * (right - MARGIN.left);
    this.y = (value) => bottom - (value / top) * (bottom - MARGIN.top);

    const rules = [];
    const labels = [];
    for (let value = 0; value <= top; value += step) {
      const y = Math.round(this.y(value)) + 0.5;
      rules.push(`M${MARGIN.left} ${y}H${right}`);
      const label = make("span", {}, this.series[0].write(value, true));
      label.style.top = `${y - 7}px`;
      label.style.right = `${width - MARGIN.left + 8}px`;
      labels.push(label);
    }
    for (const minutes of [15, 10, 5, 0]) {
      const label = make("span", {}, minutes ? `−${minutes} min` : "now");
      const x = this.x(latest - minutes * 60_000);
      label.style.top = `${bottom + 5}px`;
      if (minutes) label.style.left = `${x - (minutes === 15 ? 0 : 20)}px`;
      else label.style.right = `${MARGIN.right}px`;
      labels.push(label);
    }
    this.labels.replaceChildren(...labels);
    this.path(".rules", rules.join(""));
    this.series.forEach((_, of) => {
      const line = this.points.map(({ ms, values }) => `${this.x(ms).toFixed(1)} ${this.y(values[of]).toFixed(1)}`);
      const path = line.length > 1 ? `M${line.join("L")}` : "";
      this.path(of ? ".line.second" : ".line.first", path);
      if (of === 0) {
        const from = this.points[0] && this.x(this.points[0].ms).toFixed(1);
        this.path(".area", path && `${path}V${bottom}H${from}Z`);
      }
    });
    this.svg.setAttribute("aria-label", this.summary());
    this.point(this.pointed && this.points.includes(this.pointed) ? this.pointed : null);
  }

  path(selector, data) {
    this.svg.querySelector(selector).setAttribute("d", data);
  }

  summary() {
    return this.series.map(({ name, write }, of) => {
      const values = this.points.map((point) => point.values[of]);
      return values.length ? `${name}: now ${write(values.at(-1))}, highest ${write(Math.max(...values))}` : `${name}: nothing yet`;
    }).join("; ");
  }

  pointAt(clientX) {
    const x = clientX - this.box.getBoundingClientRect().left;
    const distance = (point) => Math.abs(this.x(point.ms) - x);
    this.point(this.points.reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), null));
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || this.points.length === 0) return;
    event.preventDefault();
    const at = this.pointed ? this.points.indexOf(this.pointed) + by : this.points.length - 1;
    this.point(this.points[Math.max(0, Math.min(at, this.points.length - 1))]);
  }

  /** Shows the values of a point, or of none. */
  point(point) {
    this.pointed = point;
    this.svg.classList.toggle("is-pointed", point !== null);
    this.value.hidden = point === null;
    this.path(".cursor", "");
    if (point === null) return;
    const x = this.x(point.ms);
    this.path(".cursor", `M${Math.round(x) + 0.5} ${MARGIN.top}V${this.y(0)}`);
    this.svg.querySelectorAll(".dot").forEach((dot, of) => {
      const value = point.values[of];
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", value === undefined ? -9 : this.y(value));
    });
    const lines = this.series.map(({ name, write }, of) => `${name} ${write(point.values[of])}`);
    say(this.value, [clockTime.format(point.at), ...lines].join("\n"));
    const isLeft = x > this.box.clientWidth / 2;
    this.value.style.left = isLeft ? "" : `${x + 10}px`;
    this.value.style.right = isLeft ? `${this.box.clientWidth - x + 10}px` : "";
  }
}

/** 1, 2 or 5 times a power of the base, at least `least`; 1 where that is smaller. */
function roundStep(least, base = 10) {
  const steps = base === 10 ? [1, 2, 5, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  const power = base ** Math.floor(Math.log(Math.max(least, 1)) / Math.log(base));
  return steps.map((step) => step * power).find((step) => step >= least);
}
