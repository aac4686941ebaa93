import type { Candidate, Exchange, LedgerEvent, MeterAsk, QuotaAsk, QuotaChange } from '@headgate/core';
import fc from 'fast-check';

/** One random exchange of one of a few processes, so much later than the last. */
export interface Command {
  readonly afterMs: number;
  readonly process: number;
  /** The last exchange is sent again instead. */
  readonly again: boolean;
  readonly exchange: Omit<Exchange, 'process' | 'seq' | 'acked'>;
}

export const LANES = {
  interactive: { weight: 8, guarantee: 0.5, reserve: 0, order: 0 },
  background: { weight: 1, guarantee: 0.05, reserve: 0.15, order: 1 },
};
const lane = fc.constantFrom('interactive', 'background');
const user = fc.constantFrom('anna', 'ben', 'cleo', 'dora');
const tokens = fc.oneof(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 0, max: 6_000 }));
const points = (most: number) =>
  fc
    .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: most })), { minLength: 20, maxLength: 20 })
    .map((steps) => {
      let sum = 0;
      return steps.map((step) => {
        sum += step;
        return sum;
      });
    });
export const longPath = fc.record({ use: points(150), variance: points(400), most: points(400) });
/** Short answers, for which there is room as a rule, and such that fill a bucket: then the level is run forward. */
export const path = fc.oneof(
  fc.record({ use: points(20), variance: points(40), most: points(50) }),
  fc.record({ use: points(90), variance: points(4_000), most: points(400) }),
);

/** Milliseconds of the epoch at which the commands begin. */
export const START = 1_800_000_000_000;
const meter: fc.Arbitrary<MeterAsk> = fc.oneof(
  fc.record({
    name: fc.constant('requests'),
    amount: fc.constantFrom(0, 1),
    quota: fc.constant(5),
    kind: fc.constant('continuous' as const),
    capacity: fc.constant(3),
    ratePerMs: fc.constant(5 / 60_000),
  }),
  fc.record(
    {
      name: fc.constant('outputTokens'),
      amount: fc.oneof(fc.integer({ min: 1, max: 900 }), fc.integer({ min: 1_900, max: 4_000 })),
      least: fc.integer({ min: 0, max: 2_100 }),
      alone: fc.integer({ min: 0, max: 2_100 }),
      quota: fc.constant(2_000),
      kind: fc.constant('window' as const),
      start: fc.constantFrom(START - 5_000, START + 20_000),
      end: fc.constantFrom(START + 20_000, START + 45_000),
    },
    { requiredKeys: ['name', 'amount', 'quota', 'kind', 'start', 'end'] },
  ),
);
const quotaAsk: fc.Arbitrary<QuotaAsk> = fc
  .record({
    key: fc.constantFrom('quota-1', 'quota-2'),
    onExceed: fc.constantFrom('refuse' as const, 'wait' as const, 'shadow' as const),
    slots: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
    isHeld: fc.boolean(),
    meters: fc.uniqueArray(meter, { maxLength: 2, selector: ({ name }) => name }),
  })
  .map(({ slots, ...ask }) => ({ ...ask, ...(slots === undefined ? {} : { concurrency: slots }) }));
const quotas = fc.uniqueArray(quotaAsk, { maxLength: 2, selector: ({ key }) => key });

const candidate: fc.Arbitrary<Candidate> = fc
  .record({
    id: fc.integer({ min: 1, max: 50 }),
    lane,
    user,
    cost: fc.integer({ min: 1, max: 3_000 }),
    chargesTokens: fc.boolean(),
    inputTokens: tokens,
    inputHeld: tokens,
    outputTokens: tokens,
    path: fc.option(path, { nil: undefined }),
    tag: fc.option(
      fc.record({ epoch: fc.integer({ min: 0, max: 3 }), at: fc.integer({ min: 0, max: 9_000 }) }),
      {
        nil: undefined,
      },
    ),
    waitedMs: fc.integer({ min: 0, max: 500 }),
    isQueued: fc.boolean(),
    quotas,
  })
  .map(({ path: own, tag, ...call }) => ({
    ...call,
    ...(own === undefined ? {} : { path: own }),
    ...(tag === undefined ? {} : { tag }),
  }));

const shown = fc.record({
  limit: fc.constantFrom(60, 6_000, 60_000),
  remaining: fc.integer({ min: 0, max: 6_000 }),
});
const headroom = fc
  .record({
    requests: fc.option(shown, { nil: undefined }),
    inputTokens: fc.option(shown, { nil: undefined }),
    outputTokens: fc.option(shown, { nil: undefined }),
  })
  .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)));
const event: fc.Arbitrary<LedgerEvent> = fc.oneof(
  fc.record({
    type: fc.constant('headers' as const),
    sentAgo: fc.integer({ min: 0, max: 20_000 }),
    isAnswer: fc.boolean(),
    headroom,
  }),
  fc.record({ type: fc.constant('pause' as const), ms: fc.integer({ min: 1, max: 1_500 }) }),
  fc.record({
    type: fc.constant('ramp' as const),
    sentAgo: fc.integer({ min: 0, max: 3_000 }),
    ms: fc.integer({ min: 0, max: 1_500 }),
  }),
  fc.record({ type: fc.constant('endPause' as const) }),
  fc.record({ type: fc.constant('overloaded' as const), startedAgo: fc.integer({ min: 0, max: 9_000 }) }),
  fc.record({ type: fc.constant('ended' as const), startedAgo: fc.integer({ min: 0, max: 9_000 }) }),
  fc.record({
    type: fc.constant('corrected' as const),
    lane,
    user,
    delta: fc.integer({ min: -500, max: 500 }),
    isOwed: fc.boolean(),
    epoch: fc.integer({ min: 0, max: 2 }),
  }),
);
const change: fc.Arbitrary<QuotaChange> = fc.record({
  key: fc.constantFrom('quota-1', 'quota-2'),
  slots: fc.constantFrom(0, -1),
  meters: fc.array(
    fc.record({
      name: fc.constantFrom('requests', 'outputTokens'),
      released: fc.constantFrom(0, 1),
      used: fc.integer({ min: -300, max: 300 }),
      at: fc.integer({ min: START, max: START + 60_000 }),
    }),
    { maxLength: 2 },
  ),
});

/** Calls that answer alike have one path. */
function sharing(candidates: readonly Candidate[]): Candidate[] {
  const shared = candidates.find(({ path }) => path !== undefined)?.path;
  return candidates.map((call) =>
    shared === undefined || call.path === undefined ? call : { ...call, path: shared },
  );
}

export const command: fc.Arbitrary<Command> = fc
  .record({
    afterMs: fc.oneof(fc.integer({ min: 0, max: 400 }), fc.constantFrom(1_000, 3_000, 11_000)),
    process: fc.integer({ min: 0, max: 3 }),
    again: fc.oneof({ arbitrary: fc.constant(false), weight: 9 }, fc.constant(true)),
    charges: fc.record({
      requests: fc.constantFrom(0, 0, -1),
      inputTokens: fc.constantFrom(0, 0, 0, 500, -200),
      outputTokens: fc.constantFrom(0, 0, 0, 300, -100),
    }),
    holds: fc.record({
      inputTokens: fc.integer({ min: 0, max: 900 }),
      calls: fc.integer({ min: 0, max: 3 }),
      variance: fc.integer({ min: 0, max: 10_000 }),
    }),
    path: fc.option(path, { nil: undefined }),
    limits: fc.option(
      fc.constantFrom(
        {},
        { requests: 600, inputTokens: 60_000, outputTokens: 20_000, burst: 0.1 },
        { requests: 500, outputTokens: 20_000 },
        { requests: 600, inputTokens: 60_000, concurrency: 6 },
      ),
      { nil: undefined },
    ),
    hints: fc.option(fc.constant({ requests: 3, inputTokens: 100 }), { nil: undefined }),
    users: fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 })),
    events: fc.oneof(fc.constant([]), fc.array(event, { maxLength: 2 })),
    quotas: fc.array(change, { maxLength: 2 }),
    spent: fc.oneof(fc.constant([]), quotas),
    reserve: fc.array(fc.record({ id: fc.integer({ min: 51, max: 90 }), quotas }), { maxLength: 2 }),
    candidates: fc.uniqueArray(candidate, { maxLength: 5, selector: ({ id }) => id }),
    isShared: fc.boolean(),
  })
  .map(({ afterMs, process, again, users, path: own, limits, hints, isShared, ...rest }) => ({
    afterMs,
    process,
    again,
    exchange: {
      ...rest,
      candidates: isShared ? sharing(rest.candidates) : rest.candidates,
      ...(own === undefined ? {} : { path: own }),
      ...(limits === undefined ? {} : { limits }),
      ...(hints === undefined ? {} : { hints }),
      lanes: {
        interactive: { ...LANES.interactive, users: users[0] },
        background: { ...LANES.background, users: users[1] },
      },
    },
  }));
