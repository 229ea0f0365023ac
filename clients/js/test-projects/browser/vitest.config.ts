import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['test-projects/browser/*.test.ts'], testTimeout: 150_000, hookTimeout: 60_000 } });
