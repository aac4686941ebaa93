import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
/** The oldest Node that the packages allow, where contexts are still kept by async hooks. */
const OLDEST = '22.15.0';

it(`every adapter does the same on Node ${OLDEST}`, async () => {
  const suite =
    'node_modules/vitest/vitest.mjs run --config test/vitest.config.ts conformance/adapters flow/context core/door';
  const command = `node --version && node ${suite}`;
  const { stdout } = await promisify(execFile)('npx', ['-y', '-p', `node@${OLDEST}`, '-c', command], {
    cwd: ROOT,
    maxBuffer: 16 * 1024 * 1024,
  }).catch((error: { stdout: string }) => error);
  expect(stdout).toContain(`v${OLDEST}`);
  expect(stdout).toMatch(/\d{3} passed, 0 failed/);
});
