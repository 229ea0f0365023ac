
/** The element with an id. */
const $ = (id) => document.getElementById(id);

/** A new element with properties and children. Text stays text and never becomes markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Sets a text if it has changed, so that screen readers do not repeat it. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a state as text and colour: "good", "warn", "bad" or none. */
function mark(pill, state, text) {
  pill.className = state ? `pill is-${state}` : "pill";
  say(pill, text);
}
