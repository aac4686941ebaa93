import { once } from 'node:events';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type Governor, type Store } from '@headgate/core';
import { startClaudeApi } from '@headgate/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { addressOf, startExample } from '../support/example.ts';
import { until } from '../support/governed.ts';
import { freePort, noRedis, startRedis } from '../support/redis.ts';
import { storesOf } from './stores-of.ts';

const MODEL = 'claude-sonnet-4-6';
const quiet = { info() {}, warn() {}, error() {} };
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Governors that stand for processes, each with a connection of its own where there is one. */
function startFleet(count: number, makeStore: () => Store, config: object): Governor[] {
  return Array.from({ length: count }, () => {
    const governor = createGovernor({ config, store: makeStore(), logger: quiet });
    cleanups.push(() => governor.close({ drainMs: 100 }));
    return governor;
  });
}

const client = (governor: Governor, baseURL: string) =>
  governor.govern(new Anthropic({ apiKey: 'k', baseURL }));
const params = { model: MODEL, max_tokens: 50, messages: [{ role: 'user' as const, content: 'hello' }] };

for (const kind of ['memory', 'redis'] as const) {
  describe.skipIf(kind === 'redis' && noRedis())(`four processes on one ${kind} store`, () => {
    it('give a user of ten a day exactly ten, however many ask at once', async () => {
      const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
      cleanups.push(() => api.close());
      const fleet = startFleet(4, await storesOf(kind, cleanups), {
        quotas: [{ name: 'daily', requests: '10/day' }],
        account: [{ name: 's', models: ['*'], requestsPerMinute: 6_000 }],
      });
      const clients = fleet.map((governor) => client(governor, api.url));
      const outcomes = await Promise.allSettled(
        Array.from({ length: 200 }, (_, n) =>
          (fleet[n % 4] as Governor).run({ user: 'anna' }, () => clients[n % 4]!.messages.create(params)),
        ),
      );
      const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
      expect(refused.map(({ code }) => code)).toEqual(new Array(190).fill('quota_exceeded'));
      expect(api.ledger.totals().attempts).toBe(10);
    });
  });
}

describe.skipIf(noRedis())('the example of a fleet', () => {
  it('serves from two processes and works in a third, on one limit, and ends in good order', async () => {
    const redis = await startRedis({ own: true });
    cleanups.push(() => redis.stop());
    const example = await startExample('fleet', {}, { REDIS_URL: redis.url, PORT: `${await freePort()}` });
    const url = await addressOf(example);
    const pids = new Set<number>();
    // Until both have come up and had a turn; each connection is the next process's.
    for (let n = 0; pids.size < 2 && n < 100; n++) {
      const answer = await fetch(`${url}/ask`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify({ question: 'Why is the sky blue?' }),
      });
      expect(answer.status).toBe(200);
      pids.add(((await answer.json()) as { process: number }).process);
    }
    expect(pids.size).toBe(2);
    await until(() => example.lines.some((line) => line.startsWith('job 1 done')));
    // A process knows of the others what the store last told it: so it is given reason to ask.
    let fleet: object | undefined;
    for (let n = 0; n < 100 && JSON.stringify(fleet) !== '{"mode":"shared","processes":3}'; n++) {
      await fetch(`${url}/ask`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify({ question: 'And now?' }),
      });
      const limits = await fetch(`${url}/limits`, { headers: { connection: 'close' } });
      fleet = ((await limits.json()) as { fleet: object }[])[0]?.fleet;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(fleet).toEqual({ mode: 'shared', processes: 3 });
    example.process.kill('SIGTERM');
    const [code] = await once(example.process, 'exit');
    expect(code).toBe(0);
  });
});
