import { duration } from '@headgate/core/simulation';
import type { Rehearsable } from './load.ts';
import type { Group, Tally } from './tally.ts';
import { isRecorded } from './traffic.ts';

const QUANTILES = { p50: 0.5, p90: 0.9, p95: 0.95, p99: 0.99 } as const;
const METRICS = [...Object.keys(QUANTILES), 'max', 'refused', '429s', 'usd'];
const GOAL = /^(?:(\S+)\s+)?(p50|p90|p95|p99|max|refused|429s|usd)\s*(<=|<)\s*(.+)$/;

/** Something that is to hold of a rehearsal. */
export interface Goal {
  readonly text: string;
  /** A lane, a class or a tier; absent: all calls. */
  readonly group: string | undefined;
  readonly metric: string;
  readonly isStrict: boolean;
  /** Milliseconds, a share, a count, or USD an hour. */
  readonly bound: number;
}

export interface GoalResult {
  readonly goal: string;
  readonly isMet: boolean;
  /** In the goal's own unit; absent where no call was counted. */
  readonly measured: string | undefined;
}

/** A goal that does not read, or is of something that is not there. */
export class GoalError extends Error {
  override readonly name = 'GoalError';
}

/** `interactive p95 < 2s`, `refused < 1%`, `429s <= 0`, `usd < 20`. @throws GoalError naming what is wrong. */
export function parseGoal(text: string): Goal {
  const match = GOAL.exec(text.trim());
  const wrong = (expected: string, received: string) =>
    new GoalError(`--goal "${text}": expected ${expected}, received ${JSON.stringify(received)}`);
  if (match === null)
    throw wrong(`[LANE, CLASS OR TIER] ${METRICS.join('|')} < or <= BOUND, as "interactive p95 < 2s"`, text);
  const [, group, metric = '', operator, value = ''] = match;
  const of = { text: text.trim(), group, metric, isStrict: operator === '<' };
  if (metric === '429s' || metric === 'usd') {
    if (group !== undefined && metric === '429s') throw wrong('429s of the whole account', group);
    const bound = Number(value);
    if (!/^\d+(\.\d+)?$/.test(value)) throw wrong('a number of at least 0', value);
    return impossible({ ...of, bound }, wrong);
  }
  if (metric === 'refused') {
    const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(value);
    if (percent === null) throw wrong('a share such as 1%', value);
    const bound = Number(percent[1]) / 100;
    if (bound > 1) throw wrong('a share of at most 100%', value);
    return impossible({ ...of, bound }, wrong);
  }
  const wait = duration.safeParse(value);
  if (!wait.success) throw wrong('a duration such as 500ms, 20s or 10m', value);
  return impossible({ ...of, bound: wait.data }, wrong);
}

function impossible(goal: Goal, wrong: (expected: string, received: string) => GoalError): Goal {
  if (goal.isStrict && goal.bound === 0)
    throw wrong('a goal that can be met: nothing is below 0 (use <=)', goal.text);
  return goal;
}

/**
 * Whether the traffic can have what goals are of: told before it is played. Tiers of a trace are known only afterwards.
 * @throws GoalError
 */
export function checkGroups(
  goals: readonly Goal[],
  { config, traffic }: Pick<Rehearsable, 'config' | 'traffic'>,
): void {
  if (traffic.calls.some(isRecorded)) return;
  const names = new Set([
    ...Object.keys(config.lanes),
    ...traffic.calls.flatMap(({ name, tier }) => [name, ...(tier === undefined ? [] : [tier])]),
  ]);
  for (const goal of goals)
    if (goal.group !== undefined && !names.has(goal.group)) throw noGroup(goal, goal.group, [...names]);
}

const noGroup = ({ text }: Goal, name: string, names: readonly string[]) =>
  new GoalError(
    `--goal "${text}": expected a lane, class or tier that calls come in (${names.join(', ')}), received "${name}"`,
  );

/** @throws GoalError where the traffic has nothing of the goal's name. */
export function judge(goal: Goal, tally: Tally, hours: number): GoalResult {
  const { text, metric, isStrict, bound } = goal;
  const group = groupOf(goal, tally);
  const isBelow = (value: number) => (isStrict ? value < bound : value <= bound);
  const result = (value: number, measured: string): GoalResult => ({
    goal: text,
    isMet: isBelow(value),
    measured,
  });
  if (metric === '429s') {
    return result(tally.refusals429, String(tally.refusals429));
  }
  if (metric === 'usd') {
    // Money that nobody can tell is no money that is below a bound.
    if (tally.unpriced > 0) return { goal: text, isMet: false, measured: undefined };
    return result(group.usd / hours, (group.usd / hours).toFixed(2));
  }
  // Where no call came, nothing held.
  if (group.arrived === 0) return { goal: text, isMet: false, measured: undefined };
  if (metric === 'refused') {
    const share = (group.refusals + group.givenUp) / group.arrived;
    return result(share, `${(100 * share).toFixed(2)} %`);
  }
  const { waits } = group;
  // Where nobody was let in, no wait was short.
  if (waits.count === 0) return { goal: text, isMet: false, measured: undefined };
  const ms = metric === 'max' ? waits.most : waits.quantile(QUANTILES[metric as keyof typeof QUANTILES]);
  return result(ms, `${(ms / 1_000).toFixed(3)} s`);
}

/** A lane before a class, and a class before a tier, where they have one name. */
function groupOf(goal: Goal, tally: Tally): Group {
  const { group: name } = goal;
  if (name === undefined) return tally.all;
  const places = [tally.lanes, tally.classes, tally.tiers];
  const [group] = places.flatMap((groups) => groups.get(name) ?? []);
  if (group === undefined)
    throw noGroup(goal, name, [...new Set(places.flatMap((groups) => [...groups.keys()]))]);
  return group;
}
