// A second, simple parser: reads the whole stream at once, line by line. Tests compare with it.

import type { ParsedEvent } from '../../src/parser.js';

export function parseWhole(bytes: Uint8Array, limit = Infinity) {
  const events: ParsedEvent[] = [];
  const positions: string[] = [];
  const retries: number[] = [];
  const oversized: (string | undefined)[] = [];
  // For a client, a stream has no end, so an incomplete character there is not text yet.
  const lines = new TextDecoder().decode(bytes, { stream: true }).split(/\r\n|\r|\n/);
  lines.pop();
  let data: string[] = [];
  let chars = 0;
  let event = '';
  let id: string | undefined;
  let tooLarge = false;
  for (const line of lines) {
    if (line.length > limit) {
      tooLarge = true;
    } else if (line === '') {
      if (tooLarge) oversized.push(id);
      else if (data.length > 0) events.push({ event: event || 'message', data: data.join('\n'), id });
      else if (id !== undefined) positions.push(id);
      id = undefined;
      data = [];
      chars = 0;
      event = '';
      tooLarge = false;
    } else {
      const [, name, value] = /^([^:]*)(?:: ?([^]*))?$/.exec(line) ?? [];
      const text = value ?? '';
      if (name === 'data') {
        data.push(text);
        chars += text.length + 1;
        tooLarge ||= chars > limit;
      }
      if (name === 'event') event = text;
      if (name === 'id' && !text.includes('\0')) id = text;
      if (name === 'retry' && /^\d+$/.test(text)) retries.push(Number(text));
    }
  }
  return { events, positions, retries, oversized };
}
