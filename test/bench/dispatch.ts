import { EventClock } from '../../packages/cli/src/plan/clock.ts';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { type Arrival, type Passage, Scheduler } from '../../packages/core/src/admission/scheduler.ts';
import { UpstreamBucket } from '../../packages/core/src/admission/upstream.ts';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { estimateOf, taking } from '../support/estimates.ts';

/**
 * What one dispatch costs, with 100,000 calls queued by 10,000 users; what a queued call holds in memory; and what a
 * call costs with few and with many in flight. `node --conditions=source --expose-gc test/bench/dispatch.ts`
 */
const QUEUED = 100_000;
const USERS = 10_000;
const ROUNDS = 20_000;

function gate(concurrency: number) {
  const clock = new EventClock();
  const config = parseConfig({
    lanes: { only: { maxWait: '60m', maxQueued: 10_000_000, maxQueuedPerUser: 1_000_000 } },
  });
  const limits = {
    requestsPerMinute: 60_000_000,
    inputTokensPerMinute: 1e12,
    outputTokensPerMinute: 1e12,
    burst: 1,
    concurrency,
  };
  const estimator = new Estimator(() => 0);
  const upstream = new UpstreamBucket('a', 's', limits, estimator, 0);
  const scheduler = new Scheduler(upstream, config.lanes, new Alarms(clock), clock, () => 0.5);
  const quotas = new Quotas([], 'UTC', clock);
  const arrival = (user: number): Arrival => ({
    demand: {
      estimate: estimateOf(100, 100, { leastInputTokens: 90 }),
      chargesTokens: true,
      isStreaming: true,
    },
    lane: 'only',
    flowKey: `user ${user}`,
    ticket: quotas.ticket([], taking({ inputTokens: 100, outputTokens: 100 })),
    deadlineAt: 1e9,
    isRetry: false,
    signals: [],
  });
  const end = ({ flight }: Passage, user: string) => {
    upstream.settle(flight, { requests: 1, inputTokens: 95, outputTokens: 80 }, clock.now());
    scheduler.settled('only', user, upstream.cost(95, 80), flight);
  };
  return { clock, scheduler, arrival, end };
}

const quantile = (values: number[], q: number) =>
  values.sort((a, b) => a - b)[Math.floor(q * values.length)] ?? 0;

async function dispatch(): Promise<void> {
  const { scheduler, arrival, end } = gate(1);
  const first = await scheduler.enter(arrival(-1));
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const arrivals = Array.from({ length: QUEUED }, (_, i) => arrival(i % USERS));
  globalThis.gc?.();
  const own = process.memoryUsage().heapUsed - before;
  let granted: Passage | undefined;
  let user = '';
  for (const each of arrivals)
    void scheduler.enter(each).then((passage) => {
      granted = passage;
      user = each.flowKey;
    });
  globalThis.gc?.();
  const bytes = (process.memoryUsage().heapUsed - before - own) / QUEUED;
  const times: number[] = [];
  end(first, 'user -1');
  for (let i = 0; i < ROUNDS; i++) {
    await undefined;
    const passage = granted;
    if (passage === undefined) throw new Error('nobody was let in');
    granted = undefined;
    const from = performance.now();
    end(passage, user);
    times.push((performance.now() - from) * 1_000);
  }
  console.log(
    `${QUEUED} queued by ${USERS}: dispatch ${quantile(times, 0.5).toFixed(1)} µs median, ${quantile(times, 0.99).toFixed(1)} µs p99; ${bytes.toFixed(0)} B a queued call`,
  );
}

async function inFlight(count: number): Promise<void> {
  const { clock, scheduler, arrival, end } = gate(1_000_000);
  const running: Passage[] = [];
  for (let i = 0; i < count; i++) running.push(await scheduler.enter(arrival(i)));
  const from = performance.now();
  const calls = 20_000;
  for (let i = 0; i < calls; i++) {
    // Each call takes six seconds: as many of them pass in that time as are in flight.
    await clock.run(clock.now() + 6_000 / count);
    const oldest = running.shift();
    if (oldest !== undefined) end(oldest, `user ${i}`);
    running.push(await scheduler.enter(arrival(i)));
  }
  console.log(`${count} in flight: ${(((performance.now() - from) * 1_000) / calls).toFixed(1)} µs a call`);
}

await dispatch();
for (const count of [1, 10, 100, 1_000]) await inFlight(count);
