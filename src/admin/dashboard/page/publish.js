
/** Sends a test event. */
const TARGETS = { user: "User id", topic: "Topic", all: "" };

function target() {
  const to = $("to").value;
  return { [to]: to === "all" ? true : $("target").value };
}

/** JSON is sent as it was typed, since a large number loses digits when it is read; anything else as a string. */
function data() {
  const text = $("data").value;
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(text);
  }
}

function body() {
  const head = JSON.stringify({ to: target(), event: $("event-name").value });
  return `${head.slice(0, -1)},"data":${data()}}`;
}

$("to").addEventListener("change", () => {
  const name = TARGETS[$("to").value];
  $("target-label").hidden = $("target").disabled = !name;
  say($("target-name"), name);
});
$("publish-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const result = $("publish-result");
  try {
    const { id } = await ask("POST", "v1/events", body());
    result.classList.remove("bad");
    result.replaceChildren("Accepted as ", make("code", {}, id));
  } catch (error) {
    result.classList.add("bad");
    say(result, error.message);
    forgetIfWrong(error);
  }
});
