
/** Sends a test event. */
const TARGETS = { user: "User id", topic: "Topic", all: "" };

function target() {
  const to = $("to").value;
  return { [to]: to === "all" ? true : $("target").value };
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
    const { id } = await ask("POST", "v1/events", publication(target(), $("event-name").value, $("data").value));
    result.classList.remove("bad");
    result.replaceChildren("Accepted as ", make("code", {}, id));
  } catch (error) {
    result.classList.add("bad");
    say(result, error.message);
    forgetIfWrong(error);
  }
});
