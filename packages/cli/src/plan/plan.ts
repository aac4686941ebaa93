import { format } from './format.ts';
import { checkGroups, type Goal, GoalError, judge, parseGoal } from './goals.ts';
import { type FileProblem, load, type Rehearsable } from './load.ts';
import { hoursOf, summarize } from './report.ts';
import { type Progress, type RunResult, run } from './run.ts';
import { findSmallest, formatSmallest, reportSmallest, type Trial } from './smallest.ts';
import { TraceError } from './trace.ts';

export interface PlanOptions {
  readonly goal: readonly string[];
  readonly seed?: number;
  readonly json?: boolean;
  /** Look for the smallest limits that meet the goals. */
  readonly smallest?: boolean;
}

interface Output {
  print(text: string): void;
  /** A line that the next one takes the place of; empty where it is to go. */
  progress(text: string): void;
}

/**
 * Rehearses the traffic and prints what became of it. Gives the exit code: 0 where every goal is met, 1 where one is
 * not, 2 where there is nothing to judge: a file or a goal that is wrong.
 */
export async function plan(
  configFile: string,
  trafficFile: string,
  options: PlanOptions,
  { print, progress }: Output,
): Promise<number> {
  let goals: Goal[];
  let loaded: Rehearsable | { readonly problems: readonly FileProblem[] };
  try {
    goals = options.goal.map(parseGoal);
    loaded = await load(configFile, trafficFile);
  } catch (error) {
    print(messageOf(error));
    return 2;
  }
  if ('problems' in loaded) {
    const { problems } = loaded;
    print(options.json ? JSON.stringify({ problems }, undefined, 2) : problems.map(tell).join('\n'));
    return 2;
  }
  const startedAt = performance.now();
  const onProgress = ({ at, of, calls }: Progress) => {
    const elapsed = ((performance.now() - startedAt) / 1_000).toFixed(1);
    progress(`${Math.round((100 * at) / of)} %, ${calls.toLocaleString('en-US')} calls, ${elapsed} s`);
  };
  try {
    checkGroups(goals, loaded);
    const seed = options.seed === undefined ? {} : { seed: options.seed };
    if (options.smallest) {
      const onTrial = ({ factor, isMet }: Trial) =>
        progress(`${factor.toFixed(3)} times the limits: ${isMet ? 'met' : 'missed'}`);
      const found = reportSmallest(await findSmallest(loaded, goals, { ...seed, onTrial }));
      progress('');
      print(options.json ? JSON.stringify(found, undefined, 2) : formatSmallest(found));
      return found.factor === undefined ? 1 : 0;
    }
    const result = await run(loaded, { ...seed, onProgress });
    progress('');
    return tellResult(result, goals, options, print);
  } catch (error) {
    progress('');
    if (!(error instanceof TraceError || error instanceof GoalError)) throw error;
    print(messageOf(error));
    return 2;
  }
}

function tellResult(
  result: RunResult,
  goals: readonly Goal[],
  { json }: PlanOptions,
  print: (text: string) => void,
): number {
  const judged = goals.map((goal) => judge(goal, result.tally, hoursOf(result.duration)));
  const report = summarize(result, judged);
  print(json ? JSON.stringify(report, undefined, 2) : format(report));
  return judged.every(({ isMet }) => isMet) ? 0 : 1;
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

function tell({ file, line, column, path, message, expected, received, hint, code }: FileProblem): string {
  return [
    `${file}${line === undefined ? '' : `:${line}:${column}`}: error ${code}`,
    `  ${path === '' ? '(top level)' : path}: ${message}`,
    `  expected ${expected}, received ${received}`,
    ...(hint === undefined ? [] : [`  ${hint}`]),
  ].join('\n');
}
