import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startClaudeApi } from '@headgate/testing';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startMuteApi } from '../support/mute-api.ts';
import { noRedis, startRedis } from '../support/redis.ts';
import { type Packed, pack, run } from './packed.ts';
import { OURS, RUNTIMES, THEIRS } from './runtimes.ts';

let packed: Packed;
let app: string;
beforeAll(async () => {
  packed = await pack(OURS);
  app = await packed.install(OURS, [...THEIRS, ...Object.values(RUNTIMES).map(({ spec }) => spec)]);
  for (const script of ['edges.mjs', 'doors.mjs', 'fleet.mjs'])
    await copyFile(join(import.meta.dirname, 'runtimes', script), join(app, script));
}, 600_000);
afterAll(async () => {
  await packed?.remove();
  if (app !== undefined) await rm(app, { recursive: true });
});

/** What a script tells, by scene. */
async function tell(
  [program = '', ...flags]: readonly string[],
  script: string,
  env: Readonly<Record<string, string>>,
): Promise<Record<string, unknown>> {
  const { stdout } = await run(join(app, 'node_modules', program), [...flags, script], {
    cwd: app,
    env: { ...process.env, ...env },
    timeout: 300_000,
  });
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return Object.fromEntries(
    lines.map((line) => {
      const { scene, ...told } = JSON.parse(line) as { scene: string };
      return [scene, told];
    }),
  );
}

const ENDS = {
  deadline: 'AbortedError/deadline/504',
  'caller signal': 'AbortedError/aborted/499',
  'client hangs up': 'AbortedError/aborted/499',
  'governor closes': 'AbortedError/closed/503',
};
const KINDS = ['JSON', 'create with stream: true', 'stream', 'for await of stream'];

describe.each(Object.entries(RUNTIMES))('%s', (_, { command, version }) => {
  it(`is ${version}`, async () => {
    const [program = ''] = command;
    const { stdout } = await run(join(app, 'node_modules', program), ['--version']);
    expect(stdout).toContain(version);
  });

  // Was: APIConnectionError for JSON; and on Deno a stream that is read went on after a garbage collection.
  it('ends a call in flight with the HeadgateError itself, however it ends, and lets go of it', async () => {
    const api = await startMuteApi();
    const told = await tell(command, 'edges.mjs', { API_URL: api.url });
    const expected = Object.entries(ENDS).flatMap(([end, outcome]) =>
      [...KINDS.flatMap((kind) => ['unanswered', 'begun'].map((at) => `${kind}, ${at}`)), 'collected'].map(
        (scene) => [`${scene}, ${end}`, { outcome, isHeld: false, ms: expect.any(Number) }] as const,
      ),
    );
    expect(expected).toHaveLength(36);
    expect(told).toEqual(Object.fromEntries(expected));
  });

  it('serves JSON, streams and refusals through every door, and keeps counters in SQLite', async () => {
    const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
    onTestFinished(() => api.close());
    const folder = await mkdtemp(join(tmpdir(), 'headgate-runtime-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const served = {
      json: [200, 'message'],
      stream: [200, true],
      refused: [429, 'rate_limit_error', true],
      limit: true,
    };
    expect(await tell(command, 'doors.mjs', { API_URL: api.url, FOLDER: folder })).toEqual({
      express: served,
      koa: served,
      fastify: served,
      sqlite: { outcomes: ['message', 'message', 'user_quota'] },
    });
  });

  it.skipIf(noRedis())('shares a quota and a slot over Redis, by ioredis and by redis', async () => {
    const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
    onTestFinished(() => api.close());
    const redis = await startRedis({ own: true });
    onTestFinished(() => redis.stop());
    const shared = {
      outcomes: ['message', 'message', 'user_quota'],
      slot: ['message', 'message'],
      lost: [],
    };
    expect(await tell(command, 'fleet.mjs', { API_URL: api.url, REDIS_URL: redis.url })).toEqual({
      ioredis: shared,
      redis: shared,
    });
  });
});
