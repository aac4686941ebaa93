import { type Compared, formatComparison } from './compare.ts';
import { format, table } from './format.ts';
import { type Goal, judge } from './goals.ts';
import type { PageOptions } from './html/page.ts';
import type { Rehearsable } from './load.ts';
import { type Differences, differenceRows, differencesOf, remarksOf } from './real/differences.ts';
import type { MachineReport } from './real/machine.ts';
import { type Interruption, runReal } from './real/run.ts';
import { hoursOf, type PlanReport, summarize } from './report.ts';
import { type Progress, type RunResult, run } from './run.ts';
import { type Dimension, findSmallest, formatSmallest, reportSmallest, smallestLines } from './smallest.ts';

/** What a way of playing has come to, for whoever wants it. */
export interface Played {
  readonly isMet: boolean;
  readonly text: string;
  readonly json: unknown;
  readonly page: Omit<PageOptions, 'trafficFile'>;
}

/** One configuration, by its file. */
export interface Candidate {
  readonly file: string;
  readonly loaded: Rehearsable;
}

interface Way {
  readonly goals: readonly Goal[];
  readonly seed: { readonly seed?: number };
  /** A line that the next one takes the place of. */
  readonly progress: (text: string) => void;
}

const areMet = ({ goals }: PlanReport) => goals.every(({ isMet }) => isMet);

const reportOf = (result: RunResult, goals: readonly Goal[]) =>
  summarize(
    result,
    goals.map((goal) => judge(goal, result.tally, hoursOf(result.duration))),
  );

/** How far it is, and how long it has taken. */
function teller(progress: (text: string) => void) {
  const startedAt = performance.now();
  return ({ at, of, calls }: Progress) => {
    const elapsed = ((performance.now() - startedAt) / 1_000).toFixed(1);
    progress(`${Math.round((100 * at) / of)} %, ${calls.toLocaleString('en-US')} calls, ${elapsed} s`);
  };
}

/** The same calls under each configuration; the first is judged, the others are there to measure it by. */
export async function playAll(
  candidates: readonly Candidate[],
  { goals, seed, progress }: Way,
): Promise<Played> {
  const onProgress = teller(progress);
  const compared: Compared[] = [];
  for (const { file, loaded } of candidates)
    compared.push({ file, report: reportOf(await run(loaded, { ...seed, onProgress }), goals) });
  const [first] = compared;
  if (first === undefined) throw new TypeError('no configuration was rehearsed');
  const isOne = compared.length === 1;
  return {
    isMet: areMet(first.report),
    text: isOne ? format(first.report) : formatComparison(compared),
    json: isOne ? first.report : compared,
    page: { compared },
  };
}

export async function playSmallest(
  { file, loaded }: Candidate,
  dimension: Dimension,
  { goals, seed, progress }: Way,
): Promise<Played> {
  const found = reportSmallest(
    await findSmallest(loaded, goals, {
      ...seed,
      dimension,
      onTrial: ({ factor, isMet }) =>
        progress(`${factor.toFixed(3)} times the limits: ${isMet ? 'met' : 'missed'}`),
      onTier: (tier, isMet) => progress(`tier ${tier}: ${isMet ? 'met' : 'missed'}`),
    }),
  );
  return {
    isMet: found.factor !== undefined,
    text: formatSmallest(found),
    json: found,
    page: {
      compared: found.report === undefined ? [] : [{ file, report: found.report }],
      found: smallestLines(found),
    },
  };
}

/** What `--real --json` prints. */
export interface RealReport {
  readonly model: PlanReport;
  readonly real: PlanReport;
  readonly differences: Differences;
  readonly machine: MachineReport;
  /** Calls that ended in an error that is neither Headgate's nor a 429, by what it said. */
  readonly failures: Readonly<Record<string, number>>;
  /** It was ended before its time. */
  readonly isInterrupted: boolean;
}

/** The same calls in real time and in the model, and how far the two are apart. */
export async function playReal(
  { file, loaded }: Candidate,
  { goals, seed, progress, interruption }: Way & { readonly interruption: Interruption },
): Promise<Played> {
  const result = await runReal(loaded, { ...seed, interruption, onProgress: teller(progress) });
  const { duration, windowMs, machine, failures, isInterrupted } = result;
  const real = reportOf(result, goals);
  // Only as long as it went: what was to come later was asked of neither.
  const cut = { ...loaded, traffic: { ...loaded.traffic, duration } };
  const model = reportOf(await run(cut, { ...seed, windowMs }), goals);
  const differences = differencesOf(model, real);
  const rows = differenceRows(differences);
  const compared = [
    { file: 'model', report: model },
    { file: 'real', report: real },
  ];
  const remarks = [
    ...remarksOf(machine, failures),
    ...(isInterrupted
      ? [`ended early, after ${(duration / 1_000).toFixed(1)} s; the model by the same time`]
      : []),
  ];
  const json: RealReport = {
    model,
    real,
    differences,
    machine,
    failures: Object.fromEntries(failures),
    isInterrupted,
  };
  return {
    isMet: areMet(model),
    text: [formatComparison(compared), '', ...table(rows), '', ...remarks].join('\n'),
    json,
    page: {
      title: `${file}, modelled and real`,
      compared,
      found: remarks,
      tables: [{ caption: 'The model against what happened', rows }],
      ...(machine.isVoid === undefined ? {} : { warnings: [machine.isVoid] }),
    },
  };
}
