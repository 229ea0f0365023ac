
/** Why streams were refused or ended: the reasons of the metrics, in words. */
const REFUSED = {
  auth: "Authentication",
  limit: "Connections per user",
  full: "Server full or stopping",
  topic: "Topic not allowed",
  test: "Test stream",
  handshake: "Invalid or no request",
};
const ENDED = {
  client_closed: "Closed by the client",
  drained: "Server stopped",
  slow: "Client too slow",
  stalled: "Client stalled",
  expired: "Token expired",
  logged_out: "Logged out",
  evicted: "Evicted or disconnected",
  protocol: "Protocol error",
  resync: "Node was away from Redis",
  error: "Connection error",
};

function showReasons(body, reasons, words) {
  body.replaceChildren(...Object.entries(reasons).map(([reason, streams]) =>
    make("tr", { className: streams ? "" : "is-zero", title: `reason="${reason}"` },
      make("th", { scope: "row" }, words[reason] ?? reason),
      make("td", { className: "n" }, count(streams)))));
}
