import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type ConfigInput, createGovernor } from '@headgate/core';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { PRICES } from '../../packages/core/src/policy/prices.ts';
import { IN_CODE, IN_CONFIGURATION, MISTAKES_PAGE, mistakesPage } from './mistakes.ts';
import { optionsTable, SCHEMA_FILE, schemaText, tableInReadme } from './options-table.ts';
import { PRICE_PAGE, pricePage } from './price-page.ts';
import { referenceOnDisk, telemetryReference } from './telemetry-reference.ts';

const ROOT = join(import.meta.dirname, '../..');
const READMES = [
  'README.md',
  'packages/core/README.md',
  'packages/express/README.md',
  'packages/koa/README.md',
  'packages/fastify/README.md',
  'packages/redis/README.md',
  'packages/testing/README.md',
  'packages/core/docs/questions.md',
];
/** Those whose YAML is something else too. */
const WITH_CODE = [...READMES, 'packages/cli/README.md'];

const blocks = async (file: string, language: string) =>
  [
    ...(await readFile(join(ROOT, file), 'utf8')).matchAll(
      new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'),
    ),
  ].map(([, code]) => code ?? '');

/** What an app of its own would declare: its session middleware's `req.user`. */
const AMBIENT = `declare global { namespace Express { interface Request { user: { id: string; plan: string } } } }\nexport {};\n`;

describe('the README', () => {
  it('has samples that compile under strict types', async () => {
    const folder = await mkdtemp(join(import.meta.dirname, 'samples-'));
    try {
      let count = 0;
      for (const file of WITH_CODE) {
        for (const code of await blocks(file, 'ts'))
          await writeFile(join(folder, `sample-${count++}.ts`), code);
      }
      expect(count).toBeGreaterThan(4);
      await writeFile(join(folder, 'ambient.d.ts'), AMBIENT);
      await writeFile(
        join(folder, 'tsconfig.json'),
        JSON.stringify({
          extends: '../../../tsconfig.base.json',
          compilerOptions: {
            noEmit: true,
            composite: false,
            incremental: false,
            declaration: false,
            declarationMap: false,
            rewriteRelativeImportExtensions: false,
          },
          include: ['*.ts'],
        }),
      );
      const tsc = join(ROOT, 'node_modules/.bin/tsc');
      const { stdout } = await promisify(execFile)(tsc, ['-p', folder]).catch(
        (error: { stdout: string }) => error,
      );
      expect(stdout).toBe('');
    } finally {
      await rm(folder, { recursive: true });
    }
  }, 60_000);

  it('has configurations that a governor takes', async () => {
    const [yaml, ...others] = (await Promise.all(READMES.map((file) => blocks(file, 'yaml')))).flat();
    for (const text of [yaml ?? '', ...others]) createGovernor({ config: parse(text) as ConfigInput });
    expect(parse(yaml ?? '')).toHaveProperty('account');
  });

  it('has the options table that the schema makes', () => {
    expect(tableInReadme()).toBe(optionsTable());
  });

  it('comes with the JSON Schema of the configuration', async () => {
    expect(await readFile(SCHEMA_FILE, 'utf8')).toBe(schemaText());
  });

  it('comes with the page of mistakes that making them gives, thirty at least', async () => {
    expect(await readFile(MISTAKES_PAGE, 'utf8')).toBe(await mistakesPage());
    expect(IN_CODE.length + IN_CONFIGURATION.length).toBeGreaterThanOrEqual(30);
  });

  it('comes with the page of prices that the built-in table makes, each row with its first day and a source', async () => {
    const page = await readFile(PRICE_PAGE, 'utf8');
    expect(page).toBe(pricePage());
    for (const { model, since, sources } of PRICES) {
      const row = page.split('\n').find((line) => line.startsWith(`| \`${model}\``));
      expect(row, model).toContain(since);
      for (const source of sources) expect(row, model).toContain(source);
    }
  });

  it('comes with the reference of spans and metrics that the catalogue makes', () => {
    expect(referenceOnDisk()).toBe(telemetryReference());
  });
});
