
/** The demo: a client like an application's, without any library. */
const { basePath: BASE, admin: ADMIN } = document.documentElement.dataset;
/** Kept per tab, so that a second tab is a second device. */
const TOKEN = "idlewild.demo.token";
const USER = "idlewild.demo.user";
const TRANSPORT = "idlewild.demo.transport";
const MOST_LINES = 500;

const clock = new Intl.DateTimeFormat([], {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});

let stream = null;
let lines = 0;

function note(kind, name, text, id = "") {
  const row = make("tr", { className: `is-${kind}` },
    make("td", { className: "mono" }, clock.format(new Date())),
    make("td", { className: "tag" }, name),
    make("td", { className: "mono" }, id),
    make("td", { className: "data mono" }, text));
  $("log").prepend(row);
  if ($("log").children.length > MOST_LINES) $("log").lastChild.remove();
  $("nothing").hidden = true;
  lines += 1;
  say($("count"), `${lines} so far, newest first`);
}

async function logIn() {
  say($("login-error"), "");
  const response = await fetch(`${BASE}/login/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ email: $("email").value, password: $("password").value }),
  }).catch(() => null);
  const answer = await response?.json().catch(() => null);
  if (!response?.ok) {
    say($("login-error"), answer?.error ?? "The server does not answer");
    return;
  }
  sessionStorage.setItem(TOKEN, answer.access);
  sessionStorage.setItem(USER, JSON.stringify(answer.user));
  note("good", "logged in", `as ${answer.user.email}, user ${answer.user.id}`);
  connect();
}

/** The user who is logged in, or the development user. */
const currentUser = () => JSON.parse(sessionStorage.getItem(USER)) ?? { id: 1 };

function connect() {
  const user = currentUser();
  $("login").hidden = true;
  $("session").hidden = false;
  say($("who"), `${user.email} (id ${user.id})`);
  showCurl(user.id);
  const query = new URLSearchParams({ token: sessionStorage.getItem(TOKEN) });
  // A stream keeps the last id when it reconnects by itself. Here the user has reconnected.
  const last = $("last-id").textContent;
  if (last !== "none") query.set("last_event_id", last);
  mark($("state"), "warn", "connecting");
  say($("cut"), "Disconnect");

  const { value: transport, selectedOptions: [{ text: over }] } = $("transport");
  let lostAt = 0;
  stream = openStream(transport, BASE, query, {
    opened() {
      mark($("state"), "good", "connected");
      const wait = lostAt ? `after ${((performance.now() - lostAt) / 1000).toFixed(1)} s` : "";
      if (lostAt) say($("reconnect"), wait);
      note("good", "open", `${lostAt ? `reconnected ${wait}` : "connected"} over ${over}`);
    },
    lost(text) {
      lostAt = performance.now();
      mark($("state"), "warn", "reconnecting");
      note("bad", "lost", text);
    },
    refused(text) {
      note("bad", "refused", text);
      logOut();
    },
    event: receive,
  });
}

/** Ends the stream; the next one resumes after the last id. */
function disconnect() {
  stream.close();
  stream = null;
  mark($("state"), "", "disconnected");
  say($("cut"), "Reconnect");
}

function receive(name, data, id) {
  // Heartbeats have an id, too: the position that the stream has reached.
  if (id) say($("last-id"), id);
  switch (name) {
    case "message":
      receiveMessage(data, id);
      break;
    case "open":
      break;
    case "heartbeat":
      note("quiet", name, "the connection is alive", id);
      break;
    case "replay_gap":
      note("bad", name, `some events are no longer available: ${data}`);
      break;
    case "evicted":
      note("bad", name, "a newer connection has replaced this one");
      // Another attempt would replace the newer one.
      disconnect();
      break;
    case "token_expired":
      note("bad", name, "the token has expired");
      logOut();
      break;
    default:
      note("event", name, data, id);
  }
}

function receiveMessage(data, id) {
  const message = forcedOut(data);
  note(message === null ? "event" : "bad", "message", data, id);
  if (message === null) return;
  logOut();
  say($("forced-text"), message);
  $("forced-out").showModal();
}

/** The message of a FORCE_LOGOUT; null for other data. */
function forcedOut(data) {
  try {
    const event = JSON.parse(data);
    return event?.type === "FORCE_LOGOUT" ? event.data.message : null;
  } catch {
    return null;
  }
}

function logOut() {
  stream?.close();
  stream = null;
  sessionStorage.removeItem(TOKEN);
  sessionStorage.removeItem(USER);
  say($("last-id"), "none");
  say($("reconnect"), "none yet");
  mark($("state"), "", "logged out");
  $("session").hidden = true;
  $("login").hidden = false;
}

const test = {
  stream: null,

  toggle() {
    if (this.stream) this.close();
    else this.open();
  },

  open() {
    this.stream = new EventSource(`${BASE}/sse/test/`);
    mark($("test-state"), "warn", "connecting");
    say($("test"), "Close the test stream");
    this.stream.addEventListener("open", () => mark($("test-state"), "good", "open"));
    this.stream.addEventListener("message", ({ data }) => say($("test-line"), data));
    this.stream.addEventListener("error", () => {
      if (this.stream?.readyState === EventSource.CLOSED) {
        this.close();
        say($("test-line"), "Refused: the test stream is turned off, or too many are open.");
      } else mark($("test-state"), "warn", "reconnecting");
    });
  },

  close() {
    this.stream.close();
    this.stream = null;
    mark($("test-state"), "", "closed");
    say($("test"), "Open the test stream");
  },
};

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  logIn();
});
$("log-out").addEventListener("click", () => {
  note("quiet", "logged out", "the stream is closed and this tab has forgotten the token");
  logOut();
});
$("cut").addEventListener("click", () => {
  if (!stream) {
    connect();
    return;
  }
  disconnect();
  note("quiet", "disconnected", "the server keeps new events until you reconnect");
});
$("transport").addEventListener("change", ({ target }) => {
  sessionStorage.setItem(TRANSPORT, target.value);
  if (!stream) return;
  disconnect();
  connect();
});
$("clear").addEventListener("click", () => {
  $("log").replaceChildren();
  $("nothing").hidden = false;
});
$("test").addEventListener("click", () => test.toggle());
$("second").href = location.pathname;
