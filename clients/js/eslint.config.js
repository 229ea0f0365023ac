import js from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['test-projects/{html,next,node,shared,vite}/**', '**/dist/**', '**/node_modules/**'] },
  js.configs.recommended,
  {
    files: ['**/*.{ts,tsx}'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      'no-console': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { ignoreRestSiblings: true }],
      // Numbers are safe in a URL or a message.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  { files: ['**/src/**'], rules: { 'no-console': 'error', 'no-restricted-globals': ['error', 'setTimeout', 'clearTimeout', 'document', 'window', 'navigator', 'fetch', 'EventSource', 'WebSocket', 'BroadcastChannel'] } },
  { files: ['client/src/environment.ts', 'react/src/**'], rules: { 'no-restricted-globals': 'off' } },
  { files: ['scripts/*.js'], languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } } },
);
