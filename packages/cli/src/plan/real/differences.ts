import { percent, seconds } from '../format.ts';
import type { PlanReport } from '../report.ts';
import { KINDS, type Kind } from '../upstream.ts';
import type { MachineReport } from './machine.ts';

/** A wait below this is told in milliseconds alone: a share of it says nothing. */
const LEAST_WAIT_MS = 100;

/** How far the model is from what really happened. */
export interface Differences {
  readonly used: readonly {
    readonly bucket: string;
    readonly kind: Kind;
    /** Shares of the limit. */
    readonly model: number;
    readonly real: number;
    /** Hundredths of the limit that the model is above. */
    readonly points: number;
  }[];
  /** By lane. */
  readonly p95: readonly {
    readonly lane: string;
    readonly modelMs: number;
    readonly realMs: number;
    /** By how much of the real wait the model is above it, in per cent; absent where both are under 100 ms. */
    readonly percent: number | undefined;
  }[];
}

export function differencesOf(model: PlanReport, real: PlanReport): Differences {
  return {
    used: real.buckets.flatMap(({ name, used }) => {
      const modelled = model.buckets.find((each) => each.name === name);
      return KINDS.map((kind) => {
        const share = modelled?.used[kind].mean ?? 0;
        const truth = used[kind].mean;
        return { bucket: name, kind, model: share, real: truth, points: 100 * (share - truth) };
      });
    }),
    p95: real.lanes.map(({ name, waitMs }) => {
      const modelMs = model.lanes.find((each) => each.name === name)?.waitMs.p95 ?? 0;
      const realMs = waitMs.p95;
      const isShort = Math.max(modelMs, realMs) < LEAST_WAIT_MS;
      return {
        lane: name,
        modelMs,
        realMs,
        percent: isShort ? undefined : (100 * (modelMs - realMs)) / Math.max(1, realMs),
      };
    }),
  };
}

const signed = (value: number, unit: string) =>
  `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(1)} ${unit}`;

/** A head, and a row for each difference. */
export function differenceRows({ used, p95 }: Differences): string[][] {
  return [
    ['', 'model', 'real', 'difference'],
    ...used.map(({ bucket, kind, model, real, points }) => [
      `bucket ${bucket}: ${kind}`,
      percent(model),
      percent(real),
      signed(points, 'points'),
    ]),
    ...p95.map(({ lane, modelMs, realMs, percent: share }) => [
      `lane ${lane}: p95`,
      seconds(modelMs),
      seconds(realMs),
      share === undefined ? 'both under 0.1 s' : signed(share, '%'),
    ]),
  ];
}

/** What the machine had to spare, and what else has to be known. */
export function remarksOf(machine: MachineReport, failures: ReadonlyMap<string, number>): string[] {
  const { lateMs, busy, cores, coresThere, callsLateMs, isVoid } = machine;
  return [
    `event loop ${lateMs.toFixed(0)} ms late at p99 and busy ${percent(busy)} of the time, ${cores.toFixed(2)} of ${coresThere} cores used, calls made at most ${callsLateMs.toFixed(0)} ms late`,
    isVoid === undefined
      ? 'the machine had CPU to spare: the comparison holds'
      : `THE COMPARISON IS VOID: ${isVoid}; the differences may be the machine's`,
    ...[...failures].map(([message, count]) => `${count} calls failed otherwise: ${message}`),
  ];
}
