import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startClaudeApi } from '@headgate/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type Packed, pack } from './packed.ts';

const NEST = [
  '@nestjs/common@12.5.1',
  '@nestjs/core@12.5.1',
  '@nestjs/platform-express@12.5.1',
  '@nestjs/platform-fastify@12.5.0',
  'reflect-metadata@0.2.2',
  'rxjs@7.8.2',
];

let packed: Packed;
let folder: string;
beforeAll(async () => {
  packed = await pack(['core', 'express', 'fastify', 'nest']);
  folder = await packed.install(
    ['core', 'express', 'fastify', 'nest'],
    ['@anthropic-ai/sdk@1.14.0', '@opentelemetry/api@1.9.1', 'fastify@5.12.8', 'express@5.3.0', ...NEST],
  );
  await copyFile(join(import.meta.dirname, 'nest/app.mjs'), join(folder, 'app.mjs'));
}, 600_000);
afterAll(async () => {
  await packed?.remove();
  if (folder !== undefined) await rm(folder, { recursive: true });
});

/** The app, with all that it writes. */
async function start(kind: string, by: string) {
  const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
  const app = spawn(process.execPath, ['app.mjs', kind, api.url, by], { cwd: folder });
  let said = '';
  for (const stream of [app.stdout, app.stderr]) stream.on('data', (text) => (said += String(text)));
  while (!/port \d+/.test(said)) {
    if (app.exitCode !== null) throw new Error(`the app has ended: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const url = `http://127.0.0.1:${/port (\d+)/.exec(said)?.[1]}`;
  return {
    api,
    said: () => said,
    get: (path: string, user: string, init: RequestInit = {}) =>
      fetch(url + path, { ...init, headers: { 'x-user': user, 'content-type': 'application/json' } }),
    async stop() {
      app.kill();
      await once(app, 'exit');
      await api.close();
    },
  };
}

describe('NestJS 12', () => {
  it('runs the README’s sample', async () => {
    const readme = await readFile(join(folder, 'node_modules/@headgate/nest/README.md'), 'utf8');
    await writeFile(join(folder, 'sample.ts'), /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? '');
    const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
    const port = await freePort();
    const env = { ...process.env, ANTHROPIC_BASE_URL: api.url, ANTHROPIC_API_KEY: 'k', PORT: String(port) };
    const sample = spawn(process.execPath, ['sample.ts'], { cwd: folder, env, stdio: 'ignore' });
    try {
      const ask = () => fetch(`http://127.0.0.1:${port}/joke`);
      await vi.waitFor(async () => expect((await ask()).status).toBe(200), 20_000);
      const statuses: number[] = [];
      for (let n = 0; n < 31; n++) statuses.push((await ask()).status);
      expect(new Set(statuses)).toEqual(new Set([200, 429]));
    } finally {
      sample.kill('SIGKILL');
      await api.close();
    }
  });

  for (const kind of ['express', 'fastify']) {
    for (const by of ['global', 'provider']) {
      // Was: 500, and a stack in the log.
      it(`on the ${kind} adapter answers refusals as they are (filter: ${by}), and logs none of them`, async () => {
        const app = await start(kind, by);
        try {
          for (const [path, init] of [
            ['/create', {}],
            ['/post', { method: 'POST', body: '{"a":1}' }],
            ['/helper', {}],
          ] as const) {
            expect((await app.get(path, path, init)).ok, path).toBe(true);
            const refused = await app.get(path, path, init);
            expect(refused.status, path).toBe(429);
            expect(Number(refused.headers.get('retry-after')), path).toBeGreaterThan(0);
            expect(refused.headers.get('ratelimit'), path).toMatch(/^"once";r=0;t=\d+$/);
            expect(refused.headers.get('content-type'), path).toContain('application/json');
            expect(await refused.json(), path).toMatchObject({
              type: 'error',
              error: { type: 'rate_limit_error', details: { error_code: 'headgate_quota_exceeded' } },
            });
          }
          expect(await (await app.get('/events', 'sse')).text()).toContain('data: msg_');
          const refused = await app.get('/events', 'sse');
          expect([refused.status, await refused.text()]).toEqual([
            expect.any(Number),
            expect.stringMatching(/quota .*used up/),
          ]);
          expect(app.said().replace(/port \d+\n/, '')).toBe('');
          // What is none of Headgate's stays Nest's.
          const broken = await app.get('/broken', 'x');
          expect([broken.status, await broken.json()]).toEqual([
            500,
            expect.objectContaining({ statusCode: 500 }),
          ]);
          await vi.waitFor(() => expect(app.said()).toContain('broken'), 5_000);
          expect((await app.get('/nowhere', 'x')).status).toBe(404);
        } finally {
          await app.stop();
        }
      });
    }
  }
});
