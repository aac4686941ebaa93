import { isRecord } from '../json.ts';
import { sameModel } from '../policy/model-id.ts';
import type { PriceTag } from '../policy/price-book.ts';
import type { Payer } from '../request/billing.ts';
import { type Beyond, type Bounds, boundUsage } from './bounds.ts';
import { cost, type Priced } from './cost.ts';
import {
  addTokens,
  chargedInput,
  foldUsage,
  type Iteration,
  NO_TOKENS,
  NO_USAGE,
  type Speed,
  type Tokens,
  tellsInput,
  totalInput,
  type Usage,
  writtenTokens,
} from './usage.ts';

/** What an inference was for. */
export type ChargeKind =
  /** It is part of the answer. */
  | 'message'
  /** It answered in place of a model that declined. */
  | 'fallback'
  /** A second model was asked for advice. */
  | 'advisor'
  /** It summarised the context. */
  | 'compaction'
  /** A kind that a later API has added. */
  | 'other';

/**
 * One billed inference of an answer. The list of an answer's charges is the only source of its cost, and of what quotas,
 * account buckets, the usage book, the recorder, spans and metrics count.
 */
export interface Charge extends Priced {
  readonly kind: ChargeKind;
  /** The id of the model that ran. For the model that was asked: its id as it was sent. */
  readonly model: string;
  /** Part of the output. */
  readonly thinkingTokens: number;
  /** What it costs the account; undefined where its price is not known. */
  readonly usd: number | undefined;
  /** Where `usd` comes from. */
  readonly pricing: Pricing;
}

/**
 * Where the money of a charge comes from: a price that somebody has said, or what `unpriced` puts in its place where money
 * is counted; `unknown` where it is not counted.
 */
export type Pricing = 'known' | 'dearest' | 'free' | 'unknown';

/** What the charges of one call are judged by. */
export interface Terms {
  /** The id of the model as it was sent. */
  readonly model: string;
  /** What a model's tokens cost. */
  readonly priceOf: (model: string) => PriceTag | undefined;
  readonly payer: Payer;
  /** As asked for: what holds until the answer says what it was. */
  readonly speed: Speed;
  readonly geography: string | undefined;
  readonly isBatch: boolean;
  /** What the answer can have used at the most. */
  readonly bounds: () => Bounds;
}

/** A usage, read: what is billed, and what of it no answer to the call can have used. */
export interface Bill {
  readonly charges: readonly Charge[];
  readonly beyond: readonly Beyond[];
}

const KINDS: Readonly<Record<string, ChargeKind>> = {
  message: 'message',
  fallback_message: 'fallback',
  advisor_message: 'advisor',
  compaction: 'compaction',
};

/** The bill of a whole message, as a batch's results have it; undefined where it tells no usage. */
export function billOfMessage({ usage }: { readonly usage?: unknown }, terms: Terms): Bill | undefined {
  return isRecord(usage) && tellsInput(usage) ? billOf(foldUsage(NO_USAGE, usage), terms) : undefined;
}

/** The bill of a usage, within what the call can have used. `shown`: output tokens that the answer itself has shown. Pure. */
export function billOf(told: Usage, terms: Terms, shown = 0): Bill {
  const { usage, beyond } = boundUsage(told, terms.bounds(), shown);
  return { charges: chargesOf(usage, terms), beyond };
}

/**
 * The one reading of `usage`: a charge for each inference that was billed, at least one. Without `iterations` the
 * top-level numbers are one charge. Advisors and summaries stand in no top-level number; every other iteration does, and
 * what the iterations leave out of it is a charge of its own, so that nothing is lost and nothing counts twice. Pure.
 */
function chargesOf(usage: Usage, terms: Terms): Charge[] {
  const shareOf1h = writtenTokens(usage) === 0 ? 0 : usage.cacheWrite1hTokens / writtenTokens(usage);
  const entries = usage.iterations
    .filter((entry, index) => !isFree(entry, index, usage.iterations))
    .map((entry) => (entry.splitsWrites ? entry : splitWrites(entry, shareOf1h)));
  const lines = entries.map((entry, index) => lineOf(entry, index, entries, usage, terms));
  const inSum = lines.filter(({ kind }) => kind !== 'advisor' && kind !== 'compaction');
  const rest = less(usage, inSum.reduce<Tokens>(addTokens, NO_TOKENS), shareOf1h);
  const answering = inSum.at(-1);
  if (answering === undefined || totalInput(rest) + rest.outputTokens > 0) {
    const { speed, geography } = usage;
    lines.push({ ...rest, kind: 'message', model: answering?.model ?? terms.model, speed, geography });
  }
  // What is told of the answer as a whole stands with the inference that ended it.
  const last = lines.findLastIndex(({ kind }) => kind !== 'advisor' && kind !== 'compaction');
  return lines.map((line, index) =>
    priced(
      {
        ...line,
        tier: terms.isBatch ? 'batch' : usage.tier,
        thinkingTokens: index === last ? usage.thinkingTokens : 0,
        webSearches: index === last ? usage.webSearches : 0,
      },
      terms,
    ),
  );
}

/** The charge that a call is expected to bring. Pure. */
export function expectedCharge(
  terms: Terms,
  expected: Pick<Tokens, 'inputTokens' | 'outputTokens'> & Partial<Tokens>,
): Charge {
  const { model, speed, geography, isBatch } = terms;
  const tokens = { ...NO_TOKENS, ...expected, thinkingTokens: 0, webSearches: 0 };
  const tier = isBatch ? 'batch' : 'standard';
  return priced({ ...tokens, kind: 'message', model, speed, geography, tier }, terms);
}

/** The same charges at other terms: what they would have cost. */
export const reprice = (charges: readonly Charge[], terms: Terms): Charge[] =>
  charges.map((charge) => priced({ ...charge, tier: terms.isBatch ? 'batch' : 'standard' }, terms));

function priced(line: Omit<Charge, 'usd' | 'pricing'>, { priceOf, payer }: Terms): Charge {
  // What a customer pays is not the account's money, whatever it costs.
  if (payer !== 'self') return { ...line, usd: 0, pricing: 'known' };
  const tag = priceOf(line.model);
  return { ...line, usd: cost(tag, line), pricing: pricingOf(tag, line.speed) };
}

function pricingOf(tag: PriceTag | undefined, speed: Speed): Pricing {
  if (tag === undefined) return 'unknown';
  if (tag.origin === 'dearest' || tag.origin === 'free') return tag.origin;
  if (speed !== 'fast') return 'known';
  return tag.fast === undefined ? 'unknown' : (tag.guessedFast ?? 'known');
}

type Line = Omit<Charge, 'usd' | 'pricing' | 'tier' | 'thinkingTokens' | 'webSearches'>;

function lineOf(
  entry: Iteration,
  index: number,
  all: readonly Iteration[],
  usage: Usage,
  terms: Terms,
): Line {
  const { type, model, speed, geography, ...tokens } = entry;
  const { inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens } = tokens;
  const kind = KINDS[type] ?? 'other';
  // Until a fallback takes over, an entry without a model is of the model that was asked.
  const fallback = all.findIndex((each) => each.type === 'fallback_message');
  const unnamed = fallback !== -1 && index > fallback ? all[fallback]?.model : undefined;
  const ran = model ?? unnamed;
  return {
    inputTokens,
    cacheReadTokens,
    cacheWrite5mTokens,
    cacheWrite1hTokens,
    outputTokens,
    kind,
    model: ran === undefined || sameModel(ran, terms.model) ? terms.model : ran,
    speed: speed ?? (kind === 'advisor' ? 'standard' : usage.speed),
    geography: geography ?? usage.geography,
  };
}

/**
 * An attempt that declined before any output, and was followed by a fallback, is listed and costs nothing. Source: Claude
 * docs, refusals and fallback.
 */
function isFree({ type, outputTokens }: Iteration, index: number, all: readonly Iteration[]): boolean {
  const isFollowed = all.some((each, at) => at > index && each.type === 'fallback_message');
  return type === 'message' && outputTokens === 0 && isFollowed;
}

/** An entry that does not say how long its cache writes live has written like the answer as a whole. */
function splitWrites(entry: Iteration, shareOf1h: number): Iteration {
  const written = writtenTokens(entry);
  const cacheWrite1hTokens = Math.round(written * shareOf1h);
  return { ...entry, cacheWrite1hTokens, cacheWrite5mTokens: written - cacheWrite1hTokens };
}

/** What is left of `whole` when `part` is taken out; never less than nothing. */
function less(whole: Tokens, part: Tokens, shareOf1h: number): Tokens {
  const left = (key: keyof Tokens) => Math.max(0, whole[key] - part[key]);
  const written = Math.max(0, writtenTokens(whole) - writtenTokens(part));
  const cacheWrite1hTokens = Math.round(written * shareOf1h);
  return {
    inputTokens: left('inputTokens'),
    cacheReadTokens: left('cacheReadTokens'),
    cacheWrite5mTokens: written - cacheWrite1hTokens,
    cacheWrite1hTokens,
    outputTokens: left('outputTokens'),
  };
}

/** The sums of a list of charges. */
export interface Totals extends Tokens {
  readonly thinkingTokens: number;
  /** All that was read, cached or not. */
  readonly totalInput: number;
  /** What counts against limits of input. */
  readonly chargedInput: number;
  readonly written: number;
  /** Of those with a known price. */
  readonly usd: number;
  /** True where the price of one of them is not known and not counted: then `usd` is too low. */
  readonly isUnpriced: boolean;
  /** The first that is not `known`, or `known` where all are. */
  readonly pricing: Pricing;
}

export function totalsOf(charges: readonly Charge[]): Totals {
  const tokens = charges.reduce<Tokens>(addTokens, NO_TOKENS);
  return {
    ...tokens,
    thinkingTokens: charges.reduce((sum, { thinkingTokens }) => sum + thinkingTokens, 0),
    totalInput: totalInput(tokens),
    chargedInput: chargedInput(tokens),
    written: writtenTokens(tokens),
    usd: charges.reduce((sum, { usd }) => sum + (usd ?? 0), 0),
    isUnpriced: charges.some(({ usd }) => usd === undefined),
    pricing: charges.find(({ pricing }) => pricing !== 'known')?.pricing ?? 'known',
  };
}

/** Tokens of the answer itself: what its length is learned from. */
export const answerTokens = (charges: readonly Charge[]) =>
  charges.reduce(
    (sum, { kind, outputTokens }) => (kind === 'advisor' || kind === 'compaction' ? sum : sum + outputTokens),
    0,
  );
