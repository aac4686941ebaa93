import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { startClaudeApi } from '@headgate/testing';
import { expect, it, onTestFinished } from 'vitest';

/** A script of its own, with nothing in it that would keep it alive but its calls. */
async function runScript(config: object, calls: number, url: string) {
  const script = `
    import Anthropic from '@anthropic-ai/sdk';
    import { createGovernor } from '@headgate/core';
    const governor = createGovernor({ config: ${JSON.stringify(config)} });
    const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: '${url}' }));
    const ask = { model: 'claude-sonnet-4-6', max_tokens: 10, messages: [{ role: 'user', content: 'x' }] };
    const answers = await Promise.all(Array.from({ length: ${calls} }, () => claude.messages.create(ask)));
    console.log(answers.length);
  `;
  return promisify(execFile)(
    process.execPath,
    ['--conditions=source', '--input-type=module', '--eval', script],
    { cwd: import.meta.dirname },
  );
}

async function start() {
  const api = await startClaudeApi({
    latency: { timeToFirstTokenMs: 1, tokensPerSecond: 10_000, flushMs: 1 },
  });
  onTestFinished(() => api.close());
  return api;
}

it('a script lives as long as its calls wait for their turn, and no longer', async () => {
  const api = await start();
  const account = [{ name: 's', models: ['*'], requestsPerMinute: 120, burst: 1 / 120 }];
  expect((await runScript({ account }, 3, api.url)).stdout).toBe('3\n');
});

it('and while one waits between two attempts', async () => {
  const api = await start();
  api.inject({ kind: 'status', status: 529, headers: { 'retry-after': '1', connection: 'close' } });
  expect((await runScript({}, 1, api.url)).stdout).toBe('1\n');
});
