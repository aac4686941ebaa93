import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, isHeadgateError, memoryStore } from '@headgate/core';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Answered, startAnsweringApi } from '../support/answering-api.ts';
import { ask } from '../support/governed.ts';

type Params = Partial<Anthropic.Beta.Messages.MessageCreateParamsNonStreaming>;

const WIDE = [
  {
    name: 'all',
    models: ['*'],
    requestsPerMinute: 600_000,
    inputTokensPerMinute: 4e8,
    outputTokensPerMinute: 4e8,
    burst: 1,
  },
];
const HEADERS = (limit: number): Record<string, string> =>
  Object.fromEntries(
    [
      ['requests', limit],
      ['input-tokens', 500 * limit],
      ['output-tokens', 100 * limit],
    ].flatMap(([name, of]) => [
      [`anthropic-ratelimit-${name}-limit`, String(of)],
      [`anthropic-ratelimit-${name}-remaining`, String(Math.round(0.97 * Number(of)))],
    ]),
  );

/** Calls by JSON or as a stream, of an API that answers as it is told. A call gives `ok`, or what it was refused with. */
async function start(
  answer: Parameters<typeof startAnsweringApi>[0],
  config: ConfigInput,
  { streams = false, isFleet = false }: { streams?: boolean; isFleet?: boolean } = {},
) {
  const url = await startAnsweringApi(answer);
  const governor = createGovernor({
    config,
    logger: { info() {}, warn() {}, error() {} },
    ...(isFleet ? { store: memoryStore() } : {}),
  });
  onTestFinished(() => governor.close({ drainMs: 0 }));
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: url, maxRetries: 0 }));
  const call = async (user: string | undefined, more: Params = {}, lane?: string) => {
    const params = { ...ask('word '.repeat(200)), ...more };
    const run = async () => {
      // The SDK wants a time-out of its own for long answers that are no streams.
      if (!streams) return claude.beta.messages.create(params, { timeout: 60_000 });
      return claude.beta.messages.stream(params).finalMessage();
    };
    try {
      await (user === undefined
        ? run()
        : governor.run({ user, ...(lane === undefined ? {} : { lane }) }, run));
      return 'ok';
    } catch (error) {
      const ours = error instanceof Error && !isHeadgateError(error) ? error.cause : error;
      if (!isHeadgateError(ours)) throw error;
      return ours.retryAfterMs === undefined ? `${ours.code} for good` : `${ours.code} for now`;
    }
  };
  return { governor, call };
}

const tally = (outcomes: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
};
const times = async (n: number, make: (i: number) => Promise<string>) => {
  const outcomes: string[] = [];
  for (let i = 0; i < n; i++) outcomes.push(await make(i));
  return tally(outcomes);
};
const usage = (input: number, output = 50) => ({ input_tokens: input, output_tokens: output });
const WAYS = [
  { way: 'JSON', streams: false },
  { way: 'streams', streams: true },
];

describe.each(WAYS)('an estimate, with $way,', ({ streams }) => {
  /** The prompt has 1,600 tokens; what the tool brought in is added to the sum of the answer. */
  const SERVER_TOOLS: readonly (readonly [string, object])[] = [
    ['a web search', { ...usage(120_000), server_tool_use: { web_search_requests: 3 } }],
    ['a web fetch', { ...usage(90_000), server_tool_use: { web_search_requests: 0, web_fetch_requests: 1 } }],
    [
      'code that calls tools',
      {
        ...usage(300_000),
        iterations: [
          { type: 'message', ...usage(1_600, 10) },
          { type: 'message', ...usage(298_400, 40) },
        ],
      },
    ],
    ['tools of an MCP server', { ...usage(80_000), server_tool_use: { mcp_requests: 2 } }],
  ];

  it.each(SERVER_TOOLS)(
    'learns nothing of prompts from %s (was: 99 of 100 others refused for ever)',
    async (_, total) => {
      const quotas = [{ name: 'q', per: 'user' as const, inputTokens: '6k/minute' }];
      const prompt = ask('word '.repeat(1_500));
      const { call } = await start(
        (_body, n): Answered => (n === 1 ? { start: usage(1_600), usage: total } : { usage: usage(1_600) }),
        { account: WIDE, quotas },
        { streams },
      );
      expect(await call('first', prompt)).toBe('ok');
      // Twice as much as it takes is not there.
      expect(await times(20, (i) => call(`user ${Math.floor(i / 2)}`, prompt))).toEqual({ ok: 20 });
    },
  );

  it.each([
    { shows: 'all show it', isShown: () => true },
    { shows: 'half of them show it', isShown: (n: number) => n % 20 < 10 },
    { shows: 'none shows it', isShown: () => false },
  ])(
    'is within a quarter of an ordinary prompt, where three calls of ten search the web and $shows (was: 30 % off)',
    async ({ isShown }) => {
      const truth = 2_000;
      const searches = { tools: [{ type: 'web_search_20250305', name: 'web_search' } as const] };
      const answer: Parameters<typeof start>[0] = ({ tools }, n) => {
        if (tools === undefined) return { usage: usage(truth), delayMs: n > 60 ? 100 : 0 };
        const shown = isShown(n) ? { server_tool_use: { web_search_requests: 2 } } : {};
        return { start: usage(truth), usage: { ...usage(40_000 + 1_000 * n), ...shown } };
      };
      const quotas = [{ name: 'q', per: 'user' as const, inputTokens: '20k/minute', when: { user: 'ann' } }];
      const { call } = await start(answer, { account: WIDE, quotas }, { streams });
      const prompt = ask('word '.repeat(1_500));
      // The first ones search.
      await times(60, (i) => call('others', { ...prompt, ...(i % 10 < 3 ? searches : {}) }));
      const all = await Promise.all(Array.from({ length: 20 }, () => call('ann', prompt)));
      const { ok = 0 } = tally(all);
      // As many at once as their estimates fit into the quota, which holds ten of them.
      expect(ok).toBeGreaterThanOrEqual(8);
      expect(ok).toBeLessThanOrEqual(13);
    },
  );

  const tool = (name: string, more: object = {}) => ({
    name,
    description: 'what it does, told at some length '.repeat(60),
    input_schema: { type: 'object' as const, properties: { city: { type: 'string' } } },
    ...more,
  });
  const many = Array.from({ length: 60 }, (_, n) => n);
  const results = many.flatMap((n) => [
    { role: 'assistant', content: [{ type: 'tool_use', id: `t${n}`, name: 'look', input: {} }] },
    {
      role: 'user',
      content: [{ type: 'tool_result', tool_use_id: `t${n}`, content: 'found words '.repeat(600) }],
    },
  ]);
  const NOT_IN_THE_PROMPT: readonly (readonly [string, object])[] = [
    ['tools that are loaded later', { tools: many.map((n) => tool(`t${n}`, { defer_loading: true })) }],
    [
      'tools of an MCP server that are loaded later',
      {
        tools: [
          {
            type: 'mcp_toolset',
            mcp_server_name: 'm',
            default_config: { defer_loading: true },
            tools: many.map((n) => tool(`t${n}`)),
          },
        ],
      },
    ],
    [
      'domains that a search may look at',
      {
        tools: [
          {
            type: 'web_search_20250305',
            name: 'web_search',
            allowed_domains: many.map((n) => `host-${n}.example.com`.repeat(100)),
          },
        ],
      },
    ],
    [
      'tool results that are cleared',
      {
        messages: [{ role: 'user', content: 'look' }, ...results],
        context_management: {
          edits: [{ type: 'clear_tool_uses_20250919', trigger: { type: 'input_tokens', value: 20_000 } }],
        },
      },
    ],
    [
      'what a summary stands for',
      {
        messages: [
          ...results,
          { role: 'assistant', content: [{ type: 'compaction', content: 'they looked' }] },
          { role: 'user', content: 'and now?' },
        ],
      },
    ],
  ];

  it.each(NOT_IN_THE_PROMPT)('leaves out %s', async (_, params) => {
    const quotas = [{ name: 'q', per: 'user' as const, inputTokens: '20k/minute' }];
    const { call } = await start(() => ({ usage: usage(1_400) }), { account: WIDE, quotas }, { streams });
    // One alone would pass on a full quota, whatever it is thought to be: the second shows the estimate.
    expect(await times(4, () => call('ann', params as Params))).toEqual({ ok: 4 });
  });
});

const QUOTAS = [
  { outputTokens: '16k/minute' },
  { outputTokens: '16k/hour' },
  { outputTokens: '30k/day' },
  { outputTokens: '16k/minute', onExceed: 'wait' as const },
  { usd: '0.40/day' },
  { usd: '0.40/minute', onExceed: 'wait' as const },
];
describe.each([
  { way: 'JSON', streams: false, isFleet: false, quotas: QUOTAS },
  { way: 'streams', streams: true, isFleet: false, quotas: QUOTAS.slice(2, 4) },
  { way: 'streams in a fleet', streams: true, isFleet: true, quotas: QUOTAS.slice(1, 5) },
])('a placeholder for the length of an answer, with $way,', ({ streams, isFleet, quotas }) => {
  const max_tokens = 64_000;
  const rule = (quota: object) => ({
    account: WIDE,
    quotas: [{ name: 'q', per: 'user' as const, ...quota }],
  });

  it.each(quotas)(
    'refuses nobody whose answer is short, of %o (was: 60 of 60, no time told)',
    async (quota) => {
      const { call } = await start(() => ({ usage: usage(10, 300) }), rule(quota), { streams, isFleet });
      expect(await times(12, (i) => call(`user ${i}`, { max_tokens }))).toEqual({ ok: 12 });
      expect(await times(12, () => call('one of them', { max_tokens }))).toEqual({ ok: 12 });
    },
  );

  it.each(quotas)('goes by what each user shows, of %o (was: 20 of 20 others refused)', async (quota) => {
    const { call } = await start(
      ({ metadata }) => ({ usage: usage(10, JSON.stringify(metadata).includes('long') ? 60_000 : 300) }),
      { account: WIDE, quotas: [{ name: 'q', per: 'user', when: { user: 'other*' }, ...quota }] },
      { streams, isFleet },
    );
    const metadata = (user_id: string) => ({ metadata: { user_id } });
    const writes = () => call('writer', { max_tokens, ...metadata('long') });
    expect(await times(10, writes)).toEqual({ ok: 10 });
    for (const round of [1, 2, 3])
      expect(
        await times(4, (i) => call(`other ${i}`, { max_tokens, ...metadata('short') })),
        `round ${round}`,
      ).toEqual({ ok: 4 });
  });

  it('lets those that come at once wait for the first answer, where the quota lets wait', async () => {
    const { call } = await start(
      () => ({ usage: usage(10, 100), delayMs: 50 }),
      rule({ outputTokens: '16k/minute', onExceed: 'wait' }),
      { streams, isFleet },
    );
    const all = await Promise.all(Array.from({ length: 40 }, () => call('ann', { max_tokens })));
    expect(tally(all)).toEqual({ ok: 40 });
  });

  it('tells a time where the quota refuses, and holds to it', async () => {
    const { call } = await start(
      () => ({ usage: usage(10, 9_000), delayMs: 20 }),
      rule({ outputTokens: '16k/minute' }),
      { streams, isFleet },
    );
    const all = await Promise.all(Array.from({ length: 10 }, () => call('ann', { max_tokens })));
    expect(tally(all)).toEqual({ ok: 1, 'quota_exceeded for now': 9 });
  });
});

describe.each([
  { way: 'JSON', streams: false, isFleet: false },
  { way: 'streams', streams: true, isFleet: false },
  { way: 'JSON in a fleet', streams: false, isFleet: true },
])('limits that nobody knows yet, with $way,', ({ streams, isFleet }) => {
  it.each([
    [60, 'as many users', (i: number) => `user ${i}`],
    streams ? ([200, 'one user', () => 'ann'] as const) : ([200, 'no user at all', () => undefined] as const),
  ] as const)(
    'let %i calls at once of %s wait for the first response (was: 42 of 60 refused)',
    async (calls, _, userOf) => {
      const answer = () => ({ usage: usage(260), headers: HEADERS(4_000), delayMs: 100 });
      const { call } = await start(answer, {}, { streams, isFleet });
      const all = await Promise.all(Array.from({ length: calls }, (_each, i) => call(userOf(i))));
      expect(tally(all)).toEqual({ ok: calls });
    },
  );

  it.each([
    ['requests', { requestsPerMinute: 1e9 }],
    ['input tokens', { inputTokensPerMinute: 1e12 }],
    ['everything', { requestsPerMinute: 1e9, inputTokensPerMinute: 1e12, outputTokensPerMinute: 1e12 }],
    ['everything, with a burst', { requestsPerMinute: 1e9, inputTokensPerMinute: 1e12, burst: 1 }],
  ])(
    'are no debt where %s was configured far above the truth (was: refused for 15 minutes)',
    async (_, limits) => {
      const { call, governor } = await start(
        () => ({ usage: usage(260), headers: HEADERS(100_000) }),
        { account: [{ name: 'all', models: ['*'], ...limits }] },
        { streams, isFleet },
      );
      expect(await times(3, (i) => call(`user ${i}`))).toEqual({ ok: 3 });
      const told = Object.values(governor.snapshot().buckets[0]?.limits ?? {});
      expect(told).toHaveLength(3);
      for (const { level, capacity } of told as { level: number; capacity: number }[]) {
        expect(level).toBeGreaterThanOrEqual(0);
        expect(level).toBeLessThanOrEqual(capacity);
      }
    },
  );
});
