import { type Compared, formatComparison } from './compare.ts';
import { format } from './format.ts';
import { checkGroups, type Goal, GoalError, judge, parseGoal } from './goals.ts';
import { type FileProblem, load, type Rehearsable } from './load.ts';
import { hoursOf, summarize } from './report.ts';
import { type Progress, run } from './run.ts';
import { findSmallest, formatSmallest, reportSmallest, type Trial } from './smallest.ts';
import { TraceError } from './trace.ts';

export interface PlanOptions {
  readonly goal: readonly string[];
  readonly seed?: number;
  readonly json?: boolean;
  /** Other configurations to set beside the first, by their files. */
  readonly compare?: readonly string[];
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
  const { compare = [], json } = options;
  const files = [configFile, ...compare];
  let goals: Goal[];
  const loaded: Rehearsable[] = [];
  try {
    goals = options.goal.map(parseGoal);
    if (options.smallest && compare.length > 0)
      throw new GoalError('--smallest: expected one configuration, received --compare too');
    const problems: FileProblem[] = [];
    for (const file of files) {
      const found = await load(file, trafficFile);
      if ('problems' in found) problems.push(...found.problems);
      else loaded.push(found);
    }
    if (problems.length > 0) {
      print(json ? JSON.stringify({ problems }, undefined, 2) : [...new Set(problems.map(tell))].join('\n'));
      return 2;
    }
    for (const each of loaded) checkGroups(goals, each);
  } catch (error) {
    print(messageOf(error));
    return 2;
  }
  try {
    return await rehearse(files, loaded, goals, options, { print, progress });
  } catch (error) {
    progress('');
    if (!(error instanceof TraceError || error instanceof GoalError)) throw error;
    print(messageOf(error));
    return 2;
  }
}

async function rehearse(
  files: readonly string[],
  loaded: readonly Rehearsable[],
  goals: readonly Goal[],
  options: PlanOptions,
  { print, progress }: Output,
): Promise<number> {
  const seed = options.seed === undefined ? {} : { seed: options.seed };
  const [first] = loaded;
  if (options.smallest && first !== undefined) {
    const onTrial = ({ factor, isMet }: Trial) =>
      progress(`${factor.toFixed(3)} times the limits: ${isMet ? 'met' : 'missed'}`);
    const found = reportSmallest(await findSmallest(first, goals, { ...seed, onTrial }));
    progress('');
    print(options.json ? JSON.stringify(found, undefined, 2) : formatSmallest(found));
    return found.factor === undefined ? 1 : 0;
  }
  const startedAt = performance.now();
  const onProgress = ({ at, of, calls }: Progress) => {
    const elapsed = ((performance.now() - startedAt) / 1_000).toFixed(1);
    progress(`${Math.round((100 * at) / of)} %, ${calls.toLocaleString('en-US')} calls, ${elapsed} s`);
  };
  const compared: Compared[] = [];
  for (const [i, each] of loaded.entries()) {
    const result = await run(each, { ...seed, onProgress });
    const judged = goals.map((goal) => judge(goal, result.tally, hoursOf(result.duration)));
    compared.push({ file: files[i] ?? '', report: summarize(result, judged) });
  }
  progress('');
  const report = compared[0]?.report;
  if (report === undefined) throw new TypeError('no configuration was rehearsed');
  if (options.json) print(JSON.stringify(compared.length === 1 ? report : compared, undefined, 2));
  else print(compared.length === 1 ? format(report) : formatComparison(compared));
  // The first is the one that is up for judgement; the others are there to measure it by.
  return report.goals.every(({ isMet }) => isMet) ? 0 : 1;
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
