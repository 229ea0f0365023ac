import { describe, expect, it } from 'vitest';
import { MAX_BACKOFF_MS, MAX_RETRY_AFTER_MS, parseRetryAfter, waitMs } from '../../src/backoff.js';
import { isAfter } from '../../src/event-id.js';
import { readClaims } from '../../src/token.js';
import { jwt } from '../support/world.js';

const wait = (failures: number, retryMs: number | null, retryAfterMs: number | null, random: number) =>
  waitMs({ failures, retryMs, retryAfterMs, random: () => random });

describe('the wait before the next attempt', () => {
  it('is the value that the server chose, when an open stream ends', () => {
    expect(wait(0, 3210, null, 0.1)).toBe(3210);
  });

  it('is not zero, even if the server sends `retry: 0`', () => {
    expect(wait(0, 0, null, 0)).toBeGreaterThan(0);
    expect(wait(3, 0, null, 0.5)).toBeGreaterThan(0);
  });

  it('is random, with a range that doubles with every failure, up to the limit', () => {
    expect([1, 2, 3, 4].map((failures) => wait(failures, 1000, null, 1))).toEqual([2000, 4000, 8000, 16000]);
    expect(wait(2, 1000, null, 0.25)).toBe(1000);
    expect(wait(500, 1000, null, 1)).toBe(MAX_BACKOFF_MS);
  });

  it('is never shorter than Retry-After, with random jitter on top', () => {
    expect(wait(5, 1000, 7000, 0)).toBe(7000);
    expect(wait(0, 1000, 7000, 0.5)).toBe(7500);
    expect(wait(0, 1000, 86_400_000, 0)).toBe(MAX_RETRY_AFTER_MS);
  });
});

describe('Retry-After', () => {
  it('is seconds or a date', () => {
    expect(parseRetryAfter('12', 0)).toBe(12_000);
    expect(parseRetryAfter('Thu, 01 Jan 1970 00:00:30 GMT', 10_000)).toBe(20_000);
    expect(parseRetryAfter('Thu, 01 Jan 1970 00:00:30 GMT', 90_000)).toBe(0);
    expect(parseRetryAfter('soon', 0)).toBeNull();
    expect(parseRetryAfter(null, 0)).toBeNull();
  });
});

describe('the order of ids', () => {
  it('compares milliseconds, then sequence, as numbers', () => {
    expect(isAfter('1700000000000-10', '1700000000000-9')).toBe(true);
    expect(isAfter('1700000000001-0', '1700000000000-9')).toBe(true);
    expect(isAfter('999999999999-0', '1700000000000-0')).toBe(false);
    expect(isAfter('1700000000000-9', '1700000000000-9')).toBe(false);
    expect(isAfter('1700000000000-0', null)).toBe(true);
  });

  it('is unknown for ids of another format, which are only equal or different', () => {
    expect(isAfter('a', 'b')).toBe(true);
    expect(isAfter('b', 'b')).toBe(false);
  });
});

describe('the claims of a token', () => {
  it('are read from its payload, in any alphabet', () => {
    expect(readClaims(jwt({ exp: 17, user_id: 42, session_id: 's' }))).toEqual({ expiresAt: 17_000, user: '42', session: 's' });
    const payload = Buffer.from(JSON.stringify({ sub: 'Zoë 😀??>>' })).toString('base64url');
    expect(readClaims(`e30.${payload}.x`)).toEqual({ expiresAt: null, user: 'Zoë 😀??>>', session: null });
  });

  it('keep every digit of a number, unlike a double', () => {
    const token = (payload: string) => `e30.${Buffer.from(payload).toString('base64url')}.x`;
    for (const id of ['9007199254740993', '9007199254740992', '18446744073709551615', '-42', '0']) {
      expect(readClaims(token(`{"exp": 17, "user_id": ${id}, "session_id": ${id}}`))).toEqual({ expiresAt: 17_000, user: id, session: id });
    }
    const tricky = token('{"name": "a\\"user_id\\": 7 \\\\", "n": [1.5e+3, -0, {"user_id": 8}], "user_id":9007199254740993 }');
    expect(readClaims(tricky).user).toBe('9007199254740993');
    expect(readClaims(token('{"user_id": "9007199254740993", "exp": "17"}'))).toEqual({ expiresAt: null, user: '9007199254740993', session: null });
    expect(readClaims(token('{"user_id": null, "sub": true}')).user).toBeNull();
  });

  it('are unknown for a token that is not a JWT', () => {
    for (const token of ['opaque', 'a.b.c', 'e30.bnVsbA.x', '..']) {
      expect(readClaims(token)).toEqual({ expiresAt: null, user: null, session: null });
    }
  });
});
