import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  // Tests run on the sources, so that a stale build never answers for them.
  resolve: { alias: { '@idlewild/client': source('client/src/index.ts') } },
  // What hangs fails; a machine that is busy with other things does not.
  test: { include: ['{client,react}/test/**/*.test.{ts,tsx}'], testTimeout: 120_000, hookTimeout: 60_000, maxConcurrency: 20 },
});
