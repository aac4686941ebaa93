import { type ChildProcess, spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startClaudeApi } from '@headgate/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type Packed, pack, run } from './packed.ts';

const PEERS = ['@anthropic-ai/sdk', '@opentelemetry/api'];
const TOOLS = ['typescript@7', '@types/node@24'];

/** What each adapter's README says to install, and no more but types. */
const APPS = [
  { name: 'express', framework: ['express@5', '@types/express@5'] },
  { name: 'express', framework: ['express@4', '@types/express@4'] },
  { name: 'koa', framework: ['koa@3', '@types/koa@3'] },
  { name: 'koa', framework: ['koa@2', '@types/koa@2'] },
  { name: 'fastify', framework: ['fastify@5'] },
];

let packed: Packed;
beforeAll(async () => {
  packed = await pack(['core', 'express', 'koa', 'fastify']);
}, 300_000);
afterAll(() => packed.remove());

async function untilItListens(url: string, app: ChildProcess): Promise<void> {
  while ((await fetch(url).catch(() => undefined)) === undefined) {
    if (app.exitCode !== null) throw new Error(`the sample has ended with ${app.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('from its tarball, in a bare app', () => {
  for (const { name, framework } of APPS) {
    it(`@headgate/${name} installs with ${framework[0]}, type-checks, and its README's sample runs`, async () => {
      const app = await packed.install(['core', name], [...PEERS, ...framework, ...TOOLS]);
      const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
      let sample: ChildProcess | undefined;
      try {
        const readme = await readFile(join(app, `node_modules/@headgate/${name}/README.md`), 'utf8');
        await writeFile(join(app, 'app.ts'), /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? '');
        const flags = ['--strict', '--exactOptionalPropertyTypes', '--noEmit', '--skipLibCheck'];
        const modules = ['--module', 'nodenext', '--target', 'es2023', '--types', 'node'];
        const { stdout } = await run(join(app, 'node_modules/.bin/tsc'), [...flags, ...modules, 'app.ts'], {
          cwd: app,
        }).catch((error: { stdout: string }) => error);
        expect(stdout).toBe('');

        const port = await freePort();
        const url = `http://127.0.0.1:${port}`;
        sample = spawn(process.execPath, ['app.ts'], {
          cwd: app,
          env: { ...process.env, ANTHROPIC_BASE_URL: api.url, ANTHROPIC_API_KEY: 'k', PORT: String(port) },
          stdio: 'inherit',
        });
        await untilItListens(url, sample);
        expect(await (await fetch(`${url}/joke`)).json()).toMatchObject({ type: 'message' });
        expect(await (await fetch(`${url}/joke/stream`)).text()).toContain('event: message_stop');
        expect(await (await fetch(`${url}/report`)).json()).toMatchObject({ type: 'message' });
        const last = api.received.at(-1)?.body as { max_tokens: number };
        expect(last.max_tokens).toBe(100);
        const statuses: number[] = [];
        for (let call = 0; call < 30; call++) statuses.push((await fetch(`${url}/joke`)).status);
        expect(statuses).toContain(429);
      } finally {
        sample?.kill('SIGKILL');
        await api.close();
        await rm(app, { recursive: true });
      }
    });
  }
});
