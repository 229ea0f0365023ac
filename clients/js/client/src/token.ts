// What a JWT says about itself, read without verifying it: the server verifies, the client only plans by it.

export interface TokenClaims {
  /** Milliseconds since 1970, `null` where the token says none. */
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
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims !== 'object' || claims === null) return UNKNOWN;
    const { exp, user_id, sub, session_id, sid } = claims as Record<string, unknown>;
    return {
      expiresAt: typeof exp === 'number' ? exp * 1000 : null,
      user: name(user_id) ?? name(sub),
      session: name(session_id) ?? name(sid),
    };
  } catch {
    // Not a JWT: an opaque token is a token, too.
    return UNKNOWN;
  }
}

function name(claim: unknown): string | null {
  return typeof claim === 'string' || typeof claim === 'number' ? String(claim) : null;
}
