// Run by every runtime alike: two governors on one Redis, by each client that the store takes, share a user's quota and hand
// over a slot. Prints one line of JSON for each client. API_URL: the Claude API; REDIS_URL: the Redis.
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, isHeadgateError } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { Redis } from 'ioredis';
import { createClient } from 'redis';

/** What is said of a store that is lost. */
const lost = [];
const listens = (text) => void (/store/.test(text) && lost.push(text));
const logger = { info() {}, warn: listens, error: listens };
const ask = { model: 'claude-sonnet-4-6', max_tokens: 50, messages: [{ role: 'user', content: 'hello' }] };
const config = {
  account: [{ name: 'all', models: ['*'], requestsPerMinute: 6_000, concurrency: 1 }],
  quotas: [{ name: 'two', per: 'user', requests: '2/day' }],
};
const CLIENTS = {
  ioredis: () => new Redis(process.env.REDIS_URL),
  redis: () => createClient({ url: process.env.REDIS_URL }).connect(),
};

for (const [name, connect] of Object.entries(CLIENTS)) {
  const processes = [];
  for (let n = 0; n < 2; n++) {
    const store = redisStore({ client: await connect(), prefix: name, timeoutMs: 2_000 });
    const governor = createGovernor({ config, store, logger });
    const client = new Anthropic({ apiKey: 'k', baseURL: process.env.API_URL, logLevel: 'off' });
    processes.push({ governor, claude: governor.govern(client) });
  }
  const [one, other] = processes;
  const call = ({ governor, claude }, user) =>
    governor
      .run({ user }, () => claude.messages.create(ask))
      .then(
        ({ type }) => type,
        (error) => (isHeadgateError(error) ? error.reason : String(error)),
      );
  const outcomes = [await call(one, 'ada'), await call(other, 'ada'), await call(one, 'ada')];
  const slot = await Promise.all([call(one, 'ben'), call(other, 'cleo')]);
  console.log(JSON.stringify({ scene: name, outcomes, slot, lost }));
  for (const { governor } of processes) await governor.close();
}
process.exit(0);
