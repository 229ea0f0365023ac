
/** Finds a user, ends the connections and logs the user out. */
let found = null;

const pathOf = (user, more = "") => `v1/users/${encodeURIComponent(user)}${more}`;

async function findUser(user) {
  $("user").value = user;
  say($("user-result"), "");
  try {
    showUser(await ask("GET", pathOf(user)));
  } catch (error) {
    $("found").hidden = true;
    tellUser(error.message, true);
    forgetIfWrong(error);
  }
}

function showUser(presence) {
  found = presence.user;
  $("user-hint").hidden = true;
  const { connections } = presence;
  say($("found-user"), presence.user);
  mark($("found-state"), presence.online ? "good" : "", presence.online ? plural(connections.length, "connection", "connections") : "offline");
  say($("found-at"), `at ${clockTime.format(new Date())}`);
  $("end").disabled = !presence.online;
  $("found-scroll").hidden = !presence.online;
  $("found-connections").replaceChildren(...connections.map((connection) => make("tr", {},
    make("td", { className: "when", title: connection.since }, dayAndTime.format(new Date(connection.since))),
    make("td", {}, connection.transport),
    make("td", { className: "mono" }, connection.remote),
    make("td", { className: "id mono" }, connection.session ?? "–"),
    make("td", { className: "id mono" }, connection.topics.join(", ") || "–"))));
  $("found").hidden = false;
}

function tellUser(text, isBad) {
  $("user-result").classList.toggle("bad", isBad);
  say($("user-result"), text);
}

/** Asks for confirmation. Returns the message, or null if the action was cancelled. */
function confirmed({ title, text, yes, message }) {
  const dialog = $("confirm");
  say($("confirm-title"), title);
  say($("confirm-text"), text);
  say($("confirm-yes"), yes);
  $("message-label").hidden = !message;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? $("message").value : null), { once: true });
  });
}

async function act(question, request, done) {
  const user = found;
  const message = await confirmed(question(user));
  if (message === null) return;
  try {
    const answer = await request(user, message);
    await findUser(user);
    tellUser(done(answer), false);
  } catch (error) {
    tellUser(error.message, true);
    forgetIfWrong(error);
  }
}

$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  findUser($("user").value);
});
$("end").addEventListener("click", () => act(
  (user) => ({
    title: `End the connections of ${user}?`,
    text: "Clients that reconnect automatically come back at once.",
    yes: "End connections",
  }),
  (user) => ask("DELETE", pathOf(user, "/connections")),
  ({ ended }) => `${plural(ended, "connection", "connections")} ended.`,
));
$("log-out").addEventListener("click", () => act(
  (user) => ({
    title: `Log ${user} out?`,
    text: "Every stream receives FORCE_LOGOUT and ends. Tokens issued until now are rejected.",
    yes: "Log out",
    message: true,
  }),
  (user, message) => ask("POST", pathOf(user, "/logout"), JSON.stringify({ message })),
  ({ id }) => `Logged out, event ${id}.`,
));
