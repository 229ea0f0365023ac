// Before a package is packed: builds it anew, so that the archive has no old or missing files, adds the licences, and
// makes the links in its README absolute, because a registry has only this one page. Runs in the package's directory;
// `postpack.js` brings the README back.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

const { homepage, repository } = JSON.parse(readFileSync('package.json', 'utf8'));
const directory = `${homepage}/blob/main/${repository.directory}/`;
const withAbsoluteLinks = (text) =>
  text.replace(/\]\((?!#|https?:)([^)]+)\)/g, (_, link) => `](${new URL(link, directory).href})`);

// If npm was interrupted the last time, the copy is the original, unless somebody has edited the README since.
const readme = readFileSync('README.md', 'utf8');
const wasInterrupted = existsSync('.README.md') && withAbsoluteLinks(readFileSync('.README.md', 'utf8')) === readme;
if (!wasInterrupted) copyFileSync('README.md', '.README.md');
writeFileSync('README.md', withAbsoluteLinks(readFileSync('.README.md', 'utf8')));
