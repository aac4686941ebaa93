import { CATALOGUE, type CatalogueAttribute } from '@headgate/core/telemetry';
import { describe, expect, it } from 'vitest';
import { everything } from '../support/everything.ts';
import { startTelemetry } from '../support/telemetry.ts';

const { spans, metrics, attributes, labelPrefix } = CATALOGUE;
const attributeOf = new Map(attributes.map((attribute) => [attribute.name, attribute]));

function isOfType(value: unknown, { type, values }: CatalogueAttribute): boolean {
  if (values !== undefined && !values.includes(String(value))) return false;
  if (type === 'string[]') return Array.isArray(value) && value.every((each) => typeof each === 'string');
  if (type === 'int') return Number.isSafeInteger(value);
  if (type === 'double') return typeof value === 'number' && Number.isFinite(value);
  return typeof value === type;
}

/** Needs minutes, an error of a batch, a fleet, an unpriced model or an impossible usage: tests of their own show it. */
const ELSEWHERE = new Set([
  'headgate.admission: headgate.mode',
  'headgate.decisions: headgate.mode',
  'headgate.store.moves',
  'headgate.store.shared',
  'headgate.store.processes',
  'headgate.batch.submit: error.type',
  'headgate.batch.result: error.type',
  'headgate.batch.result: user.id',
  'headgate.batch.requests: error.type',
  'headgate.batch.retries',
  'headgate.cache.premium',
  'headgate.cache.unread',
  'headgate.cost.unpriced',
  'headgate.usage.bounded',
  'headgate.budget.used: headgate.account',
  'headgate.budget.ends_in: headgate.account',
]);

describe('the catalogue', () => {
  it('has each name once, with a description', () => {
    for (const list of [spans, metrics, attributes]) {
      expect(new Set(list.map(({ name }) => name)).size).toBe(list.length);
      expect(list.filter(({ description }) => description.trim() === '')).toEqual([]);
    }
  });

  it('says of every label why its values are few', () => {
    const labels = new Set(metrics.flatMap((metric) => metric.labels));
    const endless = [...labels].filter((name) => {
      const { values, bound, type } = attributeOf.get(name) ?? { type: 'string' };
      return values === undefined && bound === undefined && type === 'string';
    });
    expect(endless).toEqual([]);
    expect([...labels]).not.toContain('headgate.user.hash');
  });
});

describe('what is emitted', () => {
  async function emit() {
    const telemetry = startTelemetry({ register: true });
    await using _ = await everything({
      meterProvider: telemetry.meterProvider,
      config: { spans: 'always', semconv: 'both' },
    });
    await telemetry.collect();
    const own = telemetry.spans.spans.filter(({ scope }) => scope === CATALOGUE.scope);
    return { spans: own, metrics: telemetry.metrics };
  }
  let emitted: ReturnType<typeof emit> | undefined;
  const once = () => {
    emitted ??= emit();
    return emitted;
  };

  it('as spans is in the catalogue, attribute by attribute, with the values it says', async () => {
    const seen = await once();
    const wrong = new Set<string>();
    for (const span of seen.spans) {
      const name = span.name.startsWith('chat ') ? 'chat {gen_ai.request.model}' : span.name;
      const spec = spans.find((each) => each.name === name);
      if (spec?.kind !== span.kind) wrong.add(`${name} of kind ${span.kind}`);
      for (const [key, value] of Object.entries(span.attributes)) {
        if (key.startsWith(labelPrefix)) continue;
        const attribute = attributeOf.get(key);
        if (!spec?.attributes.includes(key)) wrong.add(`${name}: ${key}`);
        else if (attribute === undefined || !isOfType(value, attribute))
          wrong.add(`${name}: ${key}=${value}`);
      }
    }
    expect([...wrong]).toEqual([]);
  });

  it('as metrics is in the catalogue, with its unit, its labels and their values', async () => {
    const seen = await once();
    const wrong = new Set<string>();
    for (const name of seen.metrics.names()) {
      const spec = metrics.find((each) => each.name === name);
      if (seen.metrics.unit(name) !== spec?.unit) wrong.add(`${name} in ${seen.metrics.unit(name)}`);
      for (const { attributes: labels } of seen.metrics.points(name)) {
        for (const [key, value] of Object.entries(labels)) {
          const attribute = attributeOf.get(key);
          if (!spec?.labels.includes(key)) wrong.add(`${name}: ${key}`);
          else if (attribute === undefined || !isOfType(value, attribute))
            wrong.add(`${name}: ${key}=${value}`);
        }
      }
    }
    expect([...wrong]).toEqual([]);
  });

  it('is all that the catalogue promises: no span, attribute, metric or label that never comes', async () => {
    const seen = await once();
    const missing: string[] = [];
    for (const spec of spans) {
      const ofSpan = seen.spans.filter(
        ({ name }) => name === spec.name || spec.name === `${name.split(' ')[0]} {gen_ai.request.model}`,
      );
      const keys = new Set(ofSpan.flatMap((span) => Object.keys(span.attributes)));
      missing.push(...spec.attributes.filter((key) => !keys.has(key)).map((key) => `${spec.name}: ${key}`));
    }
    for (const spec of metrics) {
      const keys = new Set(seen.metrics.points(spec.name).flatMap((point) => Object.keys(point.attributes)));
      if (seen.metrics.points(spec.name).length === 0) missing.push(spec.name);
      else missing.push(...spec.labels.filter((key) => !keys.has(key)).map((key) => `${spec.name}: ${key}`));
    }
    expect(missing.filter((name) => !ELSEWHERE.has(name))).toEqual([]);
  });
});
