import type { Admission } from '../admission/admission.ts';
import type { GaugeReading } from './metrics.ts';
import { ATTRIBUTES as A } from './names.ts';

/** What the gauges show, out of a snapshot: gauges are of this process, and of what it reckons. */
export function* readGauges(
  snapshot: ReturnType<Admission['snapshot']>,
  retryBudget: number,
  openBreakers: number,
): Generator<GaugeReading> {
  yield { gauge: 'retryBudget', value: retryBudget, attributes: {} };
  yield { gauge: 'breakersOpen', value: openBreakers, attributes: {} };
  for (const { account, name, limits, active, lanes, fleet } of snapshot.buckets) {
    const bucket = { [A.account]: account, [A.bucket]: name };
    if (fleet !== undefined) {
      yield { gauge: 'storeShared', value: fleet.mode === 'shared' ? 1 : 0, attributes: bucket };
      yield { gauge: 'storeProcesses', value: fleet.processes, attributes: bucket };
    }
    yield { gauge: 'active', value: active, attributes: bucket };
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
        yield {
          gauge: 'requestsRemaining',
          value: limit.level,
          attributes: bucket,
        };
        yield {
          gauge: 'requestsLimit',
          value: limit.perMinute,
          attributes: bucket,
        };
      } else {
        const attributes = {
          ...bucket,
          [A.direction]: dimension === 'inputTokens' ? 'input' : 'output',
        };
        yield { gauge: 'tokensRemaining', value: limit.level, attributes };
        yield { gauge: 'tokensLimit', value: limit.perMinute, attributes };
      }
    }
  }
}
