import { Heard, remember } from './heard.ts';

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

interface Told {
  readonly pace: PaceTold;
  /** Our own as it was then: as our samples go on, what was told then fades. */
  readonly own: PaceTold;
}

/** The pace of each class of models: what this process has learned, with what the others tell. */
export class Paces {
  readonly #own = new Map<string, PaceTold>();
  readonly #heard = new Heard<Told>();
  /** With what the others tell, where they do. */
  readonly #merged = new Map<string, Pace>();

  of(modelClass: string): Pace {
    const own = this.#ownOf(modelClass);
    const others = this.#heard.of(modelClass);
    if (others === undefined) return own;
    let merged = this.#merged.get(modelClass);
    if (merged === undefined) {
      merged = merge(own, [...others.values()]);
      remember(this.#merged, modelClass, merged);
    }
    return merged;
  }

  #ownOf(modelClass: string): PaceTold {
    return this.#own.get(modelClass) ?? START;
  }

  learnFirstToken(modelClass: string, ms: number): void {
    const own = this.#ownOf(modelClass);
    this.#learned(modelClass, {
      ...own,
      firstTokenMs: blend(own.firstTokenMs, ms),
      firstTokens: own.firstTokens + 1,
    });
  }

  learnSpeed(modelClass: string, tokensPerSecond: number): void {
    if (!(tokensPerSecond > 0 && tokensPerSecond < 10_000)) return;
    const own = this.#ownOf(modelClass);
    this.#learned(modelClass, {
      ...own,
      // Times add up and speeds do not: the mean of times is not carried off by a short answer that came in one piece.
      tokensPerSecond: 1 / blend(1 / own.tokensPerSecond, 1 / tokensPerSecond),
      speeds: own.speeds + 1,
    });
  }

  #learned(modelClass: string, own: PaceTold): void {
    remember(this.#own, modelClass, own);
    this.#merged.delete(modelClass);
  }

  /** What was learned here, by hash, the latest last. */
  get told(): [string, PaceTold][] {
    return [...this.#own].map(([modelClass, own]) => [this.#heard.hashOf(modelClass), own]);
  }

  heard(process: string, told: ReadonlyMap<string, PaceTold>): void {
    if (told.size === 0) return;
    const own = new Map(this.told);
    for (const [hash, pace] of told) this.#heard.set(hash, process, { pace, own: own.get(hash) ?? START });
    this.#merged.clear();
  }
}

interface Part {
  readonly value: number;
  readonly samples: number;
  readonly age: number;
}

function merge(own: PaceTold, others: readonly Told[]): Pace {
  const firstTokens: Part[] = [{ value: own.firstTokenMs, samples: own.firstTokens, age: 0 }];
  const times: Part[] = [{ value: 1 / own.tokensPerSecond, samples: own.speeds, age: 0 }];
  for (const { pace, own: then } of others) {
    firstTokens.push({
      value: pace.firstTokenMs,
      samples: pace.firstTokens,
      age: own.firstTokens - then.firstTokens,
    });
    times.push({ value: 1 / pace.tokensPerSecond, samples: pace.speeds, age: own.speeds - then.speeds });
  }
  return {
    firstTokenMs: mean(firstTokens, START.firstTokenMs, FIRST_TOKEN_MS),
    tokensPerSecond: 1 / mean(times, 1 / START.tokensPerSecond, SECONDS),
  };
}

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
