import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, isHeadgateError, loadConfig } from '@headgate/core';

/**
 * Jobs outside HTTP: each line of the standard input is one, and one that begins with `!` is somebody waiting for it.
 * All share the account's limits, as far as one process goes; those who wait go first, however many jobs there are.
 * `seq 50 | npm start`
 */
const config = await loadConfig(fileURLToPath(new URL('../../headgate.yaml', import.meta.url)));
const governor = createGovernor({ config });
const claude = governor.govern(new Anthropic());

/** Jobs that are in hand at once; how many of them the API sees at once is the governor's to say. */
const IN_HAND = 20;
const counts = { done: 0, refused: 0, failed: 0, tokens: 0 };

async function work(text: string): Promise<void> {
  const isUrgent = text.startsWith('!');
  const caller = isUrgent
    ? { user: 'desk', lane: 'interactive', route: 'desk' }
    : { user: 'nightly', lane: 'background', route: 'nightly', deadlineMs: 600_000 };
  try {
    const { usage } = await governor.run(caller, () =>
      claude.messages.create({
        model: 'claude-haiku-4-5',
        max_tokens: 300,
        messages: [{ role: 'user', content: text }],
      }),
    );
    counts.done++;
    counts.tokens += usage.output_tokens;
    if (isUrgent) console.log(`answered: ${text}`);
  } catch (error) {
    if (isHeadgateError(error)) counts.refused++;
    else counts.failed++;
    console.error(`${text}: ${String(error)}`);
  }
}

const inHand = new Set<Promise<void>>();
for await (const line of createInterface({ input: process.stdin })) {
  const job = work(line).finally(() => inHand.delete(job));
  inHand.add(job);
  if (inHand.size >= IN_HAND) await Promise.race(inHand);
}
await Promise.all(inHand);
await governor.close();
console.log(
  `${counts.done} done, ${counts.refused} refused, ${counts.failed} failed, ${counts.tokens} tokens`,
);
