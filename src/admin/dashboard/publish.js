
/** Sends a test event. */
const TARGETS = { user: "User id", topic: "Topic", all: "" };

function target() {
  const to = $("to").value;
  return { [to]: to === "all" ? true : $("target").value };
}

/** JSON is sent as JSON, anything else as the text it is. */
function data() {
  try {
    return JSON.parse($("data").value);
  } catch {
    return $("data").value;
  }
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
    const { id } = await ask("POST", "v1/events", { to: target(), event: $("event-name").value, data: data() });
    result.classList.remove("bad");
    result.replaceChildren("Accepted as ", make("code", {}, id));
  } catch (error) {
    result.classList.add("bad");
    say(result, error.message);
    forgetIfWrong(error);
  }
});
