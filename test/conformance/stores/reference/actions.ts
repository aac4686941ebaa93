import type { ConfiguredLimits } from '@headgate/core';
import fc from 'fast-check';
import { longPath, path } from '../commands.ts';
import type { Call } from './honest.ts';
import type { Quota } from './rules.ts';

/** What happens to a fleet of honest processes: each but the passing of time is followed by what its process says. */
export type Action =
  | { readonly type: 'pass'; readonly ms: number }
  | { readonly type: 'come'; readonly process: number; readonly calls: readonly Call[] }
  /** So many that run end, each with such a share of what it was thought to take. */
  | {
      readonly type: 'end';
      readonly process: number;
      readonly nth: number;
      readonly calls: number;
      readonly share: number;
    }
  | { readonly type: 'leave'; readonly process: number; readonly nth: number }
  | { readonly type: 'ask'; readonly process: number }
  | { readonly type: 'again'; readonly process: number }
  | { readonly type: 'pause'; readonly process: number; readonly ms: number }
  | { readonly type: 'endPause'; readonly process: number }
  | { readonly type: 'configure'; readonly process: number; readonly limits: ConfiguredLimits };

const quota: fc.Arbitrary<Quota> = fc.record({
  rule: fc.constantFrom('calls of a day' as const, 'tokens' as const, 'slots' as const, 'money' as const),
  onExceed: fc.constantFrom('refuse' as const, 'refuse' as const, 'wait' as const, 'shadow' as const),
  tokens: fc.oneof(fc.integer({ min: 1, max: 900 }), fc.integer({ min: 1, max: 9_000 })),
  certain: fc.constantFrom(0, 0.1, 0.5, 1),
  isGuess: fc.boolean(),
  requests: fc.constantFrom(1 as const, 1 as const, 1 as const, 0 as const),
});

const tokens = fc.oneof(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 0, max: 7_000 }));
const none = fc.constant(0);
const quotas = (least: number) =>
  fc.uniqueArray(quota, { minLength: least, maxLength: 2, selector: ({ rule }) => rule });

interface Takes {
  readonly charges: fc.Arbitrary<boolean>;
  readonly input: fc.Arbitrary<number>;
  readonly output: fc.Arbitrary<number>;
  readonly path: fc.Arbitrary<Call['path']>;
  readonly quotas: fc.Arbitrary<Quota[]>;
}

const callOf = ({ charges, input, output, path: ahead, quotas: rules }: Takes): fc.Arbitrary<Call> =>
  fc
    .record({
      lane: fc.constantFrom('interactive', 'background'),
      user: fc.constantFrom('anna', 'ben', 'cleo'),
      cost: fc.integer({ min: 1, max: 500 }),
      chargesTokens: charges,
      inputTokens: input,
      inputHeld: input,
      outputTokens: output,
      path: ahead,
      quotas: rules,
    })
    .map(({ path: own, outputTokens, ...rest }) => ({
      ...rest,
      // Charged in advance, or as it is produced; and never more than the most.
      outputTokens: own === undefined ? outputTokens : 0,
      ...(own === undefined
        ? {}
        : { path: { ...own, most: own.use.map((use, k) => use + (own.most[k] ?? 0)) } }),
    }));

/** Fleets that are short of anything, of what their quotas give, or of output. */
const CALLS = [
  callOf({
    charges: fc.boolean(),
    input: tokens,
    output: tokens,
    path: fc.option(path, { nil: undefined }),
    quotas: fc.oneof(fc.constant<Quota[]>([]), quotas(0)),
  }),
  callOf({
    charges: fc.constant(false),
    input: none,
    output: none,
    path: fc.constant(undefined),
    quotas: quotas(1),
  }),
  callOf({ charges: fc.constant(true), input: none, output: none, path: longPath, quotas: fc.constant([]) }),
];

export const limits: fc.Arbitrary<ConfiguredLimits> = fc.constantFrom(
  { requests: 120, inputTokens: 60_000, outputTokens: 40_000, burst: 0.1 },
  { requests: 600, inputTokens: 60_000, outputTokens: 20_000, burst: 0.1, concurrency: 6 },
  { requests: 60, outputTokens: 30_000, burst: 0.2 },
  { requests: 300, inputTokens: 90_000, burst: 0.05, concurrency: 4 },
);

const process = fc.integer({ min: 0, max: 2 });
const nth = fc.nat(9);
const of = <T extends Action['type'], R>(type: T, rest: R) =>
  fc.record({ type: fc.constant(type), process, ...rest });
const actionOf = (call: fc.Arbitrary<Call>): fc.Arbitrary<Action> =>
  fc.oneof(
    {
      arbitrary: fc.record({
        type: fc.constant('pass' as const),
        ms: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.constantFrom(1_000, 3_000, 5_000, 10_000, 11_000)),
      }),
      weight: 6,
    },
    { arbitrary: of('come', { calls: fc.array(call, { minLength: 1, maxLength: 8 }) }), weight: 6 },
    {
      arbitrary: of('end', {
        nth,
        calls: fc.integer({ min: 1, max: 4 }),
        share: fc.constantFrom(0, 0.2, 0.7, 1, 1.5),
      }),
      weight: 5,
    },
    { arbitrary: of('leave', { nth }), weight: 1 },
    { arbitrary: of('ask', {}), weight: 3 },
    { arbitrary: of('again', {}), weight: 2 },
    { arbitrary: of('pause', { ms: fc.integer({ min: 1, max: 1_500 }) }), weight: 1 },
    { arbitrary: of('endPause', {}), weight: 1 },
    { arbitrary: of('configure', { limits }), weight: 1 },
  ) as fc.Arbitrary<Action>;

export const actions: fc.Arbitrary<Action[]> = fc.oneof(
  ...CALLS.map((call) => fc.array(actionOf(call), { minLength: 5, maxLength: 60 })),
);
