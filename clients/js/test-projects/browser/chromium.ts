// Opens a page in a Chromium of its own.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const OPTIONS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--no-first-run'];

/** Returns what closes it. */
export function openPage(url: string): () => Promise<void> {
  const profile = mkdtempSync(join(tmpdir(), 'idlewild-page-'));
  // In a process group, because Chromium starts others.
  const browser = spawn(process.env.CHROMIUM ?? 'chromium', [...OPTIONS, `--user-data-dir=${profile}`, url], {
    stdio: 'ignore', detached: true,
  });
  const ended = new Promise<void>((resolve) => {
    browser.once('exit', () => { resolve(); });
    browser.once('error', () => { resolve(); });
  });
  return async () => {
    if (browser.pid !== undefined && browser.exitCode === null && browser.signalCode === null) process.kill(-browser.pid, 'SIGKILL');
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  };
}
