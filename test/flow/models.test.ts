import Anthropic from '@anthropic-ai/sdk';
import { manualClock } from '@headgate/testing';
import { describe, expect, it } from 'vitest';
import { isCatalogue, Models } from '../../packages/core/src/attempts/models.ts';
import { OnceLog } from '../../packages/core/src/logger.ts';
import { ask, isSettled, rejection, startGoverned } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

const GONE = 'claude-3-5-haiku-20241022';
const ALWAYS = Number.POSITIVE_INFINITY;
const config = { account: [], fallbacks: { [GONE]: ['claude-haiku-4-5'] } };
const modelsAsked = (api: { received: readonly { body: unknown }[] }) =>
  api.received.map(({ body }) => (body as { model?: string } | null)?.model);

describe('a model that the API does not have', () => {
  it('is named, once, and its calls go to the fallback without asking for it again', async () => {
    const telemetry = startTelemetry();
    const { claude, api, governor, warnings } = await startGoverned({
      config,
      governor: { tracerProvider: telemetry.tracerProvider, meterProvider: telemetry.meterProvider },
    });
    for (let i = 0; i < 3; i++) {
      expect((await claude.messages.create(ask('x', { model: GONE }))).model).toContain('claude-haiku-4-5');
    }
    expect(modelsAsked(api)).toEqual([GONE, ...Array(3).fill('claude-haiku-4-5')]);
    expect(warnings.filter((text) => text.includes('HG_MODEL_GONE'))).toEqual([
      expect.stringContaining(`"${GONE}"`),
    ]);
    expect(governor.snapshot().models).toEqual([
      { account: 'default', model: GONE, availability: 'not_found' },
    ]);
    await telemetry.collect();
    expect(telemetry.metrics.value('headgate.fallbacks', { 'error.type': 'not_found_error' })).toBe(3);
    const admissions = telemetry.spans.spans.filter(({ name }) => name === 'headgate.admission');
    expect(admissions.at(-1)?.attributes).toMatchObject({ 'headgate.model.requested': GONE });
    expect(isSettled(governor)).toBe(true);
  });

  it('gives the API’s own error where there is no fallback, with one attempt each time', async () => {
    const { claude, api, warnings } = await startGoverned({ config: { account: [] } });
    for (let i = 0; i < 2; i++) {
      const error = await rejection(claude.messages.create(ask('x', { model: GONE })));
      expect(error).toBeInstanceOf(Anthropic.NotFoundError);
      expect((error as Error).message).toContain(GONE);
    }
    expect(api.received).toHaveLength(2);
    expect(warnings.filter((text) => text.includes('HG_MODEL_GONE'))).toHaveLength(1);
  });

  it('is not what a proxy says that has no such page', async () => {
    const { claude, api, governor } = await startGoverned({ config });
    api.inject({ kind: 'status', status: 404, body: 'html', times: ALWAYS });
    expect(await rejection(claude.messages.create(ask('x', { model: GONE })))).toBeInstanceOf(
      Anthropic.NotFoundError,
    );
    expect(modelsAsked(api)).toEqual([GONE]);
    expect(governor.snapshot().models).toEqual([]);
  });
});

describe('the list of models, where the app reads it', () => {
  it('tells which are retired and which will be; nothing is asked that the app does not ask', async () => {
    const { claude, api, bare, governor, warnings } = await startGoverned({ config });
    const query = { lifecycle: ['active', 'deprecated', 'retired'] as const, limit: 5 };
    const listed: string[] = [];
    for await (const { id } of claude.models.list({ ...query, lifecycle: [...query.lifecycle] }))
      listed.push(id);
    const plain: string[] = [];
    for await (const { id } of bare.models.list({ ...query, lifecycle: [...query.lifecycle] }))
      plain.push(id);
    expect(listed).toEqual(plain);
    expect(listed).toContain(GONE);
    const { models } = governor.snapshot();
    expect(models).toContainEqual({ account: 'default', model: GONE, availability: 'retired' });
    expect(models.filter(({ availability }) => availability === 'deprecated').length).toBeGreaterThan(0);

    const before = api.received.length;
    await claude.messages.create(ask('x', { model: GONE }));
    expect(modelsAsked(api).slice(before)).toEqual(['claude-haiku-4-5']);
    const old = 'claude-sonnet-4-5-20250929';
    for (let i = 0; i < 2; i++) await claude.messages.create(ask('x', { model: old }));
    expect(modelsAsked(api).slice(before)).toEqual(['claude-haiku-4-5', old, old]);
    expect(warnings.filter((text) => text.includes('HG_MODEL_DEPRECATED'))).toEqual([
      expect.stringContaining(`"${old}" is asked for and deprecated, and it will be gone on 2026-11-30`),
    ]);
  });

  it('also one of them', async () => {
    const { claude, governor } = await startGoverned({ config });
    expect((await claude.models.retrieve(GONE)).lifecycle).toBe('retired');
    expect(governor.snapshot().models).toEqual([
      { account: 'default', model: GONE, availability: 'retired' },
    ]);
  });
});

describe('what is known of models', () => {
  const make = () => {
    const clock = manualClock();
    return { clock, models: new Models(clock, new OnceLog({ info() {}, warn() {}, error() {} })) };
  };
  const list = (...data: object[]) => JSON.stringify({ data });

  it('is forgotten when a call may see again, when the model answers, and when the list says otherwise', async () => {
    const { clock, models } = make();
    models.notFound('a', 'm');
    expect([models.isGone('a', 'm'), models.isGone('b', 'm')]).toEqual([true, false]);
    await clock.advance(600_000);
    expect(models.isGone('a', 'm')).toBe(false);
    models.notFound('a', 'm');
    models.answered('a', 'm');
    expect(models.isGone('a', 'm')).toBe(false);
    models.read('a', list({ type: 'model', id: 'm', lifecycle: 'retired' }));
    await clock.advance(86_400_000);
    expect(models.isGone('a', 'm')).toBe(true);
    models.read('a', list({ type: 'model', id: 'm', lifecycle: 'active' }));
    expect(models.isGone('a', 'm')).toBe(false);
  });

  it('is what is understood, and bounded', () => {
    const { models } = make();
    for (const body of ['', '<html>', 'null', '[]', '{"data":3}', list({ id: 'm' }), '{"data":[null,"x"]}'])
      models.read('a', body);
    models.read('a', list({ type: 'model', id: 3, lifecycle: 'retired' }));
    models.read('a', list({ type: 'model', id: 'm', lifecycle: 'asleep' }));
    expect(models.snapshot().models).toEqual([]);
    for (let i = 0; i < 2_000; i++) models.notFound('a', `made up ${i}`);
    expect(models.snapshot().models).toHaveLength(512);
  });

  it.each([
    ['GET', 'https://api.anthropic.com/v1/models', true],
    ['GET', 'https://x/gateway/v1/models?limit=5', true],
    ['GET', 'https://x/v1/models/claude-a', true],
    ['POST', 'https://x/v1/models', false],
    ['GET', 'https://x/v1/models/claude-a/other', false],
    ['GET', 'https://x/v1/files', false],
  ])('comes from %s %s: %s', (method, url, isIt) => {
    expect(isCatalogue(method, url)).toBe(isIt);
  });
});
