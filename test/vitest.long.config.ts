import { defineConfig } from 'vitest/config';
import short from './vitest.config.ts';

/** The suite of `npm run test:long`: what takes minutes, one file after the other so that none disturbs another's timing. */
export default defineConfig({
  ...short,
  test: {
    ...short.test,
    include: ['**/*.long.test.ts'],
    exclude: ['**/node_modules/**'],
    fileParallelism: false,
    testTimeout: 600_000,
  },
});
