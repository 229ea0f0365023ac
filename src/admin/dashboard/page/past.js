
/** The points of the last 15 minutes, and their plots. */
const axisCount = (value, isAxis) => (isAxis ? compact : whole).format(value);
const axisRate = (value, isAxis) => (isAxis ? compact.format(value) : `${rate(value)} /s`);
const percent = (value) => `${(value < 10 ? tenths : whole).format(value)} %`;
const axisTime = (ms, isAxis) => (isAxis ? milliseconds(ms) : atMost(ms, past.boundsMs.at(-2)));

/** The increase per second of a counter between two points; null for the first point. */
const perSecond = (name) => (point, before) =>
  before ? ((point[name] - before[name]) * 1000) / (point.uptime_ms - before.uptime_ms) : null;
const percentOfACore = (point, before) => before ? 100 * perSecond("cpu_seconds")(point, before) : null;

/** A quantile of the delivery times between two points. */
const deliveryQuantile = (part) => (point, before) => {
  if (!before || !past.boundsMs) return null;
  return quantileMs(past.boundsMs.map((le_ms, at) => ({ le_ms, count: point.delivery[at] - before.delivery[at] })), part);
};

const plots = [
  new Plot("held", [
    { name: "connections", of: (point) => point.connections, write: axisCount },
    { name: "users", of: (point) => point.users, write: axisCount },
  ]),
  // Separate scales, because one event goes to many clients.
  new Plot("deliveries", [{ name: "delivered", of: perSecond("delivered"), write: axisRate }]),
  new Plot("publishes", [{ name: "published", of: perSecond("published"), write: axisRate }]),
  new Plot("times", [
    { name: "p50", of: deliveryQuantile(0.5), write: axisTime },
    { name: "p99", of: deliveryQuantile(0.99), write: axisTime },
  ], logScale),
  new Plot("memory", [
    { name: "resident", of: (point) => point.resident_bytes, write: bytes },
    { name: "history", of: (point) => point.history_bytes, write: bytes },
  ], linearScale(1024)),
  new Plot("cpu", [{ name: "CPU", of: percentOfACore, write: percent }]),
];

const past = {
  points: [],
  /** The upper bounds of the delivery histogram's buckets; null until the first statistics have arrived. */
  boundsMs: null,

  replace(points) {
    this.points = points;
    this.draw();
  },

  add(point) {
    this.points = this.points.filter(({ uptime_ms }) => uptime_ms >= point.uptime_ms - WINDOW_MS);
    this.points.push(point);
    this.draw();
  },

  draw() {
    for (const plot of plots) plot.show(this.points);
    const [before, last] = this.points.slice(-2);
    say($("cpu-now"), last ? percent(percentOfACore(last, before)) : "–");
  },

  /** Takes the bounds from the statistics, since the points have only the counts. */
  learnBounds(stats) {
    if (this.boundsMs) return;
    this.boundsMs = stats.delivery.buckets.map(({ le_ms }) => le_ms);
    this.draw();
  },

  /** The current buckets without the events that were counted 15 minutes ago. */
  since(stats) {
    const isYoung = stats.uptime_s * 1000 < WINDOW_MS;
    const before = isYoung ? null : this.points[0]?.delivery;
    return stats.delivery.buckets.map(({ le_ms, count: events }, at) => ({
      le_ms,
      count: Math.max(0, events - (before?.[at] ?? 0)),
    }));
  },
};
