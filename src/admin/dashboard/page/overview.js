
/** The current numbers: tiles, facts, shards and totals. */
const latency = new Histogram("latency");

function showStats(stats) {
  const { limits, rates, memory, process, totals } = stats;
  say($("version"), `${stats.version} · up ${duration(stats.uptime_s)} · ${engineText(stats.engine)}`);
  say($("connections"), count(stats.connections));
  const load = stats.connections / limits.max_connections;
  Object.assign($("load"), { low: 0.8, high: 0.95, optimum: 0, value: load });
  const { ws } = stats.connections_by_transport;
  const overWebSocket = ws ? `, ${count(ws)} over WebSocket` : "";
  say($("connections-more"), `${tenths.format(load * 100)} % of ${count(limits.max_connections)}${overWebSocket}`);
  say($("users"), count(stats.users));
  say($("users-more"), usersText(stats.engine, limits));
  say($("published"), rate(rates.published_per_s));
  say($("published-more"), `${count(totals.published)} in total`);
  say($("delivered"), rate(rates.delivered_per_s));
  say($("delivered-more"), `${count(totals.delivered)} in total`);
  say($("connects"), rate(rates.connects_per_s));
  say($("connects-more"), `${rate(rates.disconnects_per_s)} /s disconnects`);
  say($("refused-now"), rate(rates.refused_per_s));
  say($("refused-more"), `${count(totals.refused)} in total`);
  say($("resident"), bytes(memory.resident_bytes));
  say($("resident-more"), `${bytes(memory.backlog_bytes)} for slow clients`);
  say($("history"), `${bytes(memory.history_bytes)} of ${bytes(limits.max_history_bytes)}, ${plural(memory.history_events, "event", "events")}`);
  say($("descriptors"), `${count(process.open_fds)} of ${count(process.max_fds)}`);
  say($("threads"), count(process.threads));
  say($("cpu-time"), duration(process.cpu_seconds));
  $("upgrade").hidden = !stats.last_upgrade;
  if (stats.last_upgrade) say($("upgrade-text"), upgradeText(stats.last_upgrade));
  past.learnBounds(stats);
  latency.show(past.since(stats));
  showShards(stats.shards);
  showReasons($("refused"), stats.refused, REFUSED);
  showReasons($("ended"), stats.disconnects, ENDED);
}

/** The engine, and with several nodes, how many there are and whether this one follows the log. */
function engineText({ kind, nodes, lag_ms: lagMs, beat_age_ms: beatAgeMs }) {
  if (lagMs === null) return `${kind} engine`;
  const heard = beatAgeMs > 3000 ? `nothing heard for ${milliseconds(beatAgeMs)}` : `${milliseconds(lagMs)} behind`;
  return `${kind} engine · ${plural(nodes, "node", "nodes")}, this one ${heard}`;
}

/** The upgrade in which this process took over. */
function upgradeText({ at, from_version: from, to_version: to, connections, lost, took_ms: tookMs, longest_pause_ms: pauseMs }) {
  const streams = `${plural(connections, "stream", "streams")} moved, ${count(lost)} lost`;
  const versions = from === to ? "same version" : `from ${from} to ${to}`;
  return `${dayAndTime.format(new Date(at))}, ${versions}: ${streams}, longest pause ${milliseconds(pauseMs)}, ${milliseconds(tookMs)} in all`;
}

/** The limit per user, or with several nodes, how many users are online on all of them. */
function usersText({ nodes, users, lag_ms: lagMs }, limits) {
  if (lagMs === null) return `at most ${plural(limits.max_connections_per_user, "stream", "streams")} each`;
  return `${count(users)} on ${plural(nodes, "node", "nodes")}; a user on two counts twice`;
}

function showShards(shards) {
  const most = Math.max(1, ...shards.map((shard) => shard.connections));
  const all = shards.reduce((sum, shard) => sum + shard.connections, 0);
  say($("balance"), all ? `the fullest shard has ${((most * shards.length) / all).toFixed(2)} × the average` : "");
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
