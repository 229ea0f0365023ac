
/** What is held and what happens: tiles, plots, shards, refusals. */
const perSecond = (name) => (point, before) =>
  before ? ((point[name] - before[name]) * 1000) / (point.uptime_ms - before.uptime_ms) : null;
const axisCount = (value, isAxis) => (isAxis ? compact : whole).format(value);
const axisRate = (value, isAxis) => (isAxis ? compact.format(value) : `${rate(value)} /s`);

const plots = [
  new Plot("held", [
    { name: "connections", of: (point) => point.connections, write: axisCount },
    { name: "users", of: (point) => point.users, write: axisCount },
  ]),
  // Apart: one event goes to many.
  new Plot("deliveries", [{ name: "delivered", of: perSecond("delivered"), write: axisRate }]),
  new Plot("publishes", [{ name: "published", of: perSecond("published"), write: axisRate }]),
  new Plot("memory", [
    { name: "resident", of: (point) => point.resident_bytes, write: bytes, base: 1024 },
    { name: "history", of: (point) => point.history_bytes, write: bytes },
  ]),
];
const latency = new Histogram("latency");

const past = {
  points: [],

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
  },

  /** The buckets of now without what was in them 15 minutes ago. */
  since(stats) {
    const isYoung = stats.uptime_s * 1000 < WINDOW_MS;
    const before = isYoung ? null : this.points[0]?.delivery;
    return stats.delivery.buckets.map(({ le_ms, count: events }, at) => ({
      le_ms,
      count: Math.max(0, events - (before?.[at] ?? 0)),
    }));
  },
};

function showStats(stats) {
  const { limits, rates, memory, process, totals } = stats;
  say($("version"), `${stats.version} · up ${duration(stats.uptime_s)} · ${stats.engine.kind} engine`);
  say($("connections"), count(stats.connections));
  const load = stats.connections / limits.max_connections;
  Object.assign($("load"), { low: 0.8, high: 0.95, optimum: 0, value: load });
  const { ws } = stats.connections_by_transport;
  const overWebSocket = ws ? `, ${count(ws)} over WebSocket` : "";
  say($("connections-more"), `${tenths.format(load * 100)} % of ${count(limits.max_connections)}${overWebSocket}`);
  say($("users"), count(stats.users));
  say($("users-more"), `at most ${plural(limits.max_connections_per_user, "stream", "streams")} each`);
  say($("published"), rate(rates.published_per_s));
  say($("published-more"), `${count(totals.published)} since the start`);
  say($("delivered"), rate(rates.delivered_per_s));
  say($("delivered-more"), `${count(totals.delivered)} since the start`);
  say($("connects"), rate(rates.connects_per_s));
  say($("connects-more"), `${rate(rates.disconnects_per_s)} /s out, ${rate(rates.refused_per_s)} /s refused`);
  say($("resident"), bytes(memory.resident_bytes));
  say($("resident-more"), `${plural(stats.handshakes_in_flight, "handshake", "handshakes")} in flight`);
  say($("history"), `${bytes(memory.history_bytes)} of ${bytes(limits.max_history_bytes)}, ${plural(memory.history_events, "event", "events")}`);
  say($("backlog"), bytes(memory.backlog_bytes));
  say($("descriptors"), `${count(process.open_fds)} of ${count(process.max_fds)}`);
  say($("cpu"), `${tenths.format(process.cpu_seconds)} s, ${plural(process.threads, "thread", "threads")}`);
  latency.show(past.since(stats));
  showShards(stats.shards);
  showReasons($("refused"), stats.refused);
  showReasons($("ended"), stats.disconnects);
}

function showShards(shards) {
  const most = Math.max(1, ...shards.map((shard) => shard.connections));
  const all = shards.reduce((sum, shard) => sum + shard.connections, 0);
  say($("balance"), all ? `the fullest has ${((most * shards.length) / all).toFixed(2)} × the mean` : "");
  $("shards").replaceChildren(...shards.map((shard) => {
    const bar = make("div");
    bar.style.width = `${(shard.connections / most) * 100}%`;
    const number = (text) => make("td", { className: "n" }, text);
    return make("tr", {},
      make("th", { scope: "row" }, `${shard.shard}`),
      number(count(shard.connections)),
      make("td", { className: "share" }, make("div", { className: "bar-track" }, bar)),
      number(count(shard.handshakes_in_flight)),
      number(count(shard.backlogged_connections)),
      number(bytes(shard.backlog_bytes)),
      number(count(shard.delivered)));
  }));
}

function showReasons(body, reasons) {
  body.replaceChildren(...Object.entries(reasons).map(([reason, streams]) =>
    make("tr", { className: streams ? "" : "is-zero" },
      make("th", { scope: "row" }, reason.replaceAll("_", " ")),
      make("td", { className: "n" }, count(streams)))));
}

function showRefusals({ refusals }) {
  $("no-refusals").hidden = refusals.length > 0;
  $("refusals").replaceChildren(...refusals.map(({ at, reason, text, status, remote, user, more }) => {
    const why = make("td", {}, reason);
    if (more) why.append(make("span", { className: "more" }, ` and ${count(more)} more`));
    return make("tr", {},
      make("td", { title: at }, clockTime.format(new Date(at))),
      why,
      make("td", {}, status ? `${status}` : "–"),
      make("td", {}, text),
      make("td", { className: "id mono" }, remote),
      user === null ? make("td", { className: "quiet" }, "–") : userCell(user));
  }));
}

function userCell(user) {
  const find = make("button", { className: "is-plain mono", title: "Find this user" }, user);
  find.addEventListener("click", () => findUser(user));
  return make("td", { className: "id" }, find);
}
