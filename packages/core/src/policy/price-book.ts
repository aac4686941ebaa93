import type { PriceList } from '../config/price-file.ts';
import type { PriceConfig } from '../config/schema.ts';
import { compileGlob } from './glob.ts';
import { BATCH_SHARE, PRICES, type Price, type PriceRow, type PriceStep, type Tariff } from './prices.ts';

/** What counts for a model that nobody has priced, in a call that a money rule applies to. */
export type Unpriced = 'dearest' | 'refuse' | 'free';

/** Where a price comes from: the built-in table, the price file, the configuration itself; or nobody has said it. */
export type PriceOrigin = 'table' | 'file' | 'config' | 'dearest' | 'free';

/** What a model's tokens cost. */
export interface PriceTag extends Tariff {
  readonly origin: PriceOrigin;
  /** In fast mode. Absent where that price is not known. */
  readonly fast?: Tariff | undefined;
  /** What the price of fast mode is, where nobody has said that one though the other is known. */
  readonly guessedFast?: 'dearest' | 'free';
  /** Share of the price that a batch pays, for every kind of token. */
  readonly batch: number;
}

/** A price as it is configured, completed: with the ids that it holds for. */
export interface PriceEntry extends PriceTag {
  /** A model id, or a pattern with `*`. */
  readonly model: string;
  /** First day, as `2026-11-09`, UTC; absent: always. */
  readonly since: string | undefined;
  readonly sources: readonly string[];
  readonly isRetired: boolean;
}

export interface PriceBook {
  /** What the model costs now; undefined where nobody has said. */
  known(model: string): PriceTag | undefined;
  /**
   * The same where money is counted: what nobody has said is at the highest price known for the provider, or for nothing
   * with `free`.
   */
  counted(model: string): PriceTag;
  /** Every entry, in the order in which they are asked: the configuration's, the file's, the table's. */
  readonly entries: readonly PriceEntry[];
}

/** Ids whose entries are remembered. */
const MAX_IDS = 512;

/** Prices of the configuration before those of the file, and these before the built-in table. Pure. */
export function compilePrices(lists: {
  readonly config: PriceList;
  readonly file: PriceList;
  readonly unpriced: Unpriced;
  /** Milliseconds of the epoch. */
  readonly wall: () => number;
}): PriceBook {
  const entries = [
    ...entriesOfList(lists.config, 'config'),
    ...entriesOfList(lists.file, 'file'),
    ...PRICES.map(entryOfRow),
  ];
  const groups = (['config', 'file', 'table'] as const).map((origin) =>
    compileGroup(entries.filter((entry) => entry.origin === origin)),
  );
  const entriesOf = remembered((model) => groups.flatMap((find) => find(model)));
  const dearestOf = remembered((model) => dearest(model, entries));
  const known = (model: string): PriceTag | undefined => {
    const all = entriesOf(model);
    // A price that is announced holds from its day on; where there is no other, it is the best that is known.
    return all.length < 2 ? all[0] : (all.find((entry) => startOf(entry) <= lists.wall()) ?? all[0]);
  };
  const completed = new WeakMap<PriceTag, PriceTag>();
  return {
    entries,
    known,
    counted(model) {
      const tag = known(model);
      if (tag === undefined) return lists.unpriced === 'free' ? FREE : dearestOf(model);
      if (tag.fast !== undefined) return tag;
      let whole = completed.get(tag);
      if (whole === undefined) {
        whole =
          lists.unpriced === 'free'
            ? { ...tag, fast: FREE.fast, guessedFast: 'free' }
            : {
                ...tag,
                fast: { price: highest([dearestOf(model).fast, tag]), steps: [] },
                guessedFast: 'dearest',
              };
        completed.set(tag, whole);
      }
      return whole;
    },
  };
}

/** Remembers what a pure function has said of the first so many ids. */
function remembered<T>(of: (model: string) => T): (model: string) => T {
  const known = new Map<string, T>();
  return (model) => {
    const before = known.get(model);
    if (before !== undefined) return before;
    const value = of(model);
    if (known.size < MAX_IDS) known.set(model, value);
    return value;
  };
}

const NOTHING: Price = { input: 0, output: 0, cacheWrite5m: 0, cacheWrite1h: 0, cacheRead: 0 };
const FREE = {
  origin: 'free',
  price: NOTHING,
  steps: [],
  batch: BATCH_SHARE,
  fast: { price: NOTHING, steps: [] },
} as const satisfies PriceTag;

/** A date behind an id, as `-20261101` or `@20261101`: a release of the same model. */
const DATE_SUFFIX = /[-@]20\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$/;

/**
 * The entries that hold for an id: those of the id itself, then of the id without its date, then patterns, in the order
 * in which they stand. A plain id never holds for another one that only begins as it does.
 */
function compileGroup(entries: readonly PriceEntry[]): (model: string) => PriceEntry[] {
  const byId = new Map(entries.map((entry) => [entry.model, entry]));
  const patterns = entries
    .filter(({ model }) => model.includes('*'))
    .map((entry) => ({ entry, matches: compileGlob(entry.model) }));
  return (model) => {
    const ids = [model, ...(DATE_SUFFIX.test(model) ? [model.replace(DATE_SUFFIX, '')] : [])];
    const exact = ids.map((id) => byId.get(id)).filter((entry) => entry !== undefined);
    return [...exact, ...patterns.filter(({ matches }) => matches(model)).map(({ entry }) => entry)];
  };
}

const startOf = ({ since }: PriceEntry) =>
  since === undefined ? Number.NEGATIVE_INFINITY : Date.parse(since);

/** The provider of a model as its id tells it: of Claude, or nobody that is known. */
const isClaude = (model: string) => model.includes('claude');
/** An id that stands for fast mode itself, as Foundry and gateways have them. */
const FAST_ID = /-fast\b/;

/**
 * The highest price known for the provider of a model: of each kind of token by itself, whatever the size of the prompt.
 * Where nothing tells the provider, the highest of all. A retired model's counts for ids that name it.
 */
function dearest(model: string, entries: readonly PriceEntry[]): PriceTag & { readonly fast: Tariff } {
  const ofProvider = entries.filter((entry) => isClaude(entry.model) || entry.model.includes('*'));
  const all = (isClaude(model) ? ofProvider : entries).filter(
    (entry) => !entry.isRetired || model.includes(entry.model),
  );
  const price = highest(all);
  const fast = highest([{ price, steps: [] }, ...all.map((entry) => entry.fast)]);
  return {
    origin: 'dearest',
    price: FAST_ID.test(model) ? fast : price,
    steps: [],
    fast: { price: fast, steps: [] },
    batch: Math.max(...all.map(({ batch }) => batch)),
  };
}

/** Of each kind of token the highest price in any of the tariffs. */
function highest(tariffs: readonly (Tariff | undefined)[]): Price {
  const prices = tariffs.flatMap((tariff) =>
    tariff === undefined ? [] : [tariff.price, ...tariff.steps.map((step) => step.price)],
  );
  const of = (kind: keyof Price) => Math.max(0, ...prices.map((price) => price[kind]));
  return {
    input: of('input'),
    output: of('output'),
    cacheWrite5m: of('cacheWrite5m'),
    cacheWrite1h: of('cacheWrite1h'),
    cacheRead: of('cacheRead'),
  };
}

function entryOfRow({
  model,
  since,
  sources,
  price,
  steps = [],
  fast,
  isRetired = false,
}: PriceRow): PriceEntry {
  return { model, since, sources, price, steps, fast, isRetired, batch: BATCH_SHARE, origin: 'table' };
}

function entriesOfList(list: PriceList, origin: 'config' | 'file'): PriceEntry[] {
  return Object.entries(list).map(([model, config]) => {
    const { batch, fast, since, source } = config;
    return {
      ...tariff(config),
      model,
      since,
      sources: source === undefined ? [] : [source].flat(),
      isRetired: false,
      batch,
      fast: fast === undefined ? undefined : tariff(fast),
      origin,
    };
  });
}

function tariff(config: Pick<PriceConfig, keyof Price | 'steps'>): Tariff {
  const steps = config.steps.map((step): PriceStep => ({ above: step.above, price: completePrice(step) }));
  // The last step that a prompt is above is the one that counts.
  return { price: completePrice(config), steps: steps.sort((a, b) => a.above - b.above) };
}

/** Cache prices that are left out are taken at the usual multiples of the input price. */
function completePrice(config: Pick<PriceConfig, keyof Price>): Price {
  const { input, output, cacheWrite5m, cacheWrite1h, cacheRead } = config;
  return {
    input,
    output,
    cacheWrite5m: cacheWrite5m ?? input * 1.25,
    cacheWrite1h: cacheWrite1h ?? input * 2,
    cacheRead: cacheRead ?? input * 0.1,
  };
}
