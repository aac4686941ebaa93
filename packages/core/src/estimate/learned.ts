import { isHashOfName } from '../hash.ts';
import { isRecord } from '../json.ts';
import { readNotice } from '../notice.ts';
import { BINS } from './bins.ts';
import type { LengthsTold } from './lengths.ts';
import type { PaceTold } from './paces.ts';
import { LEAST_RATIO, MOST_RATIO, type Ratio } from './ratio.ts';

/** What a process has learned of answers, by hashes of what it is of. */
export interface Learned {
  readonly lengths: ReadonlyMap<string, LengthsTold>;
  readonly ratios: ReadonlyMap<string, Ratio>;
  readonly paces: ReadonlyMap<string, PaceTold>;
}

/** Of the way in which it is written: what has another is not read. */
const VERSION = 1;
/** Of each kind, at most. */
const MAX_TOLD = 64;
/** All answers that have not faded weigh some seven hundred; those that still run come on top. */
const MOST_WEIGHT = 100_000;
const MOST_SAMPLES = 1e12;

/**
 * What was learned, on its way over the board: `{ version, lengths: { [hash]: [samples, first, values] }, ratios: { [hash]: [middle, spread,
 * samples] }, paces: { [hash]: [firstTokenMs, firstTokens, tokensPerSecond, speeds] } }`. `values` are numbers of four bytes in
 * base64: `ended` from the bin `first` to the last one that is not empty, then `left` from bin 0 to there.
 */
export function writeLearned({ lengths, ratios, paces }: Learned): string {
  return JSON.stringify({
    version: VERSION,
    lengths: latest(lengths, writeLengths),
    ratios: latest(ratios, ({ middle, spread, samples }) => [brief(middle), brief(spread), samples]),
    paces: latest(paces, ({ firstTokenMs, firstTokens, tokensPerSecond, speeds }) => [
      brief(firstTokenMs),
      firstTokens,
      brief(tokensPerSecond),
      speeds,
    ]),
  });
}

/** Nothing where it is not as it is written here. */
export function readLearned(notice: string): Learned | undefined {
  const json = readNotice(notice, VERSION);
  if (json === undefined) return undefined;
  return {
    lengths: readAll(json.lengths, readLengths),
    ratios: readAll(json.ratios, readRatio),
    paces: readAll(json.paces, readPace),
  };
}

const latest = <T>(told: ReadonlyMap<string, T>, write: (each: T) => unknown) =>
  Object.fromEntries([...told].slice(-MAX_TOLD).map(([hash, each]) => [hash, write(each)]));

/** Seven digits are enough for a mean. */
const brief = (value: number) => Number(value.toPrecision(7));

function readAll<T>(told: unknown, read: (each: readonly unknown[]) => T | undefined): Map<string, T> {
  const all = new Map<string, T>();
  if (!isRecord(told)) return all;
  for (const [hash, each] of Object.entries(told).slice(0, MAX_TOLD)) {
    const value = isHashOfName(hash) && Array.isArray(each) ? read(each) : undefined;
    if (value !== undefined) all.set(hash, value);
  }
  return all;
}

function writeLengths({ samples, ended, left }: LengthsTold): [number, number, string] {
  let bins = BINS;
  while (bins > 1 && !((left[bins - 1] ?? 0) > 0) && !((ended[bins - 1] ?? 0) > 0)) bins--;
  let first = 0;
  while (first < bins - 1 && !((ended[first] ?? 0) > 0)) first++;
  const values = [...Array.from(ended).slice(first, bins), ...Array.from(left).slice(0, bins)];
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => {
    bytes.writeFloatLE(value, 4 * i);
  });
  return [samples, first, bytes.toString('base64')];
}

function readLengths([samples, first, base64]: readonly unknown[]): LengthsTold | undefined {
  if (!isWhole(samples) || !isWhole(first) || typeof base64 !== 'string') return undefined;
  if (first >= BINS || base64.length > 4 * BINS * 3) return undefined;
  const bytes = Buffer.from(base64, 'base64');
  const bins = (bytes.length / 4 + first) / 2;
  if (!Number.isInteger(bins) || bins <= first || bins > BINS) return undefined;
  const values = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
  if (!values.every((value) => value >= 0 && value <= MOST_WEIGHT)) return undefined;
  const ended = new Float32Array(BINS);
  const left = new Float32Array(BINS);
  left.set(values.slice(bins - first));
  // Whoever ended in a bin has left it.
  values.slice(0, bins - first).forEach((value, i) => {
    ended[first + i] = Math.min(value, left[first + i] ?? 0);
  });
  return { samples, ended, left };
}

function readRatio([middle, spread, samples]: readonly unknown[]): Ratio | undefined {
  if (!isIn(middle, LEAST_RATIO, MOST_RATIO) || !isIn(spread, 0, MOST_RATIO) || !isWhole(samples))
    return undefined;
  return { middle, spread, samples, recent: [], at: 0 };
}

function readPace([firstTokenMs, firstTokens, tokensPerSecond, speeds]: readonly unknown[]):
  | PaceTold
  | undefined {
  if (!isIn(firstTokenMs, 0, 3_600_000) || !isIn(tokensPerSecond, 1e-3, 10_000)) return undefined;
  if (!isWhole(firstTokens) || !isWhole(speeds)) return undefined;
  return { firstTokenMs, firstTokens, tokensPerSecond, speeds };
}

const isIn = (value: unknown, least: number, most: number): value is number =>
  typeof value === 'number' && value >= least && value <= most;
const isWhole = (value: unknown): value is number => isIn(value, 0, MOST_SAMPLES) && Number.isInteger(value);
