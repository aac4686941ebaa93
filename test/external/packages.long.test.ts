import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startClaudeApi } from '@headgate/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
const PNPM = ['--yes', 'pnpm@12'];
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

let packed = '';
const tarball = async (name: string) =>
  join(packed, (await readdir(packed)).find((file) => file.startsWith(`headgate-${name}-`)) ?? '');

beforeAll(async () => {
  packed = await mkdtemp(join(tmpdir(), 'headgate-packed-'));
  for (const name of ['core', 'express', 'koa', 'fastify']) {
    const cwd = join(ROOT, 'packages', name);
    await run('npx', [...PNPM, 'run', 'build'], { cwd });
    await run('npx', [...PNPM, 'pack', '--pack-destination', packed], { cwd });
  }
}, 300_000);
afterAll(() => rm(packed, { recursive: true }));

async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function untilItListens(url: string, app: ChildProcess): Promise<void> {
  while ((await fetch(url).catch(() => undefined)) === undefined) {
    if (app.exitCode !== null) throw new Error(`the sample has ended with ${app.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('from its tarball, in a bare app', () => {
  for (const { name, framework } of APPS) {
    it(`@headgate/${name} installs with ${framework[0]}, type-checks, and its README's sample runs`, async () => {
      const app = await mkdtemp(join(tmpdir(), 'headgate-app-'));
      const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
      let sample: ChildProcess | undefined;
      try {
        await writeFile(join(app, 'package.json'), '{ "private": true, "type": "module" }');
        const tarballs = await Promise.all(['core', name].map(tarball));
        const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', ...tarballs];
        await run('npm', [...install, ...PEERS, ...framework, ...TOOLS], { cwd: app });

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
