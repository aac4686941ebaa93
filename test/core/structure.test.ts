import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = resolve(import.meta.dirname, '../../packages/core/src');

/**
 * The stages in the order of the flow, as far as code depends on code: each may import what stands before it, and
 * nothing after it. What stands in the root of the sources (clock, errors, heap, …) is everybody's, but for the
 * files that put the whole together.
 */
const ORDER = [
  'caller',
  'request',
  'policy',
  'estimate',
  'settlement',
  'config',
  'stores',
  'admission',
  'telemetry',
  'batch',
  'attempts',
  'http',
];
/** The files that have the names. */
const CATALOGUE = new Set(['names', 'instruments', 'gen-ai', 'money'].map((name) => `telemetry/${name}.ts`));
const TOP = new Set([
  'governor.ts',
  'governor-options.ts',
  'internals.ts',
  'simulation.ts',
  'types.ts',
  'watch-config.ts',
  'index.ts',
]);

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const importsOf = (file: string) =>
  [
    ...readFileSync(join(SRC, file), 'utf8').matchAll(
      /^(?:import|export)\s(type\s)?[^'"]*?from '([^']+)'/gms,
    ),
  ].map(([, isType, path]) => ({
    isType: isType !== undefined,
    path: path ?? '',
  }));
const stageOf = (file: string) => (file.includes('/') ? (file.split('/')[0] ?? '') : '');

/** Without names in quotes and without what a request's body is asked for. */
const withoutRequests = (text: string) => text.replaceAll(/'[^'\n]*'/g, "''").replaceAll(/body\??\.\w+/g, '');

describe('the sources of core', () => {
  it('are all in the folders of the flow', () => {
    expect([...new Set(files.map(stageOf))].filter((stage) => stage !== '').sort()).toEqual(
      [...ORDER].sort(),
    );
  });

  it('are read by this test', () => {
    expect(files.flatMap(importsOf).length).toBeGreaterThan(150);
  });

  it('import in one direction', () => {
    const wrong: string[] = [];
    for (const file of files) {
      for (const { path, isType } of importsOf(file)) {
        if (!path.startsWith('.')) continue;
        const target = relative(SRC, resolve(SRC, dirname(file), path));
        const from = ORDER.indexOf(stageOf(file));
        const to = ORDER.indexOf(stageOf(target));
        if (TOP.has(file) || (isType && stageOf(target) === 'config')) continue;
        // The HTTP helpers are handed a governor; nobody else may know of it.
        if (TOP.has(target) && stageOf(file) !== 'http') wrong.push(`${file} imports ${target}`);
        if (to > from) wrong.push(`${file} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('know no framework, and the SDK only by its types, but for its error base', () => {
    const allowed = new Set(['@opentelemetry/api', 'zod', 'yaml']);
    const wrong: string[] = [];
    for (const file of files) {
      for (const { path, isType } of importsOf(file)) {
        if (path.startsWith('.') || path.startsWith('node:') || allowed.has(path)) continue;
        if (path === '@anthropic-ai/sdk' && (isType || file === 'errors.ts')) continue;
        wrong.push(`${file} imports ${path}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('ask no clock and no dice but those they are given', () => {
    const wrong = files
      .filter((file) => file !== 'clock.ts')
      .filter((file) =>
        /\b(Date\.now|performance\.now|setTimeout|setInterval|setImmediate)\(|Math\.random\(/.test(
          readFileSync(join(SRC, file), 'utf8'),
        ),
      );
    expect(wrong).toEqual([]);
  });

  it('are alike in a bundle and in copies: no address of their own, no mark that another copy would not know', () => {
    const wrong = files.filter((file) =>
      /\bimport\.meta\b|\bSymbol\('headgate|from 'node:perf_hooks'/.test(
        readFileSync(join(SRC, file), 'utf8'),
      ),
    );
    expect(wrong).toEqual([]);
  });

  it('read what an answer used in one place alone: only the charges made of it go on', () => {
    const wrong: string[] = [];
    for (const file of files) {
      const text = readFileSync(join(SRC, file), 'utf8');
      // The fields as the API writes them; `settlement` reads them, and telemetry has names of its own that hold them.
      const isReader = stageOf(file) === 'settlement';
      if (!isReader && /\b(?:foldUsage|billOf)\b|settlement\/usage\.ts/.test(text))
        wrong.push(`${file} reads usage`);
      const isCount = file === 'attempts/count-input.ts';
      if (
        !isReader &&
        !isCount &&
        /\.(?:input_tokens|output_tokens|iterations|inference_geo|server_tool_use)\b/.test(
          withoutRequests(text),
        )
      )
        wrong.push(`${file} reads a field of usage`);
      // Money has one way: a price and a charge.
      if (!isReader && /import \{[^}]*\bcost\b[^}]*\} from '[^']*cost\.ts'/.test(text))
        wrong.push(`${file} makes money of its own`);
    }
    expect(wrong).toEqual([]);
  });

  it('emit no name that the catalogue does not have', () => {
    const wrong: string[] = [];
    for (const file of files) {
      if (CATALOGUE.has(file) || file === 'errors.ts') continue;
      // A symbol's key is no name that anybody is shown.
      const text = readFileSync(join(SRC, file), 'utf8').replaceAll(/Symbol(?:\.for)?\('[^']*'\)/g, '');
      for (const [, name] of text.matchAll(/'((?:headgate|gen_ai|http|server)\.[a-z_.]+)'/g)) {
        if (name !== 'headgate.refused') wrong.push(`${file}: ${name}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe('the version', () => {
  it('that is told is that of the package', async () => {
    const { VERSION } = await import('../../packages/core/src/version.ts');
    const manifest = JSON.parse(readFileSync(join(SRC, '../package.json'), 'utf8')) as { version: string };
    expect(VERSION).toBe(manifest.version);
  });
});
