// Prints the size of the packages in a page, minified and compressed; fails if the client is larger than allowed.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** Slightly more than the size with all features (three transports, sharing, positions), so that growth is a decision. */
const MAX_CLIENT_BYTES = 10_500;

async function weigh(path) {
  const { outputFiles } = await build({
    entryPoints: [path],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react', '@idlewild/client'],
    write: false,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

for (const [name, max] of [['client', MAX_CLIENT_BYTES], ['react', Infinity]]) {
  const bytes = await weigh(`${name}/dist/index.js`);
  console.log(`@idlewild/${name}: ${bytes} bytes minified and compressed`);
  if (bytes > max) {
    console.error(`@idlewild/${name}: more than ${max} bytes`);
    process.exitCode = 1;
  }
}
