import { access, constants, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { duration } from '@headgate/core/simulation';
import { checkGroups, type Goal, GoalError, parseGoal } from './goals.ts';
import { htmlPage } from './html/page.ts';
import { type FileProblem, load } from './load.ts';
import { MissingPeerError } from './real/peers.ts';
import type { Interruption } from './real/run.ts';
import type { Dimension } from './smallest.ts';
import { TraceError } from './trace.ts';
import { type Candidate, type Played, playAll, playReal, playSmallest } from './ways.ts';

export interface PlanOptions {
  readonly goal: readonly string[];
  readonly seed?: number;
  readonly json?: boolean;
  /** Other configurations to set beside the first, by their files. */
  readonly compare?: readonly string[];
  /** Look for the smallest limits that meet the goals: all of them, or those of one dimension. */
  readonly smallest?: Dimension;
  /** Make the calls over HTTP too, in real time. */
  readonly real?: boolean;
  /** A duration: the traffic ends then, where it would go on. */
  readonly for?: string;
  /** Where the report goes as a page. */
  readonly html?: string;
}

interface Output {
  print(text: string): void;
  /** A line that the next one takes the place of; empty where it is to go. */
  progress(text: string): void;
  /** Of a real run, from without. */
  readonly interruption?: Interruption;
}

/** Options that do not go together, or do not read. */
class OptionError extends Error {
  override readonly name = 'OptionError';
}

const isToldPlainly = (error: unknown): error is Error =>
  [OptionError, GoalError, TraceError, MissingPeerError].some((kind) => error instanceof kind);

/**
 * Rehearses the traffic and prints what became of it. Gives the exit code: 0 where every goal is met, 1 where one is
 * not, 2 where there is nothing to judge: a file or a goal that is wrong.
 */
export async function plan(
  configFile: string,
  trafficFile: string,
  options: PlanOptions,
  output: Output,
): Promise<number> {
  const { print, progress } = output;
  let goals: Goal[];
  let candidates: readonly Candidate[];
  try {
    goals = options.goal.map(parseGoal);
    await checkOptions(options);
    const found = await loadAll([configFile, ...(options.compare ?? [])], trafficFile, options.for);
    if ('problems' in found) {
      const { problems } = found;
      print(
        options.json
          ? JSON.stringify({ problems }, undefined, 2)
          : [...new Set(problems.map(tell))].join('\n'),
      );
      return 2;
    }
    candidates = found.candidates;
    for (const { loaded } of candidates) checkGroups(goals, loaded);
  } catch (error) {
    print(messageOf(error));
    return 2;
  }
  let played: Played;
  try {
    played = await play(candidates, goals, options, output);
  } catch (error) {
    progress('');
    if (!isToldPlainly(error)) throw error;
    print(error.message);
    return 2;
  }
  progress('');
  print(options.json ? JSON.stringify(played.json, undefined, 2) : played.text);
  if (options.html !== undefined) {
    const page = await htmlPage({ ...played.page, trafficFile });
    try {
      await writeFile(options.html, page);
    } catch (error) {
      process.stderr.write(`--html ${options.html}: cannot be written: ${messageOf(error)}\n`);
      return 2;
    }
  }
  return played.isMet ? 0 : 1;
}

/** @throws OptionError */
async function checkOptions({ smallest, compare, real, html }: PlanOptions): Promise<void> {
  const asked = [
    ...(smallest === undefined ? [] : ['--smallest']),
    ...(compare === undefined ? [] : ['--compare']),
    ...(real ? ['--real'] : []),
  ];
  if (asked.length > 1)
    throw new OptionError(
      `${asked[0]}: expected one of --smallest, --compare and --real, received ${asked.slice(1).join(' and ')} too`,
    );
  if (html === undefined) return;
  try {
    // Before hours are played that nobody can read of.
    await access(dirname(html), constants.W_OK);
  } catch (error) {
    throw new OptionError(`--html ${html}: cannot be written: ${messageOf(error)}`);
  }
}

/** @throws Error where a file cannot be read, OptionError */
async function loadAll(
  files: readonly string[],
  trafficFile: string,
  cutAt: string | undefined,
): Promise<{ readonly candidates: readonly Candidate[] } | { readonly problems: readonly FileProblem[] }> {
  const limit = cutAt === undefined ? Number.POSITIVE_INFINITY : cutOf(cutAt);
  const problems: FileProblem[] = [];
  const candidates: Candidate[] = [];
  for (const file of files) {
    const found = await load(file, trafficFile);
    if ('problems' in found) {
      problems.push(...found.problems);
      continue;
    }
    const { traffic } = found;
    const loaded = { ...found, traffic: { ...traffic, duration: Math.min(limit, traffic.duration) } };
    candidates.push({ file, loaded });
  }
  return problems.length > 0 ? { problems } : { candidates };
}

function cutOf(text: string): number {
  const result = duration.safeParse(text);
  if (!result.success || result.data < 1_000)
    throw new OptionError(
      `--for: expected a duration of at least 1s, such as 30s, received ${JSON.stringify(text)}`,
    );
  return result.data;
}

function play(
  candidates: readonly Candidate[],
  goals: readonly Goal[],
  { seed, smallest, real }: PlanOptions,
  { progress, interruption }: Output,
): Promise<Played> {
  const way = { goals, seed: seed === undefined ? {} : { seed }, progress };
  const [first] = candidates;
  if (first !== undefined && smallest !== undefined) return playSmallest(first, smallest, way);
  if (first !== undefined && real) {
    const never = new AbortController().signal;
    return playReal(first, { ...way, interruption: interruption ?? { stop: never, abandon: never } });
  }
  return playAll(candidates, way);
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
