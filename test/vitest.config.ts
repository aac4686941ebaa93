import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

/** The suite of `npm test`. Sources are run through the `source` export condition: no build is needed. */
export default defineConfig({
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    root: import.meta.dirname,
    include: ['**/*.test.ts'],
    exclude: ['**/*.long.test.ts', '**/node_modules/**'],
    // Much of the suite waits for a clock: two files at a time also where there are two cores.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // The programs that tests start are compiled, and stripped of their types, once: they start in half the time.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules/.cache/node') },
    testTimeout: 20_000,
    hookTimeout: 20_000,
    reporters: ['default', './support/closing-line.ts'],
  },
});
