import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { noServer } from '../../support/redis.ts';

/** Programs that a ledger can be kept in, beside the usual one: `REDIS_SERVERS="valkey-server /opt/redis-6.2/redis-server"`. */
const SERVERS = (process.env.REDIS_SERVERS ?? 'valkey-server').split(' ');
const VITEST = dirname(createRequire(import.meta.url).resolve('vitest/package.json'));

for (const server of SERVERS) {
  describe.skipIf(noServer(server))(`on ${server}`, () => {
    it('all that stores are asked for holds', () => {
      const args = [join(VITEST, 'vitest.mjs'), 'run', '--config', 'vitest.config.ts', 'conformance/stores'];
      const { REDIS_URL: _, ...env } = process.env;
      const run = spawnSync(process.execPath, args, {
        cwd: join(import.meta.dirname, '../..'),
        env: { ...env, REDIS_SERVER: server },
        encoding: 'utf8',
      });
      const told = `${run.stdout}${run.stderr}`;
      expect(run.status, told).toBe(0);
      expect(told).toMatch(/\b[1-9]\d* passed, 0 failed, 0 skipped/);
    });
  });
}
