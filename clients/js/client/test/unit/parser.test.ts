import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventStreamParser, type ParsedEvent } from '../../src/parser.js';
import { parseWhole } from '../support/naive-parser.js';

const encoder = new TextEncoder();

interface Parsed {
  readonly events: ParsedEvent[];
  readonly positions: string[];
  readonly retries: number[];
  readonly oversized: (string | undefined)[];
}

function parseChunks(chunks: Iterable<Uint8Array>, limit?: number): Parsed {
  const parsed: Parsed = { events: [], positions: [], retries: [], oversized: [] };
  const parser = new EventStreamParser(
    {
      event: (event) => parsed.events.push(event),
      position: (id) => parsed.positions.push(id),
      retry: (milliseconds) => parsed.retries.push(milliseconds),
      oversized: (id) => parsed.oversized.push(id),
    },
    limit,
  );
  for (const chunk of chunks) parser.push(chunk);
  return parsed;
}

const parse = (text: string, limit?: number) => parseChunks([encoder.encode(text)], limit);

/** Streams made of the parts that matter to the grammar, so that its rules often interact. */
const text = fc
  .array(
    fc.constantFrom(
      'data', 'data: ', 'data:', 'event: ', 'id: ', 'id', 'retry: ', ':', ' ', '\n', '\r', '\r\n', '\n\n', '\0', '7', 'x', 'é', '😀',
      '\uFEFF', 'message', '1700000000000-0',
    ),
    { maxLength: 60 },
  )
  .map((parts) => parts.join(''));

const cut = (bytes: Uint8Array, places: readonly number[]) => {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
};

describe('the parser', () => {
  it('reads any stream, split anywhere, like a parser that has the whole text', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(), { maxLength: 20 }), (stream, places) => {
        const bytes = encoder.encode(stream);
        expect(parseChunks(cut(bytes, places))).toEqual(parseWhole(bytes));
      }),
      { numRuns: 3_000 },
    );
  });

  it('reads any bytes, UTF-8 or not, alike byte by byte and at once', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        expect(parseChunks(cut(bytes, bytes.map((_, index) => index) as unknown as number[]))).toEqual(parseWhole(bytes));
      }),
      { numRuns: 1_000 },
    );
  });

  it('drops events that are too large, however they are split, and keeps all others', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(), { maxLength: 20 }), fc.integer({ min: 8, max: 24 }), (stream, places, limit) => {
        const bytes = encoder.encode(stream);
        expect(parseChunks(cut(bytes, places), limit)).toEqual(parseWhole(bytes, limit));
      }),
      { numRuns: 3_000 },
    );
  });

  it('joins the lines of data, and names an event without a name `message`', () => {
    expect(parse('data: a\ndata:b\ndata\n\n').events).toEqual([{ event: 'message', data: 'a\nb\n', id: undefined }]);
  });

  it('removes a byte order mark at the start, and only there', () => {
    expect(parse('\uFEFFdata: a\n\n\uFEFFdata: b\n\n').events).toHaveLength(1);
  });

  it('ignores comments, unknown fields, an id with NUL, and a retry that is not all digits', () => {
    const { events, retries } = parse(': hi\nfoo: 1\nid: 1\0\nretry: 1s\nretry: -1\nretry: 250\ndata: x\n\n');
    expect(events).toEqual([{ event: 'message', data: 'x', id: undefined }]);
    expect(retries).toEqual([250]);
  });

  it('does not deliver an event that is incomplete at the end of the stream', () => {
    expect(parse('data: a\n\ndata: b\n').events).toHaveLength(1);
  });

  it('distinguishes an empty id from none', () => {
    expect(parse('id: 5-0\ndata: a\n\ndata: b\n\nid:\ndata: c\n\nid\ndata: d\n\n').events.map(({ id }) => id)).toEqual(['5-0', undefined, '', '']);
  });

  it('reports the id of a block without data at once, and does not add it to the next event', () => {
    const { events, positions } = parse('id: 5-0\nretry: 9\n\nid:\n\ndata: a\n\n');
    expect(positions).toEqual(['5-0', '']);
    expect(events).toEqual([{ event: 'message', data: 'a', id: undefined }]);
  });

  it('reports the id of a dropped event, so that the client can continue after it', () => {
    const { events, oversized } = parse(`id: 5-0\ndata: ${'x'.repeat(100)}\n\nid: 6-0\ndata: y\n\n`, 50);
    expect(oversized).toEqual(['5-0']);
    expect(events).toEqual([{ event: 'message', data: 'y', id: '6-0' }]);
  });
});
