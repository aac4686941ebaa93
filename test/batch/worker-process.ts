import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';

/**
 * An app that hands ten thousand requests over and writes down each answer, as an app does that may be killed at any
 * moment: what it has not written down it asks for again, by the id.
 */
const { url, folder, requests, perSecond } = JSON.parse(process.argv[2] ?? '{}') as {
  url: string;
  folder: string;
  requests: number;
  perSecond: number;
};

const linesOf = (name: string) => {
  const path = `${folder}/${name}`;
  // A last line without its end was being written when the process was killed.
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];
};
const governor = createGovernor({
  logger: { info() {}, warn() {}, error: console.error },
  config: {
    account: [{ name: 'all', models: ['*'], requestsPerMinute: 6_000 }],
    batch: {
      journal: `${folder}/journal.sqlite`,
      requestsPerMinute: 100_000,
      maxRequests: 1_000,
      maxAge: '200ms',
      poll: { first: '150ms', most: '500ms' },
      grace: '4s',
    },
  },
});
const client = new Anthropic({ apiKey: 'k', baseURL: url });
const batches = governor.batches(client);
const claude = governor.govern(client);
const params = (n: number) => ({
  model: 'claude-haiku-4-5',
  max_tokens: 100,
  messages: [{ role: 'user' as const, content: `question ${n}` }],
});

const answered = new Set(linesOf('answers').map((line) => line.split(' ')[0] ?? ''));
const submitted = new Set(linesOf('submitted'));
let lost = 0;
let open = 0;
const take = (id: string, result: Promise<{ id: string }>) => {
  open++;
  void result
    .then(
      (message) => appendFileSync(`${folder}/answers`, `${id} ${message.id}\n`),
      (error: unknown) => process.send?.({ failed: `${id}: ${String(error)}` }),
    )
    .finally(() => open--);
};

// Every request that was handed over is found again by its id.
for (const id of submitted) {
  if (answered.has(id)) continue;
  const handle = await batches.get(id);
  if (handle === undefined) lost++;
  else take(id, handle.result());
}
process.send?.({ reattached: submitted.size - answered.size, lost });

// Somebody talks to the app meanwhile.
const chat = setInterval(() => {
  void governor
    .run({ user: 'ada', lane: 'interactive' }, () => claude.messages.create(params(-1)))
    .catch(() => undefined);
}, 20);

const from = performance.now();
for (let n = submitted.size; n < requests; n++) {
  const id = `r${n}`;
  if (submitted.has(id)) continue;
  const handle = await batches.submit(params(n), {
    customId: id,
    caller: { user: 'nightly', lane: 'background' },
  });
  appendFileSync(`${folder}/submitted`, `${id}\n`);
  take(id, handle.result());
  const ahead = ((n - submitted.size) / perSecond) * 1_000 - (performance.now() - from);
  if (ahead > 20) await new Promise((resolve) => setTimeout(resolve, ahead));
}
process.send?.({ handedOver: true });
while (open > 0) await new Promise((resolve) => setTimeout(resolve, 20));
clearInterval(chat);
await governor.close({ drainMs: 1_000 });
process.send?.({ done: true });
process.disconnect?.();
