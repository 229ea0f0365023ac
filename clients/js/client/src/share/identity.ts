// Decides which tabs may share a stream: those with the same URL, user and session.

import type { Settings } from '../options.js';
import { readClaims } from '../token.js';

/** `null` if the token does not name its user. Such a tab does not share. */
export function sharingKey({ share, url }: Settings, token: string | null): string | null {
  if (share === false) return null;
  const who = typeof share === 'string' ? share : identityOf(token);
  return who === null ? null : `idlewild:${url}:${who}`;
}

function identityOf(token: string | null): string | null {
  if (token === null) return null;
  const { user, session } = readClaims(token);
  return user === null ? null : JSON.stringify([user, session]);
}
