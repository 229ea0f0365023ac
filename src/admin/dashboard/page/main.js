
/** The page: with or without a key, connected to the server or not. */
let following = null;

function enter() {
  $("entrance").hidden = true;
  $("dashboard").hidden = $("forget").hidden = $("live").hidden = false;
  mark($("live"), "", "connecting");
  following = new AbortController();
  follow({
    history: ({ points }) => past.replace(points),
    point: (point) => past.add(point),
    refusals: ({ refusals }) => recent.show(refusals),
    stats: (stats) => {
      connected(stats);
      showStats(stats);
    },
    lost: disconnected,
    refused: leave,
  }, following.signal);
}

function leave(message = "") {
  following?.abort();
  sessionStorage.removeItem(KEY_NAME);
  $("dashboard").hidden = $("forget").hidden = $("live").hidden = $("banner").hidden = $("found").hidden = true;
  $("entrance").hidden = false;
  say($("version"), "");
  mark($("ready"), "", "No key");
  $("key-error").hidden = !message;
  say($("key-error"), message);
  $("key").value = "";
  $("key").focus();
}

function forgetIfWrong(error) {
  if (error instanceof WrongKey) leave(error.message);
}

function connected(stats) {
  $("dashboard").classList.remove("is-stale");
  mark($("live"), "good", "live");
  const isDraining = stats.reason === "draining";
  if (stats.ready) mark($("ready"), "good", "ready");
  else mark($("ready"), isDraining ? "warn" : "bad", isDraining ? "draining" : "not ready");
  const text = isDraining ? "The server is draining: it ends its streams and accepts no new ones." : `Not ready: ${stats.reason}`;
  banner(stats.ready ? "" : text, !isDraining);
}

function disconnected(message, waitMs) {
  $("dashboard").classList.add("is-stale");
  mark($("ready"), "", "unknown");
  mark($("live"), "bad", "disconnected");
  banner(`${message} The numbers below are old. Trying again in ${Math.ceil(waitMs / 1000)} s.`, true);
}

function banner(text, isBad) {
  $("banner").hidden = !text;
  $("banner").classList.toggle("is-bad", isBad);
  say($("banner"), text);
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY_NAME, $("key").value.trim());
  $("key").value = "";
  $("key-error").hidden = true;
  enter();
});
$("forget").addEventListener("click", () => leave());

if (sessionStorage.getItem(KEY_NAME)) enter();
else $("key").focus();
