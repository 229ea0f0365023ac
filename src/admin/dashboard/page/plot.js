
/** A plot of the last 15 minutes: one or two lines, and their values under the pointer or with the arrow keys. */
const WINDOW_MS = 15 * 60_000;
const MARGIN = { top: 8, right: 8, bottom: 20, left: 50 };

class Plot {
  /** `series` are `{name, of(point, pointBefore), write(value, isAxis)}`. `of` returns null if there is no value, and the
   *  line has a gap there. The area under the first line is filled. A box of class `second` has the second colour only. */
  constructor(id, series, scale = linearScale(10)) {
    this.box = $(id);
    this.series = series;
    this.scale = scale;
    this.points = [];
    this.box.append($("plot-template").content.cloneNode(true));
    this.svg = this.box.querySelector("svg");
    this.labels = this.box.querySelector(".labels");
    this.value = this.box.querySelector(".value");
    this.lines = this.parts(".line");
    this.dots = this.parts(".dot");
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

  /** The elements of the template that belong to a series; the others are removed. */
  parts(selector) {
    const all = [...this.svg.querySelectorAll(selector)];
    all.splice(this.series.length).forEach((surplus) => surplus.remove());
    return all;
  }

  /** Draws the server's points, oldest first. */
  show(points) {
    this.points = points.map((point, at) => ({
      at: new Date(point.at),
      ms: point.uptime_ms,
      values: this.series.map(({ of }) => of(point, points[at - 1])),
    }));
    this.legend.forEach((now, of) => say(now, this.written(of, this.points.at(-1))));
    this.draw();
  }

  draw() {
    const { width, height } = this.box.getBoundingClientRect();
    if (width === 0) return;
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const latest = this.points.at(-1)?.ms ?? 0;
    const { ticks, share } = this.scale(Math.max(0, ...this.points.flatMap(({ values }) => values)), height);
    this.x = (ms) => right - ((latest - ms) / WINDOW_MS) * (right - MARGIN.left);
    this.y = (value) => bottom - share(value) * (bottom - MARGIN.top);

    const rules = [];
    const labels = [];
    for (const value of ticks) {
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
    this.lines.forEach((line, of) => {
      const segments = this.segments(of);
      // The round end of a line without length is a dot: a value between two gaps.
      line.setAttribute("d", segments.map((points) => `M${points.map((xy) => xy.join(" ")).join("L")}h0`).join(""));
      if (of === 0) this.path(".area", segments.map((points) => `M${points.map((xy) => xy.join(" ")).join("L")}V${bottom}H${points[0][0]}Z`).join(""));
    });
    this.svg.setAttribute("aria-label", this.summary());
    this.point(this.points.find(({ ms }) => ms === this.pointed?.ms) ?? null);
  }

  /** The places of a series' values, in parts without a gap. */
  segments(of) {
    const segments = [];
    let isOpen = false;
    for (const { ms, values } of this.points) {
      if (values[of] !== null) {
        if (!isOpen) segments.push([]);
        segments.at(-1).push([this.x(ms).toFixed(1), this.y(values[of]).toFixed(1)]);
      }
      isOpen = values[of] !== null;
    }
    return segments;
  }

  path(selector, data) {
    this.svg.querySelector(selector).setAttribute("d", data);
  }

  /** A value as text; a dash if there is none. */
  written(of, point) {
    const value = point?.values[of] ?? null;
    return value === null ? "–" : this.series[of].write(value);
  }

  summary() {
    return this.series.map(({ name, write }, of) => {
      const values = this.points.map((point) => point.values[of]).filter((value) => value !== null);
      return values.length
        ? `${name}: now ${this.written(of, this.points.at(-1))}, highest ${write(Math.max(...values))}`
        : `${name}: no data yet`;
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
    this.path(".cursor", `M${Math.round(x) + 0.5} ${MARGIN.top}V${this.box.clientHeight - MARGIN.bottom}`);
    this.dots.forEach((dot, of) => {
      const value = point.values[of];
      dot.toggleAttribute("hidden", value === null);
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", value === null ? 0 : this.y(value));
    });
    const lines = this.series.map(({ name }, of) => `${name} ${this.written(of, point)}`);
    say(this.value, [clockTime.format(point.at), ...lines].join("\n"));
    const isLeft = x > this.box.clientWidth / 2;
    this.value.style.left = isLeft ? "" : `${x + 10}px`;
    this.value.style.right = isLeft ? `${this.box.clientWidth - x + 10}px` : "";
  }
}
