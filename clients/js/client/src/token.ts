// Reads the claims of a JWT without verifying it. The server verifies; the client only needs them to plan.

export interface TokenClaims {
  /** Milliseconds since 1970; `null` if the token has no `exp`. */
  readonly expiresAt: number | null;
  readonly user: string | null;
  readonly session: string | null;
}

const UNKNOWN: TokenClaims = { expiresAt: null, user: null, session: null };

export function readClaims(token: string): TokenClaims {
  const payload = token.split('.')[1];
  if (payload === undefined) return UNKNOWN;
  try {
    const binary = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
    // Not TextDecoder, which React Native may not have.
    const text = decodeURIComponent(binary.replace(/[^]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`));
    const claims: unknown = JSON.parse(text);
    if (typeof claims !== 'object' || claims === null) return UNKNOWN;
    const { exp } = claims as Record<string, unknown>;
    const { user_id, sub, session_id, sid } = JSON.parse(quoteNumbers(text)) as Record<string, unknown>;
    return {
      expiresAt: typeof exp === 'number' ? exp * 1000 : null,
      user: name(user_id) ?? name(sub),
      session: name(session_id) ?? name(sid),
    };
  } catch {
    // Not a JWT, but an opaque token, which is allowed.
    return UNKNOWN;
  }
}

/** The same JSON with every number in quotes. As numbers, two different ids above 2^53 could become equal. */
function quoteNumbers(json: string): string {
  return json.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (token) => (token.startsWith('"') ? token : `"${token}"`));
}

function name(claim: unknown): string | null {
  return typeof claim === 'string' ? claim : null;
}
