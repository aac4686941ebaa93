import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';

/** Hands requests over and waits until all are done, without ever asking for a result: they are in the journal. */
const { url, folder, requests } = JSON.parse(process.argv[2] ?? '{}') as {
  url: string;
  folder: string;
  requests: number;
};
const governor = createGovernor({
  config: {
    batch: {
      journal: `${folder}/journal.sqlite`,
      requestsPerMinute: 100_000,
      maxRequests: requests,
      maxAge: '30s',
      poll: { first: '200ms', most: '1s' },
    },
  },
});
const batches = governor.batches(new Anthropic({ apiKey: 'k', baseURL: url }));
for (let n = 0; n < requests; n++) {
  await batches.submit(
    { model: 'claude-haiku-4-5', max_tokens: 20_000, messages: [{ role: 'user', content: `question ${n}` }] },
    { customId: `r${n}`, caller: { user: 'nightly' } },
  );
}
let heap = 0;
const watch = setInterval(() => {
  heap = Math.max(heap, process.memoryUsage().heapUsed);
}, 20);
let left = requests;
while (left > 0) {
  await new Promise((resolve) => setTimeout(resolve, 200));
  left = (await batches.pending()).length;
}
clearInterval(watch);
const { usage } = governor.snapshot();
await governor.close();
process.send?.({ done: usage.calls, heapMiB: heap / 2 ** 20 });
process.disconnect?.();
