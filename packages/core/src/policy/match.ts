import { compositeKey } from '../composite-key.ts';
import type { When } from '../config/schema.ts';
import { compileGlobs } from './glob.ts';

/** What a rule is matched against. */
export interface Subject {
  readonly user: string;
  readonly tenant: string | undefined;
  readonly tier: string | undefined;
  readonly lane: string;
  readonly route: string | undefined;
  readonly model: string;
}

export type Matcher = (subject: Subject) => boolean;

const FIELDS = ['user', 'tenant', 'tier', 'lane', 'route', 'model'] as const;

/** A `when`, compiled. A field that the subject lacks never matches a pattern, not even `*`. */
export function compileWhen(when: When): Matcher {
  const tests = FIELDS.flatMap((field) => {
    const patterns = when[field];
    return patterns === undefined ? [] : [{ field, matches: compileGlobs(patterns) }];
  });
  return (subject) =>
    tests.every(({ field, matches }) => {
      const value = subject[field];
      return value !== undefined && matches(value);
    });
}

/** Answers kept: callers differ without number, but tiers, routes and models are few. */
const MAX_ANSWERS = 1_024;
/** The longest combination of names that an answer is kept for, in characters. */
const MAX_KEY = 1_024;

/**
 * The rules that match a subject, in their order. What depends on tier, lane, route and model alone is worked out once
 * for each combination, so that a hundred rules cost a call no more than a few; what names users or tenants is asked
 * each time.
 */
export function compileRules<R extends { readonly when: When }>(
  rules: readonly R[],
): (subject: Subject) => readonly R[] {
  const compiled = rules.map((rule) => ({
    rule,
    matches: compileWhen(rule.when),
    isPersonal: rule.when.user !== undefined || rule.when.tenant !== undefined,
  }));
  const hasPersonal = compiled.some(({ isPersonal }) => isPersonal);
  const answers = new Map<string, readonly (typeof compiled)[number][]>();
  return (subject) => {
    // Long names are a client's: they are matched each time.
    const key = compositeKey(subject.tier, subject.lane, subject.route, subject.model);
    let candidates = answers.get(key);
    if (candidates === undefined) {
      candidates = compiled.filter(({ matches, isPersonal }) => isPersonal || matches(subject));
      if (answers.size < MAX_ANSWERS && key.length <= MAX_KEY) answers.set(key, candidates);
    }
    const chosen = hasPersonal
      ? candidates.filter(({ matches, isPersonal }) => !isPersonal || matches(subject))
      : candidates;
    return chosen.map(({ rule }) => rule);
  };
}
