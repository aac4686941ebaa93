import { Heard, remember } from './heard.ts';
import { FADE, learnRatio, type Ratio, UNKNOWN_RATIO } from './ratio.ts';

/** Samples that count: older ones have faded. */
const MOST_WEIGHT = 1 / FADE;

interface Told {
  readonly ratio: Ratio;
  /** Our own samples at that time: as ours go on, what was told then fades. */
  readonly at: number;
}

/** The ratio of each class of models: what this process has learned, with what the others tell. */
export class Ratios {
  readonly #own = new Map<string, Ratio>();
  readonly #heard = new Heard<Told>();
  /** With what the others tell, where they do. */
  readonly #merged = new Map<string, Ratio>();

  of(modelClass: string): Ratio {
    const own = this.#own.get(modelClass) ?? UNKNOWN_RATIO;
    const others = this.#heard.of(modelClass);
    if (others === undefined) return own;
    let merged = this.#merged.get(modelClass);
    if (merged === undefined) {
      merged = mergeRatios(
        own,
        [...others.values()].map(({ ratio, at }) => ({ ratio, age: own.samples - at })),
      );
      remember(this.#merged, modelClass, merged);
    }
    return merged;
  }

  learn(modelClass: string, estimate: number, actual: number): void {
    const own = this.#own.get(modelClass) ?? UNKNOWN_RATIO;
    remember(this.#own, modelClass, learnRatio(own, estimate, actual));
    this.#merged.delete(modelClass);
  }

  /** What was learned here, by hash, the latest last. */
  get told(): [string, Ratio][] {
    return [...this.#own].map(([modelClass, ratio]) => [this.#heard.hashOf(modelClass), ratio]);
  }

  heard(process: string, told: ReadonlyMap<string, Ratio>): void {
    if (told.size === 0) return;
    const counts = new Map(this.told.map(([hash, { samples }]) => [hash, samples]));
    for (const [hash, ratio] of told) this.#heard.set(hash, process, { ratio, at: counts.get(hash) ?? 0 });
    this.#merged.clear();
  }
}

/**
 * Ratios of several processes, each weighed by the samples that it still remembers; with none of our own, what is assumed
 * weighs as one. Pure.
 *
 * @param age samples of our own since the other was told.
 */
export function mergeRatios(
  own: Ratio,
  others: readonly { readonly ratio: Ratio; readonly age: number }[],
): Ratio {
  const all = others.map(({ ratio, age }) => ({
    ratio,
    weight: Math.min(MOST_WEIGHT, ratio.samples) * (1 - FADE) ** Math.max(0, age),
  }));
  all.push({ ratio: own, weight: Math.min(MOST_WEIGHT, own.samples + 1) });
  const total = all.reduce((sum, { weight }) => sum + weight, 0);
  const mean = all.reduce((sum, { ratio, weight }) => sum + weight * ratio.mean, 0) / total;
  // As far as the means lie apart, calls differ more than each process has seen.
  const spread =
    all.reduce((sum, { ratio, weight }) => sum + weight * (ratio.spread + Math.abs(ratio.mean - mean)), 0) /
    total;
  return { mean, spread, samples: all.reduce((sum, { ratio }) => sum + ratio.samples, 0) };
}
