import { execFile } from 'node:child_process';
import { startClaudeApi } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';

/** A script that does nothing but wait: for a batch, or for its turn in a queue. Its exit code is 13 where it ends in the midst. */
const SCRIPT = (url: string, body: string) => `
  import Anthropic from '@anthropic-ai/sdk';
  import { createGovernor } from '@headgate/core';
  const governor = createGovernor({
    logger: { info() {}, warn() {}, error() {} },
    config: {
      account: [{ name: 'h', models: ['claude-haiku-*'], requestsPerMinute: 60, burst: 0.02 }],
      batch: { requestsPerMinute: 6000, maxAge: '100ms', poll: { first: '100ms', most: '200ms' } },
    },
  });
  const client = new Anthropic({ apiKey: 'k', baseURL: '${url}' });
  const params = { model: 'claude-haiku-4-5', max_tokens: 9, messages: [{ role: 'user', content: 'x' }] };
  ${body}
  console.log('done');
  await governor.close();
`;

describe('a process whose only work is to wait for us', () => {
  it.each([
    ['for a batch', `await (await governor.batches(client).submit(params)).result();`],
    [
      'in a queue',
      `await Promise.all([1, 2, 3].map(() => governor.govern(client).messages.create(params)));`,
    ],
  ])('lives until it has what it waits %s for, and then ends by itself', async (_, body) => {
    const api = await startClaudeApi({
      latency: { timeToFirstTokenMs: 5, tokensPerSecond: 10_000 },
      batches: { durationMs: 600 },
    });
    onTestFinished(() => api.close());
    const told = await new Promise<{ code: unknown; out: string }>((resolve) => {
      const options = { cwd: import.meta.dirname, timeout: 15_000 };
      execFile(
        process.execPath,
        ['--conditions=source', '--input-type=module', '-e', SCRIPT(api.url, body)],
        options,
        (error, stdout, stderr) => resolve({ code: error?.code ?? 0, out: stdout + stderr }),
      );
    });
    expect(told).toEqual({ code: 0, out: 'done\n' });
  });
});
