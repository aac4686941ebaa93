import { readFile } from 'node:fs/promises';
import {
  ConfigError,
  listPrices,
  loadConfig,
  MODEL_TABLE_DATE,
  type Price,
  type PriceEntry,
  type PriceList,
  readPriceFile,
  type Tariff,
} from '@headgate/core';
import { diffPrices, type PriceDiff } from './diff.ts';
import { readForeign } from './foreign.ts';

export interface PricesOptions {
  /** A file with another table, to hold ours against. */
  readonly diff?: string;
  readonly json?: boolean;
}

/**
 * Prints the prices that hold, with where they come from; with `diff`, how another table differs. `config` names a
 * configuration file, whose prices go first. Gives the exit code: 0 where all is printed and nothing differs, 1 where
 * something differs, 2 for a file that cannot be read.
 */
export async function prices(
  config: string | undefined,
  options: PricesOptions,
  print: (text: string) => void,
  today: number = Date.now(),
): Promise<number> {
  try {
    const input = config === undefined ? {} : await loadConfig(config);
    const file = input.prices?.file;
    const filePrices: PriceList | undefined = file === undefined ? undefined : readPriceFile(file).prices;
    const book = listPrices(input, { today, filePrices });
    if (options.diff === undefined) {
      const entries = inForce(book.entries, today);
      print(options.json ? JSON.stringify(asPriceFile(entries), undefined, 2) : table(entries, file));
      return 0;
    }
    const diff = diffPrices(book, readForeign(JSON.parse(await readFile(options.diff, 'utf8')), today));
    print(options.json ? JSON.stringify(diff, undefined, 2) : describe(diff, options.diff));
    return diff.differences.length + diff.missing.length > 0 ? 1 : 0;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const where = error instanceof ConfigError ? '' : `${options.diff ?? config}: `;
    print(`${where}${error.message}`);
    return 2;
  }
}

/** The entries that count on a day: what stands behind another of the same model does not. */
function inForce(entries: readonly PriceEntry[], today: number): PriceEntry[] {
  const isAnnounced = ({ since }: PriceEntry) => since !== undefined && Date.parse(since) > today;
  return entries.filter(
    (entry, index) =>
      !entries.slice(0, index).some((other) => other.model === entry.model && !isAnnounced(other)),
  );
}

/** The same as a price file, which is what `--json` prints. */
function asPriceFile(entries: readonly PriceEntry[]): Record<string, unknown> {
  const fields = ({ price, steps }: Tariff) => ({
    ...price,
    ...(steps.length === 0 ? {} : { steps: steps.map((step) => ({ above: step.above, ...step.price })) }),
  });
  return Object.fromEntries(
    entries.map((entry) => [
      entry.model,
      {
        ...fields(entry),
        ...(entry.fast === undefined ? {} : { fast: fields(entry.fast) }),
        batch: entry.batch,
        ...(entry.since === undefined ? {} : { since: entry.since }),
        ...(entry.sources.length === 0 ? {} : { source: entry.sources }),
      },
    ]),
  );
}

const COLUMNS = [
  'input',
  'output',
  'cacheWrite5m',
  'cacheWrite1h',
  'cacheRead',
] as const satisfies (keyof Price)[];
const HEAD = ['model', 'input', 'output', 'write 5m', 'write 1h', 'cache read', 'since', 'from'];

function table(entries: readonly PriceEntry[], file: string | undefined): string {
  const numbers = (price: Price) => COLUMNS.map((kind) => String(price[kind]));
  const origin = { table: 'built-in', file: file ?? 'file', config: 'configuration', dearest: '', free: '' };
  const rows = entries.flatMap((entry) => [
    [entry.model, ...numbers(entry.price), entry.since ?? '', origin[entry.origin]],
    ...entry.steps.map((step) => [`  above ${step.above.toLocaleString('en-US')}`, ...numbers(step.price)]),
    ...(entry.fast === undefined ? [] : [['  in fast mode', ...numbers(entry.fast.price)]]),
    ...entry.sources.map((source) => [`  source: ${source}`]),
  ]);
  const widths = HEAD.map((title, column) =>
    Math.max(title.length, ...rows.filter((row) => row.length > 1).map((row) => (row[column] ?? '').length)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (row.length === 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  return [
    `USD per million tokens; the built-in table is of ${MODEL_TABLE_DATE}`,
    line(HEAD),
    ...rows.map(line),
  ].join('\n');
}

function describe(diff: PriceDiff, file: string): string {
  const { format, compared, differences, missing, retired, onlyOurs } = diff;
  const usd = (value: number | undefined) => (value === undefined ? 'nothing' : String(value));
  const list = (title: string, models: readonly string[]) =>
    models.length === 0 ? [] : [`${title}: ${models.join(', ')}`];
  return [
    `${file} (format of ${format}): ${compared} models compared, USD per million tokens`,
    ...differences.map(
      ({ model, what, ours, theirs }) => `  ${model} ${what}: ours ${usd(ours)}, theirs ${usd(theirs)}`,
    ),
    ...list('  without a price here', missing),
    ...list('  retired, and without a price here', retired),
    ...list('  only here', onlyOurs),
    differences.length + missing.length === 0
      ? 'nothing differs'
      : `${differences.length} prices differ, ${missing.length} models are missing`,
  ].join('\n');
}
