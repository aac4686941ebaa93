import type { Kind, UpstreamOptions } from '../../packages/cli/src/plan/upstream.ts';
import { KINDS } from '../../packages/cli/src/plan/upstream.ts';
import type { Config, ConfigInput } from '../../packages/core/src/config/schema.ts';
import { backlogged, draw, type Mix, poisson } from './workload.ts';
import { type Job, type Outcome, World, type WorldOptions } from './world.ts';

/** The Start tier's limits with the requests of the next: a size at which each dimension can be made to bind. */
export const LIMITS = {
  requestsPerMinute: 4_000,
  inputTokensPerMinute: 2_000_000,
  outputTokensPerMinute: 400_000,
} as const;

export const MIXES = {
  requests: { meanInput: 100, meanOutput: 40 },
  input: { meanInput: 4_000, meanOutput: 150 },
  output: { meanInput: 500, meanOutput: 400 },
  'input and output': { meanInput: 2_000, meanOutput: 400 },
  json: { meanInput: 500, meanOutput: 400, json: 1 },
} as const satisfies Record<string, Mix>;

/** Calls a second of this mix that the limits allow. */
export function allowed(
  { meanInput, meanOutput }: Mix,
  limits: Omit<UpstreamOptions, 'depthSeconds'> = LIMITS,
) {
  return Math.min(
    limits.requestsPerMinute / 60,
    limits.inputTokensPerMinute / 60 / meanInput,
    limits.outputTokensPerMinute / 60 / meanOutput,
  );
}

/** A configuration in which the depth of the buckets is not told. */
export function unknownDepth(config: Config): Config {
  const account = config.account.map(({ burst: _, ...rest }) => rest);
  return { ...config, account };
}

/** Nothing of the account is told. */
export function unknownLimits(config: Config): Config {
  return { ...config, account: [] };
}

/** Share of depth and refill that the scarcest dimension was used to. */
function bestShare(world: World, used: Record<Kind, number>, seconds: number): number {
  return Math.max(...KINDS.map((kind) => world.share(kind, seconds, used[kind])));
}

const anybody = (world: World, users: number) => `user ${Math.floor(world.traffic() * users)}`;

export interface OverloadResult {
  readonly minute: number;
  readonly whole: number;
  readonly refusals: number;
  readonly timedOut: number;
  readonly accepted: number;
  readonly refused: number;
  readonly world: World;
}

/** Twice what the limits allow, and as much as the depth holds waiting at the start. */
export async function overload(options: {
  mix: Mix;
  depthSeconds: number;
  minutes: number;
  seed?: number;
  world?: Partial<WorldOptions>;
  users?: number;
}): Promise<OverloadResult> {
  const { mix, depthSeconds, minutes, seed = 1, users = 1_000 } = options;
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds }, ...options.world });
  const rate = allowed(mix);
  const make = () => draw(world, mix, anybody(world, users), 'interactive');
  world.clock.at(0, () => {
    for (let i = 0; i < 1.1 * rate * depthSeconds; i++) world.arrive(make());
  });
  poisson(world, () => 2 * rate, minutes * 60_000, make);
  await world.clock.run(60_000);
  const minute = bestShare(world, world.usedNow(), 60);
  await world.clock.run(minutes * 60_000);
  const whole = bestShare(world, world.usedNow(), minutes * 60);
  return { minute, whole, ...counts(world), world };
}

function counts({ outcomes, upstream }: World) {
  const named = (name: string) => outcomes.filter(({ error }) => error?.name === name).length;
  const timedOut = named('QueueTimeoutError');
  const accepted = outcomes.filter(({ admittedAt }) => admittedAt !== undefined).length + timedOut;
  return { refusals: upstream.refusals.length, timedOut, accepted, refused: named('QueueFullError') };
}

/** Depth not told: refusals in the first two minutes and after, and what share of the refill is used after two. */
export async function learnDepth(depthSeconds: number, seed = 1, mix: Mix = MIXES.output) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds }, adjust: unknownDepth });
  poisson(
    world,
    () => 2 * allowed(mix),
    600_000,
    () => draw(world, mix, anybody(world, 1_000), 'interactive'),
  );
  await world.clock.run(120_000);
  const early = world.upstream.refusals.length;
  const before = world.usedNow();
  await world.clock.run(600_000);
  const share = ofRefill(world, before, 480);
  return { early, late: world.upstream.refusals.length - early, share };
}

/** Of the scarcest dimension's refill, the share that was used since `before`. */
function ofRefill(world: World, before: Record<Kind, number>, seconds: number, part = 1): number {
  const used = world.usedNow();
  const perMinute = {
    requests: LIMITS.requestsPerMinute,
    inputTokens: LIMITS.inputTokensPerMinute,
    outputTokens: LIMITS.outputTokensPerMinute,
  };
  return Math.max(
    ...KINDS.map((kind) => (used[kind] - before[kind]) / ((perMinute[kind] / 60) * seconds * part)),
  );
}

/** Another consumer comes and goes; 429s of each step, and the share of what is left that is used after thirty seconds. */
export async function otherConsumer(
  options: { seed?: number; mix?: Mix; depthSeconds?: number } & Partial<WorldOptions> = {},
) {
  const { seed = 1, mix = MIXES.output, depthSeconds = 6, ...rest } = options;
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds }, ...rest });
  poisson(
    world,
    () => 2 * allowed(mix),
    600_000,
    () => draw(world, mix, anybody(world, 1_000), 'interactive'),
  );
  const steps: { from: number; to: number; refusals: number; share: number }[] = [];
  let from = 0;
  for (const [at, to] of [
    [120, 0.2],
    [240, 0],
    [360, 0.2],
    [480, 0],
  ] as const) {
    await world.clock.run(at * 1_000);
    world.upstream.steal(to, from);
    const known = world.upstream.refusals.length;
    await world.clock.run((at + 30) * 1_000);
    const before = world.usedNow();
    await world.clock.run((at + 120) * 1_000 - 1);
    steps.push({
      from,
      to,
      refusals: world.upstream.refusals.length - known,
      share: ofRefill(world, before, 90, 1 - to),
    });
    from = to;
  }
  return steps;
}

/** Limits not told at all: 429s while they are learned, and the share that is used in the second minute. */
export async function learnLimits(seed = 1) {
  const mix = MIXES.output;
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 6 }, adjust: unknownLimits });
  poisson(
    world,
    () => 2 * allowed(mix),
    180_000,
    () => draw(world, mix, anybody(world, 1_000), 'interactive'),
  );
  await world.clock.run(60_000);
  const before = world.usedNow();
  await world.clock.run(180_000);
  return { refusals: world.upstream.refusals.length, share: ofRefill(world, before, 120) };
}

/** Jain's index: 1 where all are equal. */
export function jain(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  const squares = values.reduce((a, b) => a + b * b, 0);
  return squares === 0 ? 0 : (sum * sum) / (values.length * squares);
}

/** Users who always wait, with calls of very different sizes; how evenly a minute is shared. */
export async function fairness(seed = 1, isFifo = false) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 6 }, config: PATIENT, isFifo });
  const users = Array.from({ length: 20 }, (_, i) => `user ${i}`);
  for (const [i, user] of users.entries()) {
    const mix = { meanInput: 500, meanOutput: 50 * 2 ** (i % 5), spread: 0.7 };
    backlogged(world, user, 50, 300_000, () => draw(world, mix, user, 'interactive'));
  }
  await world.clock.run(240_000);
  return jain(served(world, users, 180_000, 240_000));
}

const PATIENT: ConfigInput = {
  lanes: { interactive: { maxWait: '60m', maxQueuedPerUser: 1_000_000, maxQueued: 10_000_000 } },
};

function served(world: World, users: readonly string[], from: number, to: number): number[] {
  const sums = new Map<string, number>(users.map((user) => [user, 0]));
  for (const { job, admittedAt, cost } of world.outcomes)
    if (admittedAt !== undefined && admittedAt >= from && admittedAt < to)
      sums.set(job.user, (sums.get(job.user) ?? 0) + cost);
  return [...sums.values()];
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

export const waitsOf = (world: World, which: (outcome: Outcome) => boolean, after = 0): number[] =>
  world.outcomes
    .filter((outcome) => outcome.arrivedAt >= after && which(outcome))
    .filter(({ admittedAt, error }) => admittedAt !== undefined || error?.name === 'QueueTimeoutError')
    .map(({ waitedMs }) => waitedMs);

/** Wait of ordinary users among fifty who always have a call waiting, and where one of the fifty floods. */
export async function flood(seed = 1) {
  const p95 = async (isFlooded: boolean) => {
    const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 6 }, config: PATIENT });
    const mix = MIXES.output;
    const ordinary = () => draw(world, mix, anybody(world, 2_000), 'interactive');
    poisson(world, () => 0.5 * allowed(mix), 300_000, ordinary);
    for (let i = 0; i < 50; i++) {
      const depth = isFlooded && i === 0 ? 300 : 10;
      backlogged(world, `busy ${i}`, depth, 300_000, () => draw(world, mix, `busy ${i}`, 'interactive'));
    }
    await world.clock.run(300_000);
    return quantile(
      waitsOf(world, ({ job }) => job.user.startsWith('user'), 60_000),
      0.95,
    );
  };
  return { alone: await p95(false), flooded: await p95(true) };
}

export const LANES: ConfigInput = {
  lanes: {
    interactive: { weight: 8, guarantee: 0.5, maxWait: '20s', maxQueuedPerUser: 100_000 },
    background: {
      weight: 1,
      guarantee: 0.05,
      reserve: 0.15,
      maxWait: '60m',
      maxQueued: 1_000_000,
      maxQueuedPerUser: 100_000,
    },
  },
};

/** Interactive calls at a share of the whole account, with background work that never ends. */
export async function lanes(load: number, seed = 1, depthSeconds = 6) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds }, config: LANES });
  const mix = MIXES.output;
  if (load > 0)
    poisson(
      world,
      () => load * allowed(mix),
      600_000,
      () => draw(world, mix, anybody(world, 2_000), 'interactive'),
    );
  for (let i = 0; i < 5; i++) {
    const user = `job ${i}`;
    backlogged(world, user, 60, 600_000, () => draw(world, mix, user, 'background'));
  }
  await world.clock.run(60_000);
  const before = world.usedNow();
  await world.clock.run(600_000);
  const cost = (lane: string) =>
    world.outcomes
      .filter(({ job, admittedAt }) => job.lane === lane && (admittedAt ?? 0) >= 60_000)
      .reduce((sum, outcome) => sum + outcome.cost, 0) / 540_000;
  const waits = waitsOf(world, ({ job }) => job.lane === 'interactive', 60_000);
  return {
    share: ofRefill(world, before, 540),
    interactive: cost('interactive'),
    background: cost('background'),
    p50: quantile(waits, 0.5),
    p99: quantile(waits, 0.99),
    ...counts(world),
  };
}

/** Two lanes that always wait: what each gets, beside what its weight and guarantee say. */
export async function weights(seed = 1) {
  const config: ConfigInput = {
    lanes: {
      gold: { weight: 3, guarantee: 0.1, ...ENDLESS },
      silver: { weight: 1, guarantee: 0.2, ...ENDLESS },
    },
  };
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 6 }, config });
  for (const lane of ['gold', 'silver'])
    for (let i = 0; i < 5; i++) {
      const user = `${lane} ${i}`;
      backlogged(world, user, 100, 600_000, () => draw(world, MIXES.output, user, lane));
    }
  await world.clock.run(600_000);
  const sum = (lane: string) =>
    world.outcomes
      .filter(({ job, admittedAt }) => job.lane === lane && (admittedAt ?? 0) >= 60_000)
      .reduce((total, { cost }) => total + cost, 0);
  const gold = sum('gold') / (sum('gold') + sum('silver'));
  return { gold, expected: 0.1 + (0.7 * 3) / 4 };
}

const ENDLESS = { maxWait: '60m', maxQueued: 1_000_000, maxQueuedPerUser: 1_000_000 } as const;

/** Prompts of 190,000 tokens among small ones: what the other dimensions are used to, and how long the large ones wait. */
export async function largePrompts(depthSeconds: number, seed = 1) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds }, config: PATIENT });
  const mix = MIXES.output;
  const small = { ...mix, meanInput: 200 };
  let count = 0;
  const large = (): Job => ({
    user: `large ${count++}`,
    lane: 'interactive',
    inputTokens: 190_000,
    outputTokens: 500,
    maxTokens: 4_096,
    isStreaming: true,
  });
  const until = 540_000;
  poisson(
    world,
    () => 1.2 * allowed(small),
    until,
    () => draw(world, small, anybody(world, 1_000), 'interactive'),
  );
  poisson(world, () => 1 / 40, until, large, 5_000);
  await world.clock.run(60_000);
  const before = world.usedNow();
  await world.clock.run(until);
  const share = ofRefill(world, before, 480);
  // Nobody is refused here, so what waits at the end of an overload is served after it.
  await world.clock.run(until + 180_000);
  const waits = waitsOf(world, ({ job }) => job.user.startsWith('large'));
  const others = waitsOf(world, ({ job }) => job.user.startsWith('user'));
  const arrived = world.outcomes.filter(({ job }) => job.user.startsWith('large')).length;
  return {
    share,
    served: waits.length / arrived,
    longest: Math.max(...waits),
    others: quantile(others, 0.99),
    refusals: world.upstream.refusals.length,
  };
}

/** Of the calls that were refused for their wait: how many waited longer where nobody was refused. */
export async function refusalTruth(mix: Mix, seed = 1) {
  const governed = await overload({ mix, depthSeconds: 6, minutes: 5, seed });
  const patient = await overload({ mix, depthSeconds: 6, minutes: 5, seed, world: { config: PATIENT } });
  const refused = governed.world.outcomes.filter(({ error }) => error?.name === 'QueueFullError');
  // Traffic is drawn apart from all else: both worlds are asked the same calls in the same order.
  const twins = patient.world.outcomes;
  const all = governed.world.outcomes;
  const matched = all.filter(
    (outcome, i) => twins[i]?.arrivedAt === outcome.arrivedAt && twins[i]?.job.user === outcome.job.user,
  );
  const isLonger = (i: number) => {
    const twin = twins[i];
    return twin !== undefined && (twin.admittedAt === undefined || twin.waitedMs > 20_000);
  };
  const longer = all.filter(({ error }, i) => error?.name === 'QueueFullError' && isLonger(i));
  return {
    matched: matched.length / all.length,
    refused: refused.length,
    longer: longer.length / Math.max(1, refused.length),
    timedOut: governed.timedOut / governed.accepted,
  };
}

/** The API is overloaded for ten seconds out of sixty. */
export async function overloads(seed = 1) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 6 } });
  const mix = MIXES.output;
  poisson(
    world,
    () => 1.2 * allowed(mix),
    600_000,
    () => draw(world, mix, anybody(world, 1_000), 'interactive'),
  );
  for (let at = 60_000; at < 600_000; at += 60_000)
    world.clock.at(
      at,
      () => {
        world.upstream.overloadedUntil = at + 10_000;
      },
      false,
    );
  await world.clock.run(600_000);
  return {
    overloads: world.upstream.overloads,
    share: bestShare(world, world.usedNow(), 600),
    ...counts(world),
  };
}

/** More than so many requests a second are refused. */
export async function ramp(seed = 1) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 60, rampPerSecond: 60 } });
  const mix = MIXES.output;
  poisson(
    world,
    (now) => (now % 120_000 < 60_000 ? 0.1 : 3) * allowed(mix),
    600_000,
    () => draw(world, mix, anybody(world, 1_000), 'interactive'),
  );
  await world.clock.run(600_000);
  return { share: bestShare(world, world.usedNow(), 600), ...counts(world) };
}

/** The tier changes to twice and back; answers grow three times longer meanwhile. */
export async function drift(seed = 1) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 6 } });
  const mix = MIXES.output;
  const factor = () => (world.clock.now() > 200_000 && world.clock.now() < 400_000 ? 3 : 1);
  poisson(
    world,
    () => (2 * allowed(mix)) / factor(),
    600_000,
    () =>
      draw(world, { ...mix, meanOutput: mix.meanOutput * factor() }, anybody(world, 1_000), 'interactive'),
  );
  await world.clock.run(600_000);
  return { share: bestShare(world, world.usedNow(), 600), ...counts(world) };
}

export async function tier(seed = 1) {
  const world = new World({ seed, upstream: { ...LIMITS, depthSeconds: 6 }, adjust: unknownLimits });
  const mix = MIXES.output;
  poisson(
    world,
    () => 4 * allowed(mix),
    480_000,
    () => draw(world, mix, anybody(world, 1_000), 'interactive'),
  );
  await world.clock.run(120_000);
  const learning = world.upstream.refusals.length;
  world.upstream.resize(2);
  await world.clock.run(150_000);
  const before = world.usedNow();
  await world.clock.run(270_000);
  const doubled = ofRefill(world, before, 120, 2);
  world.upstream.resize(0.5);
  await world.clock.run(300_000);
  const after = world.usedNow();
  await world.clock.run(420_000);
  return {
    doubled,
    halved: ofRefill(world, after, 120),
    refusals: world.upstream.refusals.length - learning,
  };
}
