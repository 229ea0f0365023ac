
/** The JSON of what was typed as an event's data. JSON stays as it is, because parsing it would cut large numbers.
 *  Anything else becomes a string. */
function payload(text) {
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(text);
  }
}

/** The body of a request that publishes. */
function publication(to, event, data) {
  return `${JSON.stringify({ to, event }).slice(0, -1)},"data":${payload(data)}}`;
}
