import { KINDS, type Kind, type TokensByKind } from './kinds.ts';
import { cover, heldAt, learnRatio, least, medianOf, type Ratio, UNKNOWN_RATIO, WINDOW } from './ratio.ts';
import { Shared } from './shared.ts';

/** A kind of content with a smaller share of a prompt learns nothing from its count. */
const LEAST_SHARE = 0.1;

/** What text is learned under is what all content was once learned under: the name is told to processes of other releases. */
const nameOf = (modelClass: string, kind: Kind) => (kind === 'text' ? modelClass : `${modelClass}\n${kind}`);

/** The ratio of each class of models, by kind of content. */
export class Ratios {
  readonly #now: () => number;
  readonly #shared = new Shared(UNKNOWN_RATIO, (own: Ratio, others) =>
    mergeRatios(
      own,
      others.map(({ told, ownThen }) => ({ ratio: told, age: own.samples - ownThen.samples })),
    ),
  );

  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * A prompt with these tokens, as estimated before any correction, has `actual`: each kind learns by its share of it.
   * `weight`: 1 where the number is sure to be the prompt's.
   */
  learn(modelClass: string, tokens: TokensByKind, actual: number, weight = 1): void {
    const now = this.#now();
    const expected = this.#expected(modelClass, tokens, ({ middle }) => middle, now);
    if (!(expected > 0) || !(actual > 0)) return;
    const samples = KINDS.map((kind) => {
      const name = nameOf(modelClass, kind);
      const { middle } = heldAt(this.#shared.of(name), now);
      return { name, middle, share: (tokens[kind] * middle) / expected };
    });
    for (const { name, middle, share } of samples)
      if (share >= LEAST_SHARE) {
        const learned = learnRatio(
          this.#shared.own(name),
          1,
          middle * (actual / expected),
          weight * share,
          now,
        );
        this.#shared.learned(name, learned);
      }
  }

  /** Tokens that about nine calls in ten do not exceed, and those that about nine in ten do. */
  range(modelClass: string, tokens: TokensByKind): { readonly most: number; readonly least: number } {
    const now = this.#now();
    return {
      most: this.#expected(modelClass, tokens, cover, now),
      least: this.#expected(modelClass, tokens, least, now),
    };
  }

  #expected(
    modelClass: string,
    tokens: TokensByKind,
    factorOf: (ratio: Ratio) => number,
    now: number,
  ): number {
    let sum = 0;
    for (const kind of KINDS)
      if (tokens[kind] > 0)
        sum += tokens[kind] * factorOf(heldAt(this.#shared.of(nameOf(modelClass, kind)), now));
    return sum;
  }

  /** What was learned here, by hash, the latest last. */
  get told(): [string, Ratio][] {
    return this.#shared.told;
  }

  heard(process: string, told: ReadonlyMap<string, Ratio>): void {
    const at = this.#now();
    this.#shared.heard(process, new Map([...told].map(([hash, ratio]) => [hash, { ...ratio, at }])));
  }
}

/**
 * Ratios of several processes, each weighed by the samples that it still remembers; with none of our own, what is assumed
 * weighs as one. Their median, as of the samples of each: one that only odd answers have taught moves it little. Pure.
 *
 * @param age samples of our own since the other was told.
 */
export function mergeRatios(
  own: Ratio,
  others: readonly { readonly ratio: Ratio; readonly age: number }[],
): Ratio {
  const all = others.map(({ ratio, age }) => ({
    ratio,
    weight: Math.min(WINDOW, ratio.samples) * (1 - 1 / WINDOW) ** Math.max(0, age),
  }));
  all.push({ ratio: own, weight: Math.min(WINDOW, own.samples + 1) });
  const middle = weighted(all.map(({ ratio, weight }) => ({ value: ratio.middle, weight })));
  // As far as the middles lie apart, calls differ more than each process has seen.
  const spread = weighted(
    all.map(({ ratio, weight }) => ({ value: ratio.spread + Math.abs(ratio.middle - middle), weight })),
  );
  return {
    middle,
    spread,
    samples: all.reduce((sum, { ratio }) => sum + ratio.samples, 0),
    recent: own.recent,
    at: Math.max(...all.map(({ ratio }) => ratio.at)),
  };
}

const weighted = (values: readonly { readonly value: number; readonly weight: number }[]) =>
  medianOf(values.toSorted((a, b) => a.value - b.value));
