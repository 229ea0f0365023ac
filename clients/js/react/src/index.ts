'use client';

export type { SSEError } from './sse-error.js';
export { SSEManager, type SSEManagerProps } from './sse-manager.js';
export { SSETest, type SSETestProps } from './sse-test.js';
export { useSSE, type SSEState, type UseSSEOptions } from './use-sse.js';
