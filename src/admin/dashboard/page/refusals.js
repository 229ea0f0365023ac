
/** The recent refusals, filtered by reason and by text. */
const recent = {
  refusals: [],

  show(refusals) {
    this.refusals = refusals;
    for (const option of $("refusals-reason").options) {
      const { length } = refusals.filter(({ reason }) => !option.value || reason === option.value);
      say(option, `${REFUSED[option.value] ?? "All reasons"} (${length})`);
    }
    this.draw();
  },

  draw() {
    const wanted = $("refusals-reason").value;
    const text = $("refusals-text").value.trim().toLowerCase();
    const shown = this.refusals.filter(({ reason, ...refusal }) => (!wanted || reason === wanted)
      && [refusal.remote, refusal.user, refusal.text].some((field) => field?.toLowerCase().includes(text)));
    $("no-refusals").hidden = shown.length > 0;
    say($("no-refusals"), this.refusals.length ? "No refusal matches the filter." : "No stream has been refused.");
    $("refusals").replaceChildren(...shown.map(refusalRow));
  },
};

function refusalRow({ at, reason, text, status, remote, user, more }) {
  const response = make("td", { title: `reason="${reason}"` }, text);
  if (more) response.append(make("span", { className: "more" }, ` and ${count(more)} more`));
  return make("tr", {},
    make("td", { title: at }, clockTime.format(new Date(at))),
    make("td", {}, status ? `${status}` : "–"),
    response,
    make("td", { className: "mono" }, remote),
    user === null ? make("td", { className: "quiet" }, "–") : userCell(user));
}

function userCell(user) {
  const find = make("button", { className: "is-plain mono", title: "Find this user" }, user);
  find.addEventListener("click", async () => {
    await findUser(user);
    $("user").scrollIntoView({ block: "center" });
  });
  return make("td", { className: "id" }, find);
}

$("refusals-reason").append(...["", ...Object.keys(REFUSED)].map((value) => make("option", { value })));
$("refusals-reason").addEventListener("change", () => recent.draw());
$("refusals-text").addEventListener("input", () => recent.draw());
