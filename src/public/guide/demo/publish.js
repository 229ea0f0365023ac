
/** Publishes to the user of this page, on the admin listener. */
const KEY = "idlewild.demo.key";

/** The admin listener's address as this browser reaches it; null for a unix socket, which no page reaches. */
function adminUrl(path) {
  if (!ADMIN || ADMIN.startsWith("--unix-socket")) return null;
  const url = new URL(path, location.origin);
  url.protocol = "http:";
  url.host = ADMIN;
  if (["0.0.0.0", "[::]"].includes(url.hostname)) url.hostname = location.hostname;
  return url;
}

async function publish(user) {
  const key = $("key").value.trim();
  const response = await fetch(adminUrl("/v1/events"), {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: publication({ user: `${user}` }, $("event-name").value, $("data").value),
  }).catch(() => null);
  if (!response) throw new Error("The admin listener does not answer.");
  const answer = await response.json();
  if (response.status === 401) throw new Error("The server does not know this API key.");
  if (!response.ok) throw new Error(answer.error.message);
  sessionStorage.setItem(KEY, key);
  return answer.id;
}

function showCurl(user) {
  const event = JSON.stringify({ to: { user: `${user}` }, data: { type: "NOTIFICATION", data: { message: "Hello" } } });
  say($("curl"), [
    `curl ${ADMIN}/v1/events \\`,
    '  -H "Authorization: Bearer $KEY" \\',
    `  -d '${event}'`,
  ].join("\n"));
}

$("publish").addEventListener("submit", async (event) => {
  event.preventDefault();
  const result = $("publish-result");
  try {
    const id = await publish(currentUser().id);
    result.classList.remove("bad");
    say(result, `Accepted with the id ${id}`);
  } catch (error) {
    result.classList.add("bad");
    say(result, error.message);
  }
});
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    say($("copied"), "Copied");
  } catch {
    say($("copied"), "The browser does not allow it. Select the line and copy it.");
  }
});
$("key").value = sessionStorage.getItem(KEY) ?? "";
$("publish").hidden = !adminUrl("/");
$("with-curl").open = !adminUrl("/");
$("dashboard").hidden = !adminUrl("/");
$("dashboard").href = adminUrl("/") ?? "";
