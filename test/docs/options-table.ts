import { readFileSync, writeFileSync } from 'node:fs';
import { configJsonSchema } from '@headgate/core';

/**
 * The options table of the README and the published JSON Schema, made from the configuration's schema. `node --conditions=source
 * test/docs/options-table.ts` writes both; a test holds them against the schema.
 */

interface Schema {
  readonly type?: string | string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Record<string, Schema>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly anyOf?: readonly Schema[];
  readonly pattern?: string;
}

const README = new URL('../../README.md', import.meta.url);
const START = '<!-- options: made from the schema by test/docs/options-table.ts -->';
const END = '<!-- /options -->';

/** Objects of settings are taken apart; matchers and entries of lists are described where they stand. */
const MATCHER = new Set(['user', 'tenant', 'tier', 'lane', 'route', 'model']);

function rows(schema: Schema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const at = path === '' ? key : `${path}.${key}`;
    if (path.endsWith('when') && MATCHER.has(key)) return [];
    const own = inner.description === undefined ? [] : [row(at, inner)];
    // Steps and fast mode have the fields of a price once more.
    if (at.startsWith('prices.') && (key === 'fast' || key === 'steps')) return own;
    return [...own, ...rows(inner, at), ...nested(inner, at)];
  });
}

function nested(schema: Schema, path: string): string[] {
  if (schema.items !== undefined) return rows(schema.items, `${path}[]`);
  const named = schema.additionalProperties;
  // Further accounts have the shape of `account`: once is enough.
  if (typeof named !== 'object' || path === 'accounts') return [];
  return rows(named, `${path}.<name>`);
}

function row(path: string, schema: Schema): string {
  const fallback =
    schema.default === undefined || typeof schema.default === 'object' ? '' : `\`${String(schema.default)}\``;
  const choices =
    schema.enum === undefined ? '' : ` (${schema.enum.map((value) => `\`${String(value)}\``).join(', ')})`;
  return `| \`${path}\` | ${schema.description ?? ''}${choices} | ${fallback} |`;
}

export function optionsTable(): string {
  return [
    '| option | meaning | default |',
    '| --- | --- | --- |',
    ...rows(configJsonSchema() as Schema, ''),
  ].join('\n');
}

export function tableInReadme(): string {
  const text = readFileSync(README, 'utf8');
  return text.slice(text.indexOf(START) + START.length, text.indexOf(END)).trim();
}

/** The JSON Schema that the package ships, for completion in editors. */
export const SCHEMA_FILE = new URL('../../packages/core/schema/headgate.schema.json', import.meta.url);

export function schemaText(): string {
  const schema = {
    $id: 'https://unpkg.com/@headgate/core/schema/headgate.schema.json',
    title: 'Headgate configuration',
    ...configJsonSchema(),
  };
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

if (import.meta.main) {
  writeFileSync(SCHEMA_FILE, schemaText());
  const text = readFileSync(README, 'utf8');
  const [before, after] = [text.slice(0, text.indexOf(START) + START.length), text.slice(text.indexOf(END))];
  writeFileSync(README, `${before}\n${optionsTable()}\n${after}`);
}
