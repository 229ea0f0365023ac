
/** The events of a response body, as `{event, id, retry, data}`. Unlike EventSource, this shows events of any name and
 *  works with an Authorization header. It relies on how this server writes events: lines end with a line feed. */
async function* events(body) {
  let rest = "";
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    yield* frames.map(parsed);
  }
}

function parsed(frame) {
  const fields = frame.split("\n").map((line) => {
    const colon = line.indexOf(": ");
    return [line.slice(0, colon), line.slice(colon + 2)];
  });
  const data = fields.filter(([name]) => name === "data").map(([, value]) => value);
  return { ...Object.fromEntries(fields), data: data.join("\n") };
}

/** Safari's streams are not iterable. */
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}
