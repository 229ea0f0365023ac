import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  // Tests run on the sources, so that a stale build cannot be tested by mistake.
  resolve: { alias: { '@idlewild/client': source('client/src/index.ts') } },
  // The timeouts fail a test that hangs, but not one on a busy machine.
  test: { include: ['{client,react}/test/**/*.test.{ts,tsx}'], testTimeout: 120_000, hookTimeout: 60_000, maxConcurrency: 20 },
});
