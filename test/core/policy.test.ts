import type { Caller, ConfigInput } from '@headgate/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { compileRules, compileWhen, type Subject } from '../../packages/core/src/policy/match.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import type { Call } from '../../packages/core/src/request/read.ts';

const call = (more: Partial<Call> = {}): Call => ({
  kind: 'messages',
  model: 'claude-opus-4-7',
  maxTokens: 100_000,
  isStreaming: false,
  body: { messages: [] },
  bytes: 1,
  isReplayable: true,
  ...more,
});
const plan = (config: ConfigInput, caller: Caller = {}, more: Partial<Call> = {}, instead?: string) =>
  compilePolicy(parseConfig(config)).plan(call(more), { ...caller, signals: [] }, instead);

describe('rules', () => {
  it('found by their common parts are those found one by one, in their order', () => {
    const value = fc.constantFrom('a', 'b', 'c');
    const pattern = fc.constantFrom('a', 'b*', '*', 'c');
    const when = fc.record(
      { user: pattern, tenant: pattern, tier: pattern, lane: pattern, route: pattern, model: pattern },
      { requiredKeys: [] },
    );
    const subject = fc.record({
      user: value,
      tenant: fc.option(value, { nil: undefined }),
      tier: fc.option(value, { nil: undefined }),
      lane: value,
      route: fc.option(value, { nil: undefined }),
      model: value,
    });
    fc.assert(
      fc.property(
        fc.array(when, { maxLength: 12 }),
        fc.array(subject, { minLength: 1, maxLength: 10 }),
        (whens, subjects) => {
          const rules = whens.map((each, id) => ({ id, when: each }));
          const find = compileRules(rules);
          for (const each of [...subjects, ...subjects] as Subject[]) {
            expect(find(each)).toEqual(rules.filter((rule) => compileWhen(rule.when)(each)));
          }
        },
      ),
    );
  });
});

describe('routes', () => {
  const config: ConfigInput = {
    routes: [
      { when: { lane: 'background', model: 'claude-opus-*' }, model: 'claude-haiku-4-5' },
      { when: { model: 'claude-opus-*' }, model: 'claude-sonnet-4-6', if: 'pressure' },
    ],
    caps: [{ when: { model: 'claude-haiku-*' }, maxTokens: 2_000 }],
  };

  it('send a call to another model, whose ceiling and rules then hold', () => {
    expect(plan(config, { lane: 'background' })).toMatchObject({
      modelId: 'claude-haiku-4-5',
      reroutedFrom: 'claude-opus-4-7',
      maxTokens: 2_000,
      clampedFrom: 100_000,
    });
    expect(plan({ routes: config.routes }, { lane: 'background' })).toMatchObject({ maxTokens: 64_000 });
  });

  it('under pressure only name the other model', () => {
    expect(plan(config)).toMatchObject({
      modelId: 'claude-opus-4-7',
      underPressure: 'claude-sonnet-4-6',
      reroutedFrom: undefined,
      maxTokens: 100_000,
    });
    expect(plan(config, {}, {}, 'claude-sonnet-4-6')).toMatchObject({
      modelId: 'claude-sonnet-4-6',
      underPressure: undefined,
      maxTokens: 64_000,
    });
  });

  it('never apply to a caller who forbids them, nor in shadow', () => {
    expect(plan(config, { lane: 'background', fallback: false })).toMatchObject({
      modelId: 'claude-opus-4-7',
      fallbacks: [],
    });
    expect(plan({ ...config, shadow: true }, { lane: 'background' })).toMatchObject({
      modelId: 'claude-opus-4-7',
      maxTokens: 100_000,
    });
  });
});

describe('fallbacks', () => {
  it('are those of the model that was asked for, by id or pattern', () => {
    const config: ConfigInput = { fallbacks: { 'claude-opus-*': ['claude-sonnet-4-6', 'claude-haiku-4-5'] } };
    expect(plan(config).fallbacks).toEqual(['claude-sonnet-4-6', 'claude-haiku-4-5']);
    expect(plan(config, {}, { model: 'claude-haiku-4-5' }).fallbacks).toEqual([]);
  });
});

describe('a lane', () => {
  it('that does not exist is the default lane', () => {
    expect(plan({}, { lane: 'turbo' }).lane).toBe('interactive');
    expect(plan({ defaultLane: 'background' }, { lane: 'constructor' }).lane).toBe('background');
  });
});
