import { format } from './format.ts';
import { type Goal, GoalError, type GoalResult, judge } from './goals.ts';
import type { Rehearsable } from './load.ts';
import { hoursOf, type PlanReport, summarize } from './report.ts';
import { type RunResult, run } from './run.ts';
import type { AccountBucket } from './traffic.ts';

/** The limits are grown up to so many times what they are, and shrunk down to such a part. */
const MOST = 64;
const LEAST = 1 / 1_024;
/** What is found meets the goals, and so much less of it does not. */
const LESS = 0.95;

export interface Trial {
  readonly factor: number;
  readonly loaded: Rehearsable;
  readonly result: RunResult;
  readonly goals: readonly GoalResult[];
  readonly isMet: boolean;
}

/** What the search has come to: a trial that meets every goal, or the largest that was tried and does not. */
export interface Smallest {
  readonly found: Trial | undefined;
  /** Limits a twentieth lower, or the largest that were tried: what is missed there. Absent where nothing is too small. */
  readonly missed: Trial | undefined;
}

/**
 * The smallest limits with which every goal is met, all of them scaled by one factor, the modelled account's with the
 * configuration's. More room may for once make a wait longer, so that what is found is checked and not only bracketed:
 * it was played, and so was what is a twentieth less.
 */
export async function findSmallest(
  loaded: Rehearsable,
  goals: readonly Goal[],
  options: { readonly seed?: number; readonly onTrial?: (trial: Trial) => void } = {},
): Promise<Smallest> {
  const { onTrial, ...runOptions } = options;
  if (goals.length === 0)
    throw new GoalError('--smallest: expected a --goal that the limits are to meet, received none');
  const attempt = async (factor: number): Promise<Trial> => {
    const other = scaled(loaded, factor);
    const result = await run(other, runOptions);
    const judged = goals.map((goal) => judge(goal, result.tally, hoursOf(result.duration)));
    const isMet = judged.every((each) => each.isMet);
    const trial = { factor, loaded: other, result, goals: judged, isMet };
    onTrial?.(trial);
    return trial;
  };

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

/** The same with other limits, in whole numbers: what is told is what was played. */
function scaled(loaded: Rehearsable, factor: number): Rehearsable {
  const by = (limit: number) => Math.max(1, Math.ceil(limit * factor));
  const account = loaded.account.map((bucket) => ({
    ...bucket,
    requestsPerMinute: by(bucket.requestsPerMinute),
    inputTokensPerMinute: by(bucket.inputTokensPerMinute),
    outputTokensPerMinute: by(bucket.outputTokensPerMinute),
  }));
  const configured = loaded.config.account.map((bucket) => {
    const { requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute } = bucket;
    return {
      ...bucket,
      ...(requestsPerMinute === undefined ? {} : { requestsPerMinute: by(requestsPerMinute) }),
      ...(inputTokensPerMinute === undefined ? {} : { inputTokensPerMinute: by(inputTokensPerMinute) }),
      ...(outputTokensPerMinute === undefined ? {} : { outputTokensPerMinute: by(outputTokensPerMinute) }),
    };
  });
  return { ...loaded, account, config: { ...loaded.config, account: configured } };
}

export interface SmallestReport {
  /** Of the limits as given; absent where no limits met the goals. */
  readonly factor: number | undefined;
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

export function reportSmallest({ found, missed }: Smallest): SmallestReport {
  const shown = found ?? missed;
  return {
    factor: found?.factor,
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

export function formatSmallest({ factor, limits, report, missed }: SmallestReport): string {
  const number = (value: number) => value.toLocaleString('en-US');
  const goalLines = (goals: readonly GoalResult[]) =>
    goals
      .filter(({ isMet }) => !isMet)
      .map(({ goal, measured = 'nothing to measure' }) => `  MISSED: ${goal} (${measured})`);
  const told = report === undefined ? [] : [format(report), ''];
  if (factor === undefined)
    return [
      ...told,
      `no limits meet the goals, up to ${MOST} times those given: something else is in the way`,
    ].join('\n');
  return [
    ...told,
    `the smallest limits that meet the goals: ${factor.toFixed(3)} times those given`,
    ...limits.map(
      (each) =>
        `  ${each.name}: ${number(each.requestsPerMinute)} requests, ${number(each.inputTokensPerMinute)} input and ${number(each.outputTokensPerMinute)} output tokens a minute`,
    ),
    ...(missed === undefined
      ? ['  and none that were tried are too small']
      : [`with ${missed.factor.toFixed(3)} times those given`, ...goalLines(missed.goals)]),
  ].join('\n');
}
