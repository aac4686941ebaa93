import type { Path } from '@headgate/core';
import { givenUp, grantsOf, type History } from './history.ts';
import type { Level } from './levels.ts';

/** Milliseconds at which a path is told. */
const POINT_MS = Array.from({ length: 20 }, (_, k) => 100 * 1.5 ** k);

interface Running {
  readonly from: number;
  readonly path: Path;
}

/** What runs in all processes: the sums last told, and the calls that were granted since; of the last exchange, so many. */
export function runningOf(history: History, granted: number): Running[] {
  const running = new Map<string, Running[]>();
  const seenAt = new Map<string, number>();
  for (const [n, said] of history.entries()) {
    const { process, path } = said.exchange;
    for (const gone of givenUp(seenAt, said)) for (const map of [running, seenAt]) map.delete(gone);
    seenAt.set(process, said.at);
    const own = path === undefined ? (running.get(process) ?? []) : [{ from: said.at, path }];
    const grants = n === history.length - 1 ? grantsOf(said).slice(0, granted) : grantsOf(said);
    for (const call of grants)
      if (call.chargesTokens && call.path !== undefined) own.push({ from: said.at, path: call.path });
    running.set(process, own);
  }
  return [...running.values()].flat();
}

/** What a path has come to so long after it was told: in a straight line between its points. */
function valueAt(points: readonly number[], ms: number): number {
  let fromMs = 0;
  let from = 0;
  for (const [k, to] of points.entries()) {
    const toMs = POINT_MS[k] ?? 0;
    if (ms <= toMs) return from + ((to - from) * (ms - fromMs)) / (toMs - fromMs);
    fromMs = toMs;
    from = to;
  }
  return from;
}

/** The lowest that the level is going to be when all that runs produces what is expected, and nothing else is let in. */
export function lowestOf(
  running: readonly Running[],
  now: number,
  free: number,
  { capacity, ratePerMs }: Level,
): number {
  const usedBy = (ms: number) =>
    running.reduce((sum, { from, path }) => sum + valueAt(path.use, now - from + ms), 0);
  let level = free - usedBy(0);
  let lowest = level;
  let lastMs = 0;
  for (const ms of POINT_MS) {
    level = Math.min(capacity, level + ratePerMs * (ms - lastMs) - (usedBy(ms) - usedBy(lastMs)));
    lowest = Math.min(lowest, level);
    lastMs = ms;
  }
  return lowest;
}

/** The most that all of it can ever come to. */
export const mostOf = (running: readonly Running[]): number =>
  running.reduce((sum, { path }) => sum + Math.max(path.most.at(-1) ?? 0, path.use.at(-1) ?? 0), 0);
