import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createGovernor } from '@headgate/core';
import { createDoor } from '@headgate/core/http';
import { expect, it, onTestFinished, vi } from 'vitest';
import { ask, MODEL } from '../support/ask.ts';

const CORE = join(import.meta.dirname, '../../packages/core');

it('a governor of one copy of the package serves a door of another (it was no governor there)', async () => {
  const folder = mkdtempSync(join(CORE, 'copy-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  cpSync(join(CORE, 'src'), folder, { recursive: true });
  writeFileSync(
    join(folder, 'app.ts'),
    `
    import { createServer } from 'node:http';
    import { createGovernor } from '../src/index.ts';
    import { createDoor, withRoute } from './http/index.ts';
    import { findHeadgateError } from './index.ts';
    const governor = createGovernor({ config: { quotas: [{ name: 'q', requests: '1/day' }] } });
    const door = createDoor(governor, { caller: () => ({ user: 'ada' }) }, {
      raw: (request, response) => ({ request, response }),
      route: () => '/ask',
    });
    const answer = { type: 'message', model: 'claude-haiku-4-5', usage: { input_tokens: 1, output_tokens: 1 } };
    const fetch = governor.fetch({ fetch: async () => Response.json(answer) });
    const body = JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 9, messages: [] });
    const call = () => fetch('https://api.anthropic.com/v1/messages', { method: 'POST', body });
    const server = createServer((request, response) =>
      door(request, [request, response], async () => {
        const end = await withRoute(request, { lane: 'interactive' }, () => call().then((got) => got.json()).catch((error) => error));
        response.end(findHeadgateError(end)?.code ?? 'answered');
      }),
    ).listen(0, '127.0.0.1', async () => {
      const url = 'http://127.0.0.1:' + server.address().port;
      const said = [await (await globalThis.fetch(url)).text(), await (await globalThis.fetch(url)).text()];
      console.log(said.join(), governor.usage({ by: 'user' }).rows?.[0]?.key ?? (await governor.usage({ by: 'user' })).rows[0].key);
      process.exit(0);
    });`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=source',
    join(folder, 'app.ts'),
  ]);
  expect(stdout).toContain('answered,quota_exceeded ada');
});

it('a governor of a copy that cannot be worked with is named with both versions', () => {
  const governor = createGovernor({ logger: { info() {}, warn() {}, error() {} } });
  const older = {
    ...governor,
    [Symbol.for('headgate.internals')]: { contract: 0, version: '0.0.9', internals: {} },
  };
  expect(() => createDoor(older as never, {}, {} as never)).toThrow(/0\.0\.9, and this is \d+\.\d+\.\d+/);
  expect(() => createDoor({} as never, {}, {} as never)).toThrow(
    'expected a governor made by createGovernor',
  );
});

it("a waiting call is let in by a test framework's fake timers (it never was)", async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const governor = createGovernor({
    config: {
      account: [{ name: 's', models: ['claude-*'], requestsPerMinute: 1, burst: 1 }],
      lanes: { chat: { maxWait: '5m' } },
    },
    logger: { info() {}, warn() {}, error() {} },
  });
  const answer = { type: 'message', model: MODEL, usage: { input_tokens: 1, output_tokens: 1 } };
  const fetch = governor.fetch({ fetch: async () => Response.json(answer) });
  const call = async () => {
    const response = await fetch('https://api.anthropic.com/v1/messages', {
      method: 'POST',
      body: JSON.stringify(ask()),
    });
    return ((await response.json()) as { type: string }).type;
  };
  expect(await call()).toBe('message');
  const waiting = call();
  expect(await Promise.race([waiting, vi.advanceTimersByTimeAsync(30_000).then(() => 'waits')])).toBe(
    'waits',
  );
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await waiting).toBe('message');
  await governor.close({ drainMs: 0 });
});
