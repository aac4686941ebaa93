import type { Admission } from '../admission/admission.ts';
import type { GaugeReading } from './metrics.ts';
import { ATTRIBUTES as A } from './names.ts';

export interface BudgetReading {
  readonly name: string;
  readonly account: string | undefined;
  readonly share: number;
  readonly endsInMs: number | undefined;
}

/** What the gauges show, out of a snapshot: gauges are of this process, and of what it reckons. */
export function* readGauges(
  snapshot: ReturnType<Admission['snapshot']>,
  retryBudget: number,
  openBreakers: number,
  batchPending: number,
  budgets: readonly BudgetReading[],
): Generator<GaugeReading> {
  yield { gauge: 'retryBudget', value: retryBudget, attributes: {} };
  for (const { name, account, share, endsInMs } of budgets) {
    const attributes = { [A.rule]: name, ...(account === undefined ? {} : { [A.account]: account }) };
    yield { gauge: 'budgetUsed', value: share, attributes };
    if (endsInMs !== undefined) yield { gauge: 'budgetEnds', value: endsInMs / 1000, attributes };
  }
  yield { gauge: 'batchPending', value: batchPending, attributes: {} };
  yield { gauge: 'breakersOpen', value: openBreakers, attributes: {} };
  for (const { account, name, limits, active, concurrency, lanes, fleet } of snapshot.buckets) {
    const bucket = { [A.account]: account, [A.bucket]: name };
    if (fleet !== undefined) {
      yield { gauge: 'storeShared', value: fleet.mode === 'shared' ? 1 : 0, attributes: bucket };
      yield { gauge: 'storeProcesses', value: fleet.processes, attributes: bucket };
    }
    yield { gauge: 'active', value: active, attributes: bucket };
    if (concurrency !== undefined && Number.isFinite(concurrency)) {
      yield { gauge: 'concurrencyLimit', value: concurrency, attributes: bucket };
    }
    for (const [lane, { queued }] of Object.entries(lanes)) {
      yield {
        gauge: 'queueDepth',
        value: queued,
        attributes: { ...bucket, [A.lane]: lane },
      };
    }
    for (const [dimension, limit] of Object.entries(limits)) {
      if (limit === undefined) continue;
      if (dimension === 'requests') {
        yield { gauge: 'requestsRemaining', value: limit.level, attributes: bucket };
        yield { gauge: 'requestsCapacity', value: limit.capacity, attributes: bucket };
        yield { gauge: 'requestsLimit', value: limit.perMinute, attributes: bucket };
      } else {
        const direction = dimension === 'inputTokens' ? 'input' : 'output';
        const attributes = { ...bucket, [A.direction]: direction };
        yield { gauge: 'tokensRemaining', value: limit.level, attributes };
        yield { gauge: 'tokensCapacity', value: limit.capacity, attributes };
        yield { gauge: 'tokensLimit', value: limit.perMinute, attributes };
      }
    }
  }
}
