import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noPostgres, type PostgresServer, startPostgres } from '../support/postgres.ts';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import type { Case } from './context/cases.ts';
import { LOST } from './context/lost.ts';
import { QUEUES } from './context/queues.ts';
import { SHARED, withRecipe } from './context/shared.ts';
import { type Fate, hand, USERS } from './context/world.ts';
import { run } from './packed.ts';

/**
 * Where other libraries run the task of one request in the context of another, or in none: with the real packages, at
 * the versions of the table in docs/caller-and-context.md. Without the recipe the wrong one is charged, which shows that
 * the case is one; with it everybody pays for himself.
 */
const CASES: readonly Case[] = [...QUEUES, ...SHARED, ...LOST];
const SDK = '@anthropic-ai/sdk@1.14.0';
const EACH = { a: 1, b: 1, c: 1 };
const TENANTS = { 'tenant of a': 1, 'tenant of b': 1, 'tenant of c': 1 };

const skips = { redis: noRedis(), postgres: noPostgres() };
let folder: string;
let load: (name: string) => Promise<Record<string, any>>;
let redis: RedisServer | undefined;
let postgres: PostgresServer | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headgate-context-'));
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const specs = new Set([SDK, ...CASES.flatMap(({ packages }) => packages)]);
  // Their peers are as they will be, and none of them is used.
  const flags = ['--no-audit', '--no-fund', '--prefer-offline', '--legacy-peer-deps'];
  await run('npm', ['install', ...flags, ...specs], { cwd: folder });
  // Among the packages, so that Node alone loads what it imports.
  const loader = join(folder, 'node_modules/loader');
  await mkdir(loader);
  await writeFile(join(loader, 'index.mjs'), 'export const load = (name) => import(name);');
  ({ load } = await import(pathToFileURL(join(loader, 'index.mjs')).href));
  if (!skips.redis) redis = await startRedis({});
  if (!skips.postgres) postgres = await startPostgres();
}, 600_000);
afterAll(async () => {
  await redis?.stop();
  await postgres?.stop();
  await rm(folder, { recursive: true, force: true });
});

const handing = (make: Case['plain'], fate: Fate = 'answered') =>
  hand(make, { load, fate, redisUrl: redis?.url ?? '', postgresUrl: postgres?.url ?? '' });

for (const each of CASES) {
  const { name, whose, warned = [], needs, isShared = false, isTraceless = false } = each;
  describe.skipIf(needs !== undefined && skips[needs])(name, () => {
    const recipe = withRecipe(each);

    it(`a call is ${whose}${warned.length === 0 ? '' : `, which is told by ${warned.join()}`}`, async () => {
      const { usage, tenants, warnings, inTraceOfAnother } = await handing(each.plain);
      if (whose === 'its own') {
        expect([usage, tenants, inTraceOfAnother]).toEqual([EACH, TENANTS, []]);
        expect(warnings).toEqual([]);
        return;
      }
      expect(usage).not.toEqual(EACH);
      expect(Object.keys(usage)).toContain(whose === 'nobody’s' ? 'anonymous' : 'a');
      for (const code of warned) {
        const said = warnings.filter((warning) => warning.includes(`[${code}]`));
        expect(said).toHaveLength(1);
        expect(said[0]).toMatch(/world\.ts:\d+:\d+/);
      }
    });

    if (isShared) {
      it('one call serves all, and who came first pays for it', async () => {
        const { usage, traced } = await handing(each.plain);
        expect([usage, traced]).toEqual([{ a: 1 }, ['a']]);
      });
      return;
    }

    it('by the recipe each user is charged, and traced', async () => {
      const { usage, tenants, traced, inTraceOfAnother } = await handing(recipe);
      expect(usage).toEqual(EACH);
      expect(tenants).toEqual(TENANTS);
      expect(inTraceOfAnother).toEqual([]);
      if (!isTraceless) expect(traced).toEqual([...USERS]);
    });

    for (const fate of ['hangs up', 'deadline'] as const) {
      it(`by the recipe the ${fate === 'deadline' ? 'deadline' : 'hang-up'} of one ends no call of another`, async () => {
        const { usage, statuses } = await handing(recipe, fate);
        expect([statuses.b, statuses.c]).toEqual([200, 200]);
        expect(usage).toMatchObject({ b: 1, c: 1 });
      });
    }
  });
}
