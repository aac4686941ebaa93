import { readFileSync, writeFileSync } from 'node:fs';
import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor } from '@headgate/core';
import { type LedgerEntry, type MessageRequest, manualClock, startClaudeApi } from '@headgate/testing';
import { lognormal, seeded } from '../../packages/cli/src/plan/random.ts';
import { shut } from '../batch/support.ts';

/**
 * The worked page of the documentation: one workload, governed in six ways, on simulated time and the same seed, against
 * the fake API. `npm run costs` writes the page; a long test holds it against a run.
 */

export const PAGE = new URL('../../packages/core/docs/costs.md', import.meta.url);

const MODEL = 'claude-sonnet-4-6';
const SMALLER = 'claude-haiku-4-5';
const LIMITS = {
  name: 'sonnet-4',
  models: ['claude-sonnet-4-*'],
  requestsPerMinute: 1_000,
  inputTokensPerMinute: 1_120_000,
  outputTokensPerMinute: 100_000,
};
const SMALLER_LIMITS = { ...LIMITS, name: 'haiku-4-5', models: ['claude-haiku-4-5*'] };
const CAP = 400;

/** USD per million, by hand: input, write, read, output. */
const PRICES: Record<string, readonly [number, number, number, number]> = {
  [MODEL]: [3, 3.75, 0.3, 15],
  [SMALLER]: [1, 1.25, 0.1, 5],
};

/** The handbook that every chat is answered by: about 6,000 tokens. */
const HANDBOOK = 'The house has rules, and every guest who stays here keeps them. '.repeat(475);
/** What a background job sums up: about 2,500 tokens. */
const DOCUMENT = 'Minutes of the meeting: it was said, and it was heard, and it was written down. '.repeat(
  150,
);

export interface Way {
  readonly name: string;
  readonly config: ConfigInput;
  /** What of the configuration the page shows. */
  readonly shown: string;
}

const LANES = {
  interactive: { weight: 8, guarantee: 0.5, maxWait: '30s' },
  background: { weight: 1, guarantee: 0.05, reserve: 0.15, maxWait: '30m' },
};
const CAPS: ConfigInput = { caps: [{ when: { route: '/chat' }, maxTokens: CAP }] };
const CACHING: ConfigInput = { caching: 'auto' };
const ROUTING: ConfigInput = { routes: [{ when: { lane: 'background' }, model: SMALLER }] };
const BATCH: ConfigInput = {
  lanes: { ...LANES, background: { ...LANES.background, via: 'batch' } },
};

export const WAYS: readonly Way[] = [
  { name: 'default', config: {}, shown: '# nothing' },
  { name: 'caps', config: CAPS, shown: `caps:\n  - { when: { route: /chat }, maxTokens: ${CAP} }` },
  { name: 'caching', config: CACHING, shown: 'caching: auto' },
  {
    name: 'routing',
    config: ROUTING,
    shown: `routes:\n  - { when: { lane: background }, model: ${SMALLER} }`,
  },
  { name: 'batch', config: BATCH, shown: 'lanes:\n  background: { via: batch }' },
  { name: 'all of it', config: { ...CAPS, ...CACHING, ...ROUTING, ...BATCH }, shown: '' },
];

export interface Figures {
  readonly name: string;
  readonly calls: number;
  /** Tokens in thousands. */
  readonly input: number;
  readonly cached: number;
  readonly output: number;
  readonly usd: number;
  /** Input tokens a minute that counted against the limit, in thousands. */
  readonly perMinute: number;
  /** Seconds. */
  readonly chatP95: number;
  readonly jobP95: number;
  /** Chats whose answer was cut off by a cap, as a share. */
  readonly cut: number;
  readonly refused: number;
}

/** How long an answer would be, by its question: the same in every way. */
function outputFor({ messages }: MessageRequest): number {
  const text = JSON.stringify(messages);
  const seed = Number(/ask (\d+)/.exec(text)?.[1] ?? 0);
  return Math.max(10, Math.round(lognormal(seeded(seed * 7_919 + 1), 250, 0.8)));
}

/** One way of governing the workload: `minutes` of chats at 2 a second and jobs at 1 a second. */
export async function runWay(way: Way, minutes: number): Promise<Figures> {
  const clock = manualClock(undefined, { turns: 20 });
  const api = await startClaudeApi({
    clock,
    limits: [LIMITS, SMALLER_LIMITS].map((each) => ({ ...each, burstSeconds: 6 })),
    latency: { timeToFirstTokenMs: 600, tokensPerSecond: 80 },
    output: outputFor,
    batches: { durationMs: 600_000 },
    ledgerSize: 100_000,
    receivedSize: 1,
  });
  const governor = createGovernor({
    clock,
    random: seeded(3),
    logger: { info() {}, warn() {}, error() {} },
    config: { account: [LIMITS, SMALLER_LIMITS], lanes: LANES, timeouts: { total: '2h' }, ...way.config },
  });
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url, maxRetries: 0 }));
  const took = { chat: [] as number[], job: [] as number[] };
  let cut = 0;
  let refused = 0;
  const call = async (kind: 'chat' | 'job', n: number) => {
    const at = clock.now();
    try {
      const message = await governor.run(
        kind === 'chat'
          ? { user: `user ${n % 40}`, route: '/chat', lane: 'interactive' }
          : { user: 'nightly', route: '/minutes', lane: 'background', deadlineMs: 7_200_000 },
        () =>
          claude.messages.create({
            model: MODEL,
            max_tokens: 2_048,
            ...(kind === 'chat' ? { system: HANDBOOK } : {}),
            messages: [
              {
                role: 'user',
                content: kind === 'chat' ? `ask ${n}: what now?` : `ask ${n}: sum up. ${DOCUMENT}`,
              },
            ],
          }),
      );
      took[kind].push((clock.now() - at) / 1_000);
      if (kind === 'chat' && message.stop_reason === 'max_tokens') cut++;
    } catch {
      refused++;
    }
  };
  const random = { chat: seeded(11), job: seeded(12) };
  const counts = { chat: 0, job: 0 };
  const end = minutes * 60_000;
  const arrive = (kind: 'chat' | 'job', perSecond: number) => {
    if (clock.now() >= end) return;
    void call(kind, 2 * counts[kind]++ + (kind === 'chat' ? 0 : 1));
    clock.after((-Math.log(1 - random[kind]()) * 1_000) / perSecond, () => arrive(kind, perSecond));
  };
  arrive('chat', 2);
  arrive('job', 1);
  for (let gone = 0; gone < end; gone += 5_000) await clock.advance(5_000);
  const first = api.ledger.entries.filter(({ batchId, status }) => batchId === undefined && status === 200);
  const perMinute = first.reduce((sum, { inputTokens }) => sum + inputTokens, 0) / minutes / 1_000;
  const all = () => took.chat.length + took.job.length + refused >= counts.chat + counts.job;
  for (let gone = 0; gone < 5_400_000 && !all(); gone += 5_000) await clock.advance(5_000);
  const entries = api.ledger.entries.filter(({ path, status }) => path === '/v1/messages' && status === 200);
  const sum = (of: (entry: LedgerEntry) => number) => entries.reduce((total, entry) => total + of(entry), 0);
  const usd = sum(usdOf);
  const { usage } = governor.snapshot();
  if (Math.abs(usage.usd - usd) > 1e-6)
    throw new Error(`The governor's books (${usage.usd}) and the API's (${usd}) differ.`);
  await shut(clock, governor);
  await api.close();
  return {
    name: way.name,
    calls: entries.length,
    input: sum(({ inputTokens, cacheRead }) => inputTokens + cacheRead) / 1_000,
    cached: sum(({ cacheRead }) => cacheRead) / 1_000,
    output: sum(({ outputTokens }) => outputTokens) / 1_000,
    usd,
    perMinute,
    chatP95: p95(took.chat),
    jobP95: p95(took.job),
    cut: cut / Math.max(1, took.chat.length),
    refused,
  };
}

function usdOf({ model, batchId, inputTokens, cacheCreation, cacheRead, outputTokens }: LedgerEntry): number {
  const [input, write, read, output] = PRICES[model.replace(/-\d{8}$/, '')] ?? [0, 0, 0, 0];
  const share = batchId === undefined ? 1 : 0.5;
  const tokens =
    (inputTokens - cacheCreation) * input + cacheCreation * write + cacheRead * read + outputTokens * output;
  return (share * tokens) / 1e6;
}

function p95(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(0.95 * (sorted.length - 1))] ?? 0;
}

const MINUTES = 10;

const seconds = (value: number) => (value < 120 ? `${value.toFixed(1)} s` : `${Math.round(value / 60)} min`);

/** The page, from a run. */
export async function pageText(minutes = MINUTES): Promise<string> {
  const figures: Figures[] = [];
  for (const way of WAYS) figures.push(await runWay(way, minutes));
  const [base] = figures;
  const rows = figures.map((each) =>
    [
      each.name,
      Math.round(each.input).toLocaleString('en-US'),
      Math.round(each.cached).toLocaleString('en-US'),
      Math.round(each.output).toLocaleString('en-US'),
      `$${each.usd.toFixed(2)}`,
      each === base ? '' : `−${Math.round(100 * (1 - each.usd / (base?.usd ?? 1)))} %`,
      each.calls.toLocaleString('en-US'),
      Math.round(each.perMinute).toLocaleString('en-US'),
      seconds(each.chatP95),
      seconds(each.jobP95),
    ].join(' | '),
  );
  const capped = figures.find(({ name }) => name === 'caps');
  const refused = figures.map(({ name, refused: count }) => `${name} ${count}`).join(', ');
  return `# What it costs: one workload, six ways

<!-- Made by \`npm run costs\` (test/docs/costs.ts). A long test holds it against a run: tokens and money to the letter, waits roughly. -->

An app answers chats by a handbook of about 6,000 tokens (two chats a second, forty users), and sums up minutes of
meetings in the background (one a second). Everything asks for \`${MODEL}\` with \`max_tokens: 2048\`. The account allows
${LIMITS.inputTokensPerMinute.toLocaleString('en-US')} input tokens a minute, of which all of it together needs nearly everything. ${minutes} minutes of this, on simulated time
and the same seed, against the Claude API of \`@headgate/testing\`; prices of the built-in table. The sums are those of the API's
own ledger, and equal those of \`governor.usage\`.

| | input, thousand tokens | of it from the cache | output, thousand tokens | cost | | calls answered | input that counts, thousand a minute, over all models | p95 of a chat | p95 of a job |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${rows.map((row) => `| ${row} |`).join('\n')}

Each row adds one thing to the first, the last row all of them:

${WAYS.filter(({ shown, name }) => shown !== '' && name !== 'default')
  .map(({ name, shown }) => `**${name}**\n\n\`\`\`yaml\n${shown}\n\`\`\`\n`)
  .join('\n')}
What the table does not show:

- **Caps** cut answers off: here ${Math.round(100 * (capped?.cut ?? 0))} % of the chats ended at the cap. They save output, the dearest token, and only as much as answers are longer than anybody needs.
- **Caching** pays where a long prefix comes again within five minutes. The writes cost a quarter more than plain input, and \`headgate.cache.unread\` tells of those that nobody read. Reads are free of the input limit, so the waits go too.
- **Routing** gives the jobs to a smaller model, \`${SMALLER}\`. Whether its answers are good enough is for you to tell.
- **Batch** halves the price and takes the jobs out of the interactive limits; their results come when the batch has ended (here within ten minutes, and at Anthropic within a day).
- Calls refused in each way, since their wait would have been too long: ${refused}.
`;
}

export const pageInRepo = () => readFileSync(PAGE, 'utf8');

if (import.meta.main) writeFileSync(PAGE, await pageText());
