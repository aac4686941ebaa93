import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextPressure, type PressureState } from '../../packages/core/src/attempts/pressure.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import type { ConfigInput } from '../../packages/core/src/config/schema.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import type { Call } from '../../packages/core/src/request/read.ts';
import { ask, startGoverned } from '../support/governed.ts';

const call = (model: string, body: object, over: Partial<Call> = {}): Call => ({
  kind: 'messages',
  model,
  maxTokens: 100_000,
  isStreaming: false,
  body: { model, max_tokens: 100_000, messages: [], ...body },
  bytes: 100,
  isReplayable: true,
  ...over,
});
const plan = (config: ConfigInput, one: Call, caller = {}) =>
  compilePolicy(parseConfig(config)).plan(one, { signals: [], ...caller });

const ALWAYS: ConfigInput = { routes: [{ model: 'claude-haiku-4-5', if: 'always' }] };
const PRESSURE: ConfigInput = { routes: [{ model: 'claude-haiku-4-5', if: 'pressure' }] };
const FALLBACK: ConfigInput = { fallbacks: { 'claude-opus-*': ['claude-haiku-4-5', 'claude-sonnet-4-6'] } };

describe('another model', () => {
  it('gets the request with its own ceiling', () => {
    expect(plan(ALWAYS, call('claude-opus-4-7', {}))).toMatchObject({
      modelId: 'claude-haiku-4-5',
      reroutedFrom: 'claude-opus-4-7',
      maxTokens: 64_000,
      clampedFrom: 100_000,
    });
  });

  it.each([
    ['a kind of thinking that it does not know', { thinking: { type: 'adaptive' } }, {}],
    ['a thinking budget over its ceiling', { thinking: { type: 'enabled', budget_tokens: 70_000 } }, {}],
    ['a prompt longer than its context', {}, { bytes: 700_000 }],
    ['fast mode', { speed: 'fast' }, {}],
  ])('never gets %s: the model asked for does', (_, body, over) => {
    const one = call('claude-opus-4-7', body, over);
    expect(plan(ALWAYS, one)).toMatchObject({ modelId: 'claude-opus-4-7', reroutedFrom: undefined });
    expect(plan(PRESSURE, one).underPressure).toBeUndefined();
    expect(plan(FALLBACK, one).fallbacks).not.toContain('claude-haiku-4-5');
  });

  it('is a fallback where it suits, and a thinking budget that fits goes along', () => {
    const adaptive = call('claude-opus-4-7', { thinking: { type: 'adaptive' } });
    expect(plan(FALLBACK, adaptive).fallbacks).toEqual(['claude-sonnet-4-6']);
    const budget = call('claude-opus-4-7', { thinking: { type: 'enabled', budget_tokens: 5_000 } });
    expect(plan(ALWAYS, budget)).toMatchObject({ modelId: 'claude-haiku-4-5', maxTokens: 64_000 });
  });

  it('is never asked for a caller who forbids it', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('claude-opus-4-7', 'claude-opus-5', 'claude-sonnet-4-6', 'claude-unheard-of'),
        fc.constantFrom(ALWAYS, PRESSURE, FALLBACK, { ...ALWAYS, ...FALLBACK }),
        fc.constantFrom({}, { thinking: { type: 'adaptive' } }),
        (model, config, body) => {
          const made = plan(config, call(model, body), { fallback: false });
          expect([made.modelId, made.underPressure, made.fallbacks]).toEqual([model, undefined, []]);
        },
      ),
    );
  });

  it('answers a call that was made for a larger one, without an error of the API', async () => {
    const { api, governor, claude } = await startGoverned({
      config: { account: [], routes: [{ model: 'claude-haiku-4-5' }] },
      api: { limits: [{ name: 'all', models: ['*'], requestsPerMinute: 6_000 }] },
    });
    const one = (more: object) =>
      governor.run({ user: 'ada' }, () =>
        claude.messages.create(ask('hello', { model: 'claude-opus-4-8', max_tokens: 100_000, ...more }), {
          timeout: 10_000,
        }),
      );
    await one({});
    await one({ thinking: { type: 'enabled', budget_tokens: 2_000 } });
    await one({ thinking: { type: 'enabled', budget_tokens: 80_000 } });
    await one({ thinking: { type: 'adaptive' } });
    expect(api.ledger.entries.map(({ model, maxTokens, status }) => [model, maxTokens, status])).toEqual([
      ['claude-haiku-4-5', 64_000, 200],
      ['claude-haiku-4-5', 64_000, 200],
      ['claude-opus-4-8', 100_000, 200],
      ['claude-opus-4-8', 100_000, 200],
    ]);
  });
});

describe('pressure', () => {
  const run = (shares: readonly number[], stepMs: number) => {
    let state: PressureState | undefined;
    return shares.map((share, index) => {
      state = nextPressure(state, share, index * stepMs);
      return state.isOn;
    });
  };
  const switches = (on: readonly boolean[]) => on.filter((each, at) => at > 0 && each !== on[at - 1]).length;

  it('begins over a quarter of the wait allowed, and ends under a tenth, after ten seconds at least', () => {
    expect(run([0, 0.2, 0.25, 0.26, 0.2, 0.11, 0.09], 20_000)).toEqual([
      false,
      false,
      false,
      true,
      true,
      true,
      false,
    ]);
    expect(run([0.3, 0, 0, 0], 4_000)).toEqual([true, true, true, false]);
  });

  it('does not flutter: a wait that swings around one threshold switches once', () => {
    const swinging = Array.from({ length: 200 }, (_, n) => (n % 2 === 0 ? 0.3 : 0.2));
    expect(switches(run(swinging, 500))).toBe(0);
    const naive = swinging.map((share) => share > 0.25);
    expect(switches(naive)).toBe(199);
  });

  it('switches twice in ten seconds at the most, whatever the waits', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 200 }), (shares) => {
        const on = run(shares, 1_000);
        expect(switches(on)).toBeLessThanOrEqual(2 * Math.ceil(shares.length / 10));
      }),
    );
  });
});
