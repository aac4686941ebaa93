import { defineConfig } from 'vitest/config';

/** The suite of `npm test`. Sources are run through the `source` export condition: no build is needed. */
export default defineConfig({
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    exclude: ['**/*.long.test.ts', '**/node_modules/**'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    reporters: ['default', './support/closing-line.ts'],
  },
});
