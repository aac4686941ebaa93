import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor } from '@headgate/core';
import { type LedgerEntry, manualClock, startClaudeApi } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Prefixes } from '../../packages/core/src/estimate/prefixes.ts';
import { MODELS } from '../../packages/core/src/policy/models.ts';
import type { Call } from '../../packages/core/src/request/read.ts';
import { pass, watch } from '../batch/support.ts';
import { ask, startGoverned } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

/** About 20,000 tokens, by the API's count. */
const RULES = 'The house has rules, and every guest keeps them. '.repeat(2_000);
const SONNET = MODELS.find(({ match }) => match === 'claude-sonnet-4-6*');

/** Nothing in the way. */
const WIDE = [{ name: 'all', models: ['*'], requestsPerMinute: 600_000 }];

/** USD of the input alone, by the API's books and the price list. */
const inputUsd = ({ inputTokens, cacheCreation, cacheRead }: LedgerEntry) =>
  ((inputTokens - cacheCreation) * 3 + cacheCreation * 3.75 + cacheRead * 0.3) / 1e6;

describe('caching: auto', () => {
  const run = async (caching: 'off' | 'auto', calls: number) => {
    const telemetry = startTelemetry();
    const { api, governor, claude } = await startGoverned({
      api: { limits: WIDE, latency: { timeToFirstTokenMs: 0, tokensPerSecond: Number.POSITIVE_INFINITY } },
      config: { caching, account: WIDE },
      governor: { meterProvider: telemetry.meterProvider },
    });
    for (let n = 0; n < calls; n++) {
      await governor.run({ user: `u${n % 7}` }, () =>
        claude.messages.create(ask(`question ${n}`, { system: RULES })),
      );
    }
    await telemetry.collect();
    const { entries } = api.ledger;
    return {
      usd: entries.reduce((sum, entry) => sum + inputUsd(entry), 0),
      limited: entries.reduce((sum, { inputTokens }) => sum + inputTokens, 0),
      size: entries[0]!.inputTokens,
      entries: [...entries],
      metrics: telemetry.metrics,
    };
  };

  it('makes the input of a repeated 20,000-token prefix at least 85 % cheaper and 90 % lighter on the limit', async () => {
    const without = await run('off', 60);
    const withCache = await run('auto', 60);
    expect(without.size).toBeGreaterThan(19_000);
    expect(without.size).toBeLessThan(22_000);
    const percent = (share: number) => `${(100 * (1 - share)).toFixed(1)} %`;
    console.log(
      `a prefix of ${without.size} tokens, 60 times: input cost ${percent(withCache.usd / without.usd)} lower, input limit ${percent(withCache.limited / without.limited)} lower`,
    );
    expect(withCache.usd / without.usd).toBeLessThan(0.15);
    expect(withCache.limited / without.limited).toBeLessThan(0.1);
    // The first is seen, the second writes, and all others read.
    expect(withCache.entries.map(({ cacheCreation }) => cacheCreation > 0)).toEqual(
      Array.from({ length: 60 }, (_, n) => n === 1),
    );
    const [, write, read] = withCache.entries;
    const saved = withCache.metrics.value('headgate.cost.saved', { 'headgate.mechanism': 'cache' });
    const premium = withCache.metrics.value('headgate.cache.premium', {});
    expect(saved).toBeCloseTo((58 * read!.cacheRead * 2.7) / 1e6, 8);
    expect(premium).toBeCloseTo((write!.cacheCreation * 0.75) / 1e6, 8);
    // What the metrics say was saved is what the bill is lower by.
    expect(without.usd - withCache.usd).toBeCloseTo(saved! - premium!, 6);
  });

  it('marks for the callers that a rule names, and in shadow for nobody', async () => {
    const cases: [config: ConfigInput, marked: boolean][] = [
      [{ caching: { when: { user: 'ada' } } }, true],
      [{ caching: [{ when: { user: 'ada' }, mode: 'off' }, { mode: 'auto' }] }, false],
      [{ caching: 'auto', shadow: true }, false],
    ];
    for (const [config, marked] of cases) {
      const { api, governor, claude } = await startGoverned({ config });
      for (let n = 0; n < 3; n++)
        await governor.run({ user: 'ada' }, () => claude.messages.create(ask(`${n}`, { system: RULES })));
      expect(api.ledger.entries.some(({ cacheCreation }) => cacheCreation > 0)).toBe(marked);
    }
  });

  it('marks tools where there is no system prompt, and the last block of one in parts', async () => {
    const { api, governor, claude } = await startGoverned({ config: { caching: 'auto' } });
    const tools = Array.from({ length: 60 }, (_, n) => ({
      name: `tool_${n}`,
      description: RULES.slice(0, 400),
      input_schema: { type: 'object' as const, properties: { value: { type: 'string' } } },
    }));
    const system = [
      { type: 'text' as const, text: RULES },
      { type: 'text' as const, text: 'Be brief.' },
    ];
    for (let n = 0; n < 3; n++) {
      await governor.run({ user: 'ada' }, () => claude.messages.create(ask(`${n}`, { tools })));
      await governor.run({ user: 'ada' }, () => claude.messages.create(ask(`${n}`, { tools, system })));
    }
    const bodies = api.received.map(({ body }) => body as { tools: object[]; system?: object[] });
    expect(bodies[4]?.tools.map((tool) => 'cache_control' in tool).indexOf(true)).toBe(59);
    expect(bodies[5]?.system?.map((block) => 'cache_control' in block)).toEqual([false, true]);
    expect(bodies[5]?.tools.some((tool) => 'cache_control' in tool)).toBe(false);
    expect(api.ledger.entries.slice(4).every(({ cacheRead }) => cacheRead > 5_000)).toBe(true);
  });

  it('leaves a request with marks of its own untouched, byte for byte', async () => {
    const mark = { cache_control: { type: 'ephemeral' as const } };
    const text = { type: 'text' as const, text: RULES };
    const requests: Partial<Anthropic.MessageCreateParamsNonStreaming>[] = [
      { system: [{ ...text, ...mark }] },
      { system: RULES, tools: [{ name: 't', input_schema: { type: 'object' }, ...mark }] },
      { system: RULES, messages: [{ role: 'user', content: [{ ...text, ...mark }] }] },
      { system: RULES, ...mark },
      {
        system: RULES,
        messages: [
          { role: 'user', content: 'call it' },
          { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 't', input: {} }] },
          {
            role: 'user',
            content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: [{ ...text, ...mark }] }],
          },
        ],
      },
    ];
    const sent: string[] = [];
    const fetchSpy: typeof fetch = (url, init) => {
      sent.push(String(init?.body));
      return fetch(url, init);
    };
    const { governor, claude, bare } = await startGoverned({
      api: { limits: WIDE },
      config: { caching: 'auto', account: WIDE },
      client: { fetch: fetchSpy },
    });
    for (const request of requests) {
      for (let n = 0; n < 3; n++) {
        const params = ask('the same', request);
        sent.length = 0;
        await bare.messages.create(params);
        await governor.run({ user: 'ada' }, () => claude.messages.create(params));
        expect(sent).toHaveLength(2);
        expect(sent[1] === sent[0]).toBe(true);
      }
    }
  });

  it('holds what is cached at its uncached size: the input limit then lets through many times as many', async () => {
    const throughput = async (caching: 'off' | 'auto') => {
      const clock = manualClock(undefined, { turns: 20 });
      const limits = {
        name: 's',
        models: ['claude-sonnet-*'],
        requestsPerMinute: 6_000,
        inputTokensPerMinute: 120_000,
      };
      const api = await startClaudeApi({ clock, limits: [{ ...limits, burstSeconds: 30 }], output: () => 5 });
      const governor = createGovernor({
        clock,
        random: () => 0.5,
        config: { account: [{ ...limits, burst: 0.5 }], caching, lanes: { interactive: { maxWait: '5m' } } },
      });
      onTestFinished(async () => {
        await governor.close({ drainMs: 0 });
        await api.close();
      });
      const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url }));
      const calls = [];
      for (let n = 0; n < 40; n++) {
        calls.push(
          watch(
            governor.run(
              { user: 'ada' },
              () => claude.messages.create(ask(`${n}`, { system: RULES })) as Promise<unknown>,
            ),
          ),
        );
        await pass(clock, 1_000, 500);
      }
      await pass(clock, 20_000, 500);
      expect(api.ledger.count({ status: 429 })).toBe(0);
      return calls.filter(({ state }) => state === 'fulfilled').length;
    };
    const without = await throughput('off');
    expect(without).toBeLessThan(12);
    expect(await throughput('auto')).toBe(40);
  });
});

describe('the prefixes that are remembered', () => {
  const call = (system: string, hasCacheControl = false): Call => ({
    kind: 'messages',
    model: 'claude-sonnet-4-6',
    maxTokens: 10,
    isStreaming: false,
    body: { system, messages: [] },
    bytes: 0,
    isReplayable: true,
    hasCacheControl,
  });
  const look = (prefixes: Prefixes, at: number, system = RULES, mayMark = true) =>
    prefixes.look(call(system), 'claude-sonnet-4-6', SONNET, mayMark, at);

  it('are marked when seen again in time, by one call until it is there', () => {
    const prefixes = new Prefixes();
    expect(look(prefixes, 0).marks).toBe(false);
    expect(look(prefixes, 300_001).marks).toBe(false);
    const writer = look(prefixes, 400_000);
    expect(writer).toMatchObject({ marks: true, cachedTokens: 0 });
    expect(look(prefixes, 400_001).marks).toBe(false);
    writer.learned({ read: 0, written: 20_000 });
    const reader = look(prefixes, 400_002);
    expect(reader).toMatchObject({ marks: true, cachedTokens: 20_000 });
    reader.learned({ read: 20_000, written: 0 });
    // Each reading keeps it for another five minutes; too near their end nothing is counted on.
    expect(look(prefixes, 600_000)).toMatchObject({ marks: true, cachedTokens: 20_000 });
    expect(look(prefixes, 690_000)).toMatchObject({ marks: true, cachedTokens: 0 });
  });

  it('that a writer does not come back for are written by another', () => {
    const prefixes = new Prefixes();
    look(prefixes, 0);
    expect(look(prefixes, 1).marks).toBe(true);
    expect(look(prefixes, 20_000).marks).toBe(false);
    expect(look(prefixes, 31_000).marks).toBe(true);
  });

  it('that are too short are left alone, also where only the API knows', () => {
    const prefixes = new Prefixes();
    look(prefixes, 0, 'short');
    expect(look(prefixes, 1, 'short').marks).toBe(false);
    expect(prefixes.size).toBe(0);
    look(prefixes, 0);
    look(prefixes, 1).learned({ read: 0, written: 0 });
    expect(look(prefixes, 2).marks).toBe(false);
  });

  it('that were written for nothing are told', () => {
    const unread: number[] = [];
    const prefixes = new Prefixes((tokens) => unread.push(tokens));
    look(prefixes, 0);
    look(prefixes, 1).learned({ read: 0, written: 20_000 });
    const read = `${RULES} read`;
    look(prefixes, 2, read);
    look(prefixes, 3, read).learned({ read: 0, written: 20_000 });
    look(prefixes, 4, read).learned({ read: 20_000, written: 0 });
    for (let n = 0; n < 5; n++) look(prefixes, 700_000 + n, `${RULES} other ${n}`);
    expect(unread).toEqual([20_000]);
    expect(prefixes.size).toBe(5);
  });

  it('are learned from callers’ own marks, by the least that was read', () => {
    const prefixes = new Prefixes();
    const own = (at: number) => prefixes.look(call(RULES, true), 'claude-sonnet-4-6', SONNET, false, at);
    expect(own(0)).toMatchObject({ marks: false, cachedTokens: 0 });
    own(1).learned({ read: 0, written: 25_000 });
    own(2).learned({ read: 25_000, written: 0 });
    own(3).learned({ read: 20_000, written: 3_000 });
    own(4).learned({ read: 30_000, written: 0 });
    expect(own(5)).toMatchObject({ marks: false, cachedTokens: 20_000 });
    own(6).learned({ read: 0, written: 0 });
    expect(own(7).cachedTokens).toBe(0);
  });

  it('are bounded in number, whatever clients make up', () => {
    const prefixes = new Prefixes();
    for (let n = 0; n < 6_000; n++) look(prefixes, n / 1_000, `${n} ${RULES.slice(0, 12_000)}`);
    expect(prefixes.size).toBe(4_096);
  });
});
