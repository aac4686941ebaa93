import { Shared, type Told } from './shared.ts';

/** How fast answers come: learned per class of models. */
export interface Pace {
  /** Milliseconds from the request to its first token. */
  readonly firstTokenMs: number;
  readonly tokensPerSecond: number;
}

/** With the samples that each was learned from. */
export interface PaceTold extends Pace {
  readonly firstTokens: number;
  readonly speeds: number;
}

const START: PaceTold = { firstTokenMs: 600, tokensPerSecond: 70, firstTokens: 0, speeds: 0 };
/** Within which all is that is told: milliseconds to the first token, and seconds for each. */
const FIRST_TOKEN_MS = [0, 3_600_000] as const;
const SECONDS = [1e-4, 1e3] as const;
/** Weight of the newest sample. */
const FADE = 0.1;

const blend = (old: number, sample: number) => old + FADE * (sample - old);

/** The pace of each class of models. */
export class Paces extends Shared<PaceTold> {
  constructor() {
    super(START, merge);
  }

  /**
   * What has been learned of a class, without the start that its means began with; undefined before the first answer.
   * `firstTokenMs` is 0 where no stream has shown it yet.
   */
  learnedOf(modelClass: string): Pace | undefined {
    const { firstTokenMs, tokensPerSecond, firstTokens, speeds } = this.of(modelClass);
    if (speeds === 0) return undefined;
    const without = (mean: number, start: number, samples: number) => {
      const left = (1 - FADE) ** samples;
      return (mean - left * start) / (1 - left);
    };
    const [least, most] = SECONDS;
    const perToken = without(1 / tokensPerSecond, 1 / START.tokensPerSecond, speeds);
    return {
      firstTokenMs:
        firstTokens === 0 ? 0 : Math.max(0, without(firstTokenMs, START.firstTokenMs, firstTokens)),
      tokensPerSecond: 1 / Math.min(most, Math.max(least, perToken)),
    };
  }

  learnFirstToken(modelClass: string, ms: number): void {
    const own = this.own(modelClass);
    this.learned(modelClass, {
      ...own,
      firstTokenMs: blend(own.firstTokenMs, ms),
      firstTokens: own.firstTokens + 1,
    });
  }

  learnSpeed(modelClass: string, tokensPerSecond: number): void {
    if (!(tokensPerSecond > 0 && tokensPerSecond < 10_000)) return;
    const own = this.own(modelClass);
    this.learned(modelClass, {
      ...own,
      // Times add up and speeds do not: the mean of times is not carried off by a short answer that came in one piece.
      tokensPerSecond: 1 / blend(1 / own.tokensPerSecond, 1 / tokensPerSecond),
      speeds: own.speeds + 1,
    });
  }
}

interface Part {
  readonly value: number;
  readonly samples: number;
  readonly age: number;
}

function merge(own: PaceTold, others: readonly Told<PaceTold>[]): PaceTold {
  const firstTokens: Part[] = [{ value: own.firstTokenMs, samples: own.firstTokens, age: 0 }];
  const times: Part[] = [{ value: 1 / own.tokensPerSecond, samples: own.speeds, age: 0 }];
  for (const { told, ownThen } of others) {
    firstTokens.push({
      value: told.firstTokenMs,
      samples: told.firstTokens,
      age: own.firstTokens - ownThen.firstTokens,
    });
    times.push({ value: 1 / told.tokensPerSecond, samples: told.speeds, age: own.speeds - ownThen.speeds });
  }
  return {
    firstTokenMs: mean(firstTokens, START.firstTokenMs, FIRST_TOKEN_MS),
    tokensPerSecond: 1 / mean(times, 1 / START.tokensPerSecond, SECONDS),
    firstTokens: sumOf(firstTokens),
    speeds: sumOf(times),
  };
}

const sumOf = (parts: readonly Part[]) => parts.reduce((sum, { samples }) => sum + samples, 0);

/**
 * Each part is a fading mean that began with `start`, of which there is less in it the more samples it has: that is taken out of
 * each, and put back once, for as much as would be left of it after the samples of all.
 */
function mean(parts: readonly Part[], start: number, [least, most]: readonly [number, number]): number {
  let rest = 1;
  let sum = 0;
  let weight = 0;
  for (const { value, samples, age } of parts) {
    if (samples === 0) continue;
    const left = (1 - FADE) ** samples;
    const faded = (1 - FADE) ** Math.max(0, age) * (1 - left);
    const learned = (value - left * start) / (1 - left);
    sum += faded * Math.min(most, Math.max(least, learned));
    weight += faded;
    rest *= left;
  }
  return (sum + rest * start) / (weight + rest);
}
