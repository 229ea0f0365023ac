// Which tabs may share a stream: those with the same address, the same user and the same session.

import type { Settings } from '../options.js';
import { readClaims } from '../token.js';

/** `null` where the token does not tell whose it is: such a tab shares with nobody. */
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
