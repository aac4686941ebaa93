import { format, number } from './format.ts';
import { type Goal, GoalError, type GoalResult, judge } from './goals.ts';
import type { Rehearsable } from './load.ts';
import { hoursOf, type PlanReport, summarize } from './report.ts';
import { type RunResult, run } from './run.ts';
import { TIER_NAMES, TIERS_DATE, tiersOf } from './tiers.ts';
import type { AccountBucket } from './traffic.ts';

/** The limits are grown up to so many times what they are, and shrunk down to such a part. */
const MOST = 64;
const LEAST = 1 / 1_024;
/** What is found meets the goals, and so much less of it does not. */
const LESS = 0.95;

/** What is scaled: every limit, or one dimension with the others as they are given. */
export const DIMENSIONS = ['all', 'requests', 'input', 'output'] as const;
export type Dimension = (typeof DIMENSIONS)[number];

export interface Trial {
  readonly factor: number;
  readonly loaded: Rehearsable;
  readonly result: RunResult;
  readonly goals: readonly GoalResult[];
  readonly isMet: boolean;
}

/** The published tiers, played in their order. */
export interface TierSearch {
  /** The smallest that meets every goal; absent where none does, or none is published for a bucket. */
  readonly found: string | undefined;
  /** The bucket whose limits are not published, so that no tier can be played. */
  readonly unpublished: string | undefined;
  /** The day of the table. */
  readonly date: string;
}

/** What the search has come to: a trial that meets every goal, or the largest that was tried and does not. */
export interface Smallest {
  readonly found: Trial | undefined;
  /** Limits a twentieth lower, or the largest that were tried: what is missed there. Absent where nothing is too small. */
  readonly missed: Trial | undefined;
  readonly dimension: Dimension;
  readonly tier: TierSearch;
}

interface SearchOptions {
  readonly seed?: number;
  /** @default 'all' */
  readonly dimension?: Dimension;
  readonly onTrial?: (trial: Trial) => void;
  readonly onTier?: (tier: string, isMet: boolean) => void;
}

/**
 * The smallest limits with which every goal is met, scaled by one factor, the modelled account's with the
 * configuration's: all of them, or those of one dimension. More room may for once make a wait longer, so that what is found is checked and not only bracketed:
 * it was played, and so was what is a twentieth less.
 */
export async function findSmallest(
  loaded: Rehearsable,
  goals: readonly Goal[],
  { onTrial, onTier, dimension = 'all', ...runOptions }: SearchOptions = {},
): Promise<Smallest> {
  if (goals.length === 0)
    throw new GoalError('--smallest: expected a --goal that the limits are to meet, received none');
  const play = async (factor: number, other: Rehearsable): Promise<Trial> => {
    const result = await run(other, runOptions);
    const judged = goals.map((goal) => judge(goal, result.tally, hoursOf(result.duration)));
    return { factor, loaded: other, result, goals: judged, isMet: judged.every((each) => each.isMet) };
  };
  const bounds = await bracket(async (factor) => {
    const trial = await play(factor, scaled(loaded, factor, dimension));
    onTrial?.(trial);
    return trial;
  });
  const tier = await smallestTier(loaded, async (name, other) => {
    const { isMet } = await play(1, other);
    onTier?.(name, isMet);
    return isMet;
  });
  return { ...bounds, dimension, tier };
}

async function bracket(
  attempt: (factor: number) => Promise<Trial>,
): Promise<Pick<Smallest, 'found' | 'missed'>> {
  let trial = await attempt(1);
  let met = trial.isMet ? trial : undefined;
  let missed = trial.isMet ? undefined : trial;
  while (met === undefined) {
    if (trial.factor * 2 > MOST) return { found: undefined, missed: trial };
    trial = await attempt(trial.factor * 2);
    if (trial.isMet) met = trial;
    else missed = trial;
  }
  while (missed === undefined) {
    if (met.factor / 2 < LEAST) return { found: met, missed: undefined };
    trial = await attempt(met.factor / 2);
    if (trial.isMet) met = trial;
    else missed = trial;
  }
  while (missed.factor < LESS * met.factor) {
    trial = await attempt(Math.sqrt(missed.factor * met.factor));
    if (trial.isMet) met = trial;
    else missed = trial;
  }
  while (met.factor >= LEAST) {
    trial = await attempt(LESS * met.factor);
    if (!trial.isMet) return { found: met, missed: trial };
    met = trial;
  }
  return { found: met, missed: undefined };
}

/** The account under each published tier, one after the other, until one meets the goals. */
async function smallestTier(
  loaded: Rehearsable,
  isMetBy: (name: string, other: Rehearsable) => Promise<boolean>,
): Promise<TierSearch> {
  const of = { found: undefined, unpublished: undefined, date: TIERS_DATE };
  const unpublished = [...loaded.account, ...loaded.config.account].find(
    ({ models }) => tiersOf(models) === undefined,
  );
  if (unpublished !== undefined) return { ...of, unpublished: unpublished.name };
  for (const [i, name] of TIER_NAMES.entries()) {
    const under = <T extends Scalable & { readonly models: readonly string[] }>(bucket: T): T =>
      withLimits(bucket, (limit, key) => tiersOf(bucket.models)?.[i]?.[key] ?? limit);
    const account = loaded.account.map(under);
    const config = { ...loaded.config, account: loaded.config.account.map(under) };
    if (await isMetBy(name, { ...loaded, account, config })) return { ...of, found: name };
  }
  return of;
}

const KEYS = {
  requests: 'requestsPerMinute',
  input: 'inputTokensPerMinute',
  output: 'outputTokensPerMinute',
} as const;
type Key = (typeof KEYS)[keyof typeof KEYS];
type Scalable = { readonly [K in Key]?: number | undefined };

/** Other limits where there are some: what is left out is learned, and stays so. */
function withLimits<T extends Scalable>(bucket: T, change: (limit: number, key: Key) => number): T {
  const changed: { [K in Key]?: number } = {};
  for (const key of Object.values(KEYS)) {
    const limit = bucket[key];
    if (limit !== undefined) changed[key] = change(limit, key);
  }
  return { ...bucket, ...changed };
}

/** The same with other limits, in whole numbers: what is told is what was played. */
function scaled(loaded: Rehearsable, factor: number, dimension: Dimension): Rehearsable {
  const by = (limit: number, key: Key) =>
    dimension === 'all' || key === KEYS[dimension] ? Math.max(1, Math.ceil(limit * factor)) : limit;
  const account = loaded.account.map((bucket) => withLimits(bucket, by));
  const configured = loaded.config.account.map((bucket) => withLimits(bucket, by));
  return { ...loaded, account, config: { ...loaded.config, account: configured } };
}

export interface SmallestReport {
  /** Of the limits as given; absent where no limits met the goals. */
  readonly factor: number | undefined;
  readonly dimension: Dimension;
  readonly tier: TierSearch;
  /** The limits that meet the goals, by bucket. */
  readonly limits: readonly Limits[];
  /** What became of the calls with these limits, or with the largest that were tried. */
  readonly report: PlanReport | undefined;
  /** What the goals came to where limits were a twentieth lower. */
  readonly missed: { readonly factor: number; readonly goals: readonly GoalResult[] } | undefined;
}

type Limits = Pick<
  AccountBucket,
  'name' | 'requestsPerMinute' | 'inputTokensPerMinute' | 'outputTokensPerMinute'
>;

export function reportSmallest({ found, missed, dimension, tier }: Smallest): SmallestReport {
  const shown = found ?? missed;
  return {
    factor: found?.factor,
    dimension,
    tier,
    limits: (found?.loaded.account ?? []).map(
      ({ name, requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute }) => ({
        name,
        requestsPerMinute,
        inputTokensPerMinute,
        outputTokensPerMinute,
      }),
    ),
    report: shown === undefined ? undefined : summarize(shown.result, shown.goals),
    missed: missed === undefined ? undefined : { factor: missed.factor, goals: missed.goals },
  };
}

export const formatSmallest = (found: SmallestReport): string =>
  [...(found.report === undefined ? [] : [format(found.report), '']), ...smallestLines(found)].join('\n');

/** What was found, without what became of the calls. */
export function smallestLines({ factor, dimension, limits, missed, tier }: SmallestReport): string[] {
  const what = dimension === 'all' ? 'limits' : `${dimension} limits`;
  const others = dimension === 'all' ? '' : ', the others as they are';
  const given = `times those given${others}`;
  if (factor === undefined)
    return [
      `no ${what} meet the goals, up to ${MOST} ${given}: something else is in the way`,
      ...tierLines(tier),
    ];
  return [
    `the smallest ${what} that meet the goals: ${factor.toFixed(3)} ${given}`,
    ...limits.map(
      (each) =>
        `  ${each.name}: ${number(each.requestsPerMinute)} requests, ${number(each.inputTokensPerMinute)} input and ${number(each.outputTokensPerMinute)} output tokens a minute`,
    ),
    ...(missed === undefined
      ? ['  and none that were tried are too small']
      : [`with ${missed.factor.toFixed(3)} ${given}`, ...missedLines(missed.goals)]),
    ...tierLines(tier),
  ];
}

const missedLines = (goals: readonly GoalResult[]) =>
  goals
    .filter(({ isMet }) => !isMet)
    .map(({ goal, measured = 'nothing to measure' }) => `  MISSED: ${goal} (${measured})`);

function tierLines({ found, unpublished, date }: TierSearch): string[] {
  if (unpublished !== undefined)
    return [`no tier was tried: none is published for the models of bucket ${unpublished} (as of ${date})`];
  return [
    found === undefined
      ? `no published tier meets the goals (as of ${date})`
      : `the smallest published tier that meets the goals: ${found} (as of ${date})`,
  ];
}
