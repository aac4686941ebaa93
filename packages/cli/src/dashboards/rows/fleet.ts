import type { Names } from '../naming.ts';
import { ADMISSION, legend, type RowSpec, sumRate } from '../panel.ts';

/** Processes that share their limits. Of one that has no shared store there is nothing to show. */
export function fleetRow(n: Names): RowSpec {
  const bucket = n.label('bucket');
  const mode = n.label('mode');
  return {
    title: 'Fleet',
    panels: [
      {
        title: 'Limits are shared',
        description:
          '1 where every process draws on the shared store, by bucket; 0 where one at least goes on with its share.',
        kind: 'timeseries',
        width: 6,
        unit: 'short',
        min: 0,
        max: 1,
        thresholds: { warn: 1, alarm: 1, isLowBad: true },
        queries: [{ expr: `min by (${bucket}) (${n.metric('storeShared')})`, legend: legend(bucket) }],
      },
      {
        title: 'Processes',
        description: 'That share the limits of a bucket, as the store last told.',
        kind: 'timeseries',
        width: 6,
        unit: 'short',
        min: 0,
        queries: [{ expr: `max by (${bucket}) (${n.metric('storeProcesses')})`, legend: legend(bucket) }],
      },
      {
        title: 'Moves in the last hour',
        description:
          'Times that a process lost the shared store (degraded) and had it back (shared), of each bucket. Many: Redis is slow, or the way to it.',
        kind: 'timeseries',
        width: 6,
        unit: 'short',
        min: 0,
        queries: [
          { expr: `sum by (${mode}) (increase(${n.metric('storeMoves')}[1h]))`, legend: legend(mode) },
        ],
      },
      {
        title: 'Decisions by mode',
        description: 'Calls a second that were decided by the shared store, and by a process’s own share.',
        kind: 'timeseries',
        width: 6,
        unit: 'reqps',
        stacked: true,
        min: 0,
        queries: [{ expr: sumRate(n.metric('decisions', { mode: '!' }), mode), legend: legend(mode) }],
        traces: { title: 'Decided by a share', operation: ADMISSION, tags: 'headgate.mode=degraded' },
      },
    ],
  };
}
