// Before a package is packed: builds it anew, so that the archive has no old or missing files, and adds the licences.
// Runs in the directory of the package.

import { spawnSync } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const tsc = fileURLToPath(import.meta.resolve('typescript/bin/tsc'));

rmSync('dist', { recursive: true, force: true });
// The types of @idlewild/react need those of @idlewild/client.
for (const project of new Set([root('clients/js/client'), process.cwd()])) {
  const { status } = spawnSync(process.execPath, [tsc, '-p', project], { stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(1);
}
for (const licence of ['LICENSE-APACHE', 'LICENSE-MIT']) copyFileSync(root(licence), licence);
