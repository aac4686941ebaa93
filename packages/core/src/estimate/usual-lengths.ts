import { remember } from '../remember.ts';
import type { EstimateKey } from './estimator.ts';

/** Users and tiers that are told apart; past it the one that was learned of longest ago is forgotten. */
const MAX_GROUPS = 16_384;
/** With so many answers a group is judged by its own alone. */
const ENOUGH = 8;
/** Weight of the newest answer once there are many: about the last twenty count. */
const FADE = 0.05;

/** How long the answers of one group are: the mean, and the mean of their logarithms, which one long answer moves little. */
interface Usual {
  readonly samples: number;
  readonly mean: number;
  readonly logMean: number;
}

/**
 * How long answers usually are, by class of models, tier and user: enough to say what the next one is likely to take. A
 * group with few answers is judged by the larger group that it is part of as well, and the more by itself the more it has.
 */
export class UsualLengths {
  readonly #groups = new Map<string, Usual>();

  learn(key: EstimateKey, tokens: number): void {
    if (!(tokens >= 0)) return;
    for (const name of [classOf(key), ...groupsOf(key)]) {
      const { samples, mean, logMean } = this.#groups.get(name) ?? { samples: 0, mean: 0, logMean: 0 };
      const step = Math.max(FADE, 1 / (samples + 1));
      const next = {
        samples: samples + 1,
        mean: mean + step * (tokens - mean),
        logMean: logMean + step * (Math.log(Math.max(1, tokens)) - logMean),
      };
      remember(this.#groups, name, next, MAX_GROUPS);
    }
  }

  /** A first guess for all answers of these models, `assumed`, put right by the few that have come. */
  ofClass(key: EstimateKey, assumed: number): number {
    return this.#blend(classOf(key), assumed);
  }

  /** What is expected of answers like this, `usual`, put right for the tier and the user. */
  of(key: EstimateKey, usual: number): number {
    return groupsOf(key).reduce((tokens, name) => this.#blend(name, tokens), usual);
  }

  /** Whether any answer of these models has been learned from. */
  knows(key: EstimateKey): boolean {
    return this.#groups.has(classOf(key));
  }

  #blend(name: string, tokens: number): number {
    const own = this.#groups.get(name);
    if (own === undefined) return tokens;
    if (own.samples >= ENOUGH) return own.mean;
    const weight = own.samples / (own.samples + 1);
    return Math.exp((1 - weight) * Math.log(Math.max(1, tokens)) + weight * own.logMean);
  }
}

const classOf = ({ modelClass }: EstimateKey) => `class\n${modelClass}`;

/** The narrower a group, the later it stands. Calls with no caller in scope are many users' and no user's. */
function groupsOf({ modelClass, purpose, tier, user }: EstimateKey): string[] {
  const groups: string[] = [];
  if (tier !== undefined) groups.push(`tier\n${modelClass}\n${purpose}\n${tier}`);
  if (user !== undefined) groups.push(`user\n${modelClass}\n${purpose}\n${user}`);
  return groups;
}
