
/** The element of an id. */
const $ = (id) => document.getElementById(id);

/** A new element with properties, and children that are elements or texts; never markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Sets a text where it is another, so that what did not change is not read out again. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A state in words and colour: "good", "warn", "bad" or none. */
function mark(pill, state, text) {
  pill.className = state ? `pill is-${state}` : "pill";
  say(pill, text);
}
