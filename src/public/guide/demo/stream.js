
/**
 * One stream over either transport. It comes back by itself, from the last id that it received. `on` hears `opened()`,
 * `event(name, data, id)`, `lost(text)` if it comes back, and `refused(text)` if it does not.
 */
const TRANSPORTS = {
  /** The browser's EventSource does everything itself. */
  sse(base, query, on) {
    const source = new EventSource(`${base}/sse/notifications/?${query}`);
    source.addEventListener("open", () => on.opened());
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) on.refused("the server refused the stream; the token is no longer good");
      else on.lost("the browser waits for the server's retry time, and comes back");
    });
    for (const name of ["message", "heartbeat", "replay_gap", "evicted", "token_expired"]) {
      source.addEventListener(name, ({ data, lastEventId }) => on.event(name, data, lastEventId));
    }
    return { close: () => source.close() };
  },

  /** A WebSocket leaves the last id and coming back to its page. */
  websocket(base, query, on) {
    /** Close codes that another attempt would only get again. */
    const FINAL = new Set([1008, 4001, 4003, 4004, 4029]);
    let retryMs = 2_000;
    let socket = null;
    let timer = 0;
    let isClosed = false;

    const receive = ({ data: text }) => {
      const { id = "", event, data } = JSON.parse(text);
      if (id) query.set("last_event_id", id);
      if (event === "open") {
        retryMs = data.retry;
        on.opened();
      }
      on.event(event, typeof data === "string" ? data : JSON.stringify(data), id);
    };
    const open = () => {
      const url = new URL(`${base}/ws/notifications/?${query}`, location);
      url.protocol = url.protocol.replace("http", "ws");
      socket = new WebSocket(url);
      socket.addEventListener("message", (message) => isClosed || receive(message));
      socket.addEventListener("close", ({ code, reason }) => {
        if (isClosed) return;
        const why = `closed with ${code}${reason && ` (${reason})`}`;
        if (FINAL.has(code)) {
          on.refused(why);
          return;
        }
        on.lost(`${why}; this page waits for the server's retry time, and comes back`);
        timer = setTimeout(open, retryMs);
      });
    };
    open();
    return {
      close() {
        isClosed = true;
        clearTimeout(timer);
        socket.close();
      },
    };
  },
};
