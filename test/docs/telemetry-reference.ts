import { readFileSync, writeFileSync } from 'node:fs';
import { CATALOGUE, type CatalogueAttribute } from '@headgate/core/telemetry';

/**
 * The reference of spans, attributes and metrics, made from the catalogue. `node --conditions=source
 * test/docs/telemetry-reference.ts` writes it; a test holds it against the catalogue.
 */
export const REFERENCE_FILE = new URL('../../packages/core/docs/telemetry-reference.md', import.meta.url);

const { spans, attributes, metrics, scope, labelPrefix } = CATALOGUE;
const byName = new Map(attributes.map((attribute) => [attribute.name, attribute]));
const code = (text: string) => `\`${text}\``;

/** All values where the set is closed; of a label also why there are few. */
function valuesOf({ values, bound, type, unit }: CatalogueAttribute, isLabel = false): string {
  if (values !== undefined) return values.map(code).join(' ');
  return [
    type,
    ...(unit === undefined ? [] : [code(unit)]),
    ...(bound === undefined || !isLabel ? [] : [`(${bound})`]),
  ].join(' ');
}

function spanSection({
  name,
  kind,
  description,
  question,
  attributes: names,
}: (typeof spans)[number]): string {
  return [
    `### ${code(name)}`,
    '',
    `${kind.toUpperCase()}. ${description}.`,
    '',
    `_${question}_`,
    '',
    '| attribute | type or values | meaning |',
    '| --- | --- | --- |',
    ...names.map((each) => {
      const attribute = byName.get(each);
      if (attribute === undefined) throw new Error(`${each} is not in the catalogue`);
      return `| ${code(each)} | ${valuesOf(attribute)} | ${attribute.description} |`;
    }),
  ].join('\n');
}

const TYPE = { counter: 'Counter', histogram: 'Histogram', observableGauge: 'Gauge' } as const;

function metricSection({
  name,
  kind,
  unit,
  description,
  question,
  labels,
  buckets,
}: (typeof metrics)[number]) {
  return [
    `### ${code(name)}`,
    '',
    `${TYPE[kind]}, ${code(unit)}. ${description}.`,
    '',
    `_${question}_`,
    '',
    ...(labels.length === 0 ? ['No labels.'] : [`Labels: ${labels.map(code).join(', ')}.`]),
    ...(buckets === undefined ? [] : ['', `Buckets: ${buckets.join(', ')}.`]),
  ].join('\n');
}

export function telemetryReference(): string {
  const ours = metrics.filter(({ name }) => name.startsWith('headgate.'));
  const standard = metrics.filter(({ name }) => !name.startsWith('headgate.'));
  const labels = [...new Set(metrics.flatMap((metric) => metric.labels))].toSorted();
  return `${[
    '# Spans and metrics',
    '',
    '<!-- Made from the catalogue in packages/core/src/telemetry by test/docs/telemetry-reference.ts. -->',
    '',
    `Everything that Headgate emits, under the scope ${code(scope)}. An attribute or label that has nothing to tell is absent. Programs find the same as ${code("import { CATALOGUE } from '@headgate/core/telemetry'")}.`,
    '',
    '## Spans',
    '',
    spans.map(spanSection).join('\n\n'),
    '',
    `The caller's own \`labels\` stand on ${code('headgate.admission')} as ${code(`${labelPrefix}*`)}.`,
    '',
    '## Metrics',
    '',
    'Gauges are of one process. Queue depth and calls in flight add up over processes. Limits, and what remains of them, do not, where processes share an account: take the `min` or `max`, never the `sum`.',
    '',
    ours.map(metricSection).join('\n\n'),
    '',
    '### GenAI conventions',
    '',
    '`telemetry.semconv` says which: `latest` emits those under `gen_ai.client.inference`, `v1.41` the ones that say so, `both` all of them.',
    '',
    standard.map(metricSection).join('\n\n'),
    '',
    '## Labels',
    '',
    '| label | values | meaning |',
    '| --- | --- | --- |',
    ...labels.map((name) => {
      const attribute = byName.get(name);
      if (attribute === undefined) throw new Error(`${name} is not in the catalogue`);
      return `| ${code(name)} | ${valuesOf(attribute, true)} | ${attribute.description} |`;
    }),
  ].join('\n')}\n`;
}

export const referenceOnDisk = () => readFileSync(REFERENCE_FILE, 'utf8');

if (import.meta.main) writeFileSync(REFERENCE_FILE, telemetryReference());
