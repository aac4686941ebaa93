import type { Price, PriceBook, PriceTag } from '@headgate/core';
import type { ForeignPrice, ForeignTable } from './foreign.ts';

/** One number that two tables say differently, in USD per million tokens; undefined where one of them does not say it. */
export interface Difference {
  readonly model: string;
  /** As `cacheRead`, `fast.input` or `above 100000: output`. */
  readonly what: string;
  readonly ours: number | undefined;
  readonly theirs: number | undefined;
}

export interface PriceDiff {
  readonly format: ForeignTable['format'];
  /** Models that both tables price. */
  readonly compared: number;
  readonly differences: readonly Difference[];
  /** Models that only the other table prices, and that it does not say are retired. */
  readonly missing: readonly string[];
  /** Retired models that only the other table prices. */
  readonly retired: readonly string[];
  /** Models that only our prices have. */
  readonly onlyOurs: readonly string[];
}

const KINDS = [
  'input',
  'output',
  'cacheWrite5m',
  'cacheWrite1h',
  'cacheRead',
] as const satisfies (keyof Price)[];
/** Two prices that differ by less than this share are the same: LiteLLM has them per token, as floating numbers. */
const TOLERANCE = 1e-6;

/** Our prices against another table's. What that table does not say is not compared. Pure. */
export function diffPrices(book: PriceBook, { format, prices }: ForeignTable): PriceDiff {
  const known = prices.flatMap((theirs) => {
    const ours = book.known(theirs.model);
    return ours === undefined ? [] : [{ ours, theirs }];
  });
  const unknown = prices.filter(({ model }) => book.known(model) === undefined);
  const names = (isRetired: boolean) =>
    unknown.filter((price) => price.isRetired === isRetired).map(({ model }) => model);
  const met = new Set(known.map(({ ours }) => ours));
  return {
    format,
    compared: known.length,
    differences: known.flatMap(({ ours, theirs }) => differencesOf(ours, theirs)),
    missing: names(false),
    retired: names(true),
    onlyOurs: [
      ...new Set(
        book.entries.filter((entry) => !met.has(book.known(entry.model) ?? entry)).map(({ model }) => model),
      ),
    ],
  };
}

function differencesOf(ours: PriceTag, theirs: ForeignPrice): Difference[] {
  const { model } = theirs;
  const found = comparePrices(model, '', ours.price, theirs.price);
  const bounds = new Set([...ours.steps, ...theirs.steps].map(({ above }) => above));
  for (const above of bounds) {
    const step = ours.steps.find((each) => each.above === above);
    const other = theirs.steps.find((each) => each.above === above);
    // A table without steps has no price for long prompts: that is a difference too, since they cost something else.
    found.push(
      ...comparePrices(model, `above ${above}: `, step?.price, other?.price ?? { input: undefined }),
    );
  }
  if (theirs.fast !== undefined)
    found.push(...comparePrices(model, 'fast.', ours.fast?.price, theirs.fast.price));
  if (theirs.batch !== undefined && !isSame(ours.batch, theirs.batch))
    found.push({ model, what: 'batch', ours: ours.batch, theirs: theirs.batch });
  return found;
}

function comparePrices(
  model: string,
  prefix: string,
  ours: Price | undefined,
  theirs: { readonly [Kind in keyof Price]?: number | undefined },
): Difference[] {
  return KINDS.filter((kind) => kind in theirs && !isSame(ours?.[kind], theirs[kind])).map((kind) => ({
    model,
    what: `${prefix}${kind}`,
    ours: ours?.[kind],
    theirs: theirs[kind],
  }));
}

const isSame = (a: number | undefined, b: number | undefined) =>
  a === b || (a !== undefined && b !== undefined && Math.abs(a - b) <= TOLERANCE * Math.max(a, b));
