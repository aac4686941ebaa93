import type { Names } from '../naming.ts';
import { ADMISSION, legend, quantile, type RowSpec, sumRate } from '../panel.ts';

/** What holds calls back. */
export function waitsRow(n: Names): RowSpec {
  const lane = n.label('lane');
  const reason = n.label('reason');
  const bucket = n.label('bucket');
  return {
    title: 'Why calls wait',
    panels: [
      {
        title: 'Held back, by reason',
        description: 'Calls a second that had to wait (queue) or were refused, by what bound.',
        kind: 'timeseries',
        width: 8,
        unit: 'reqps',
        stacked: true,
        min: 0,
        queries: [
          {
            expr: sumRate(
              n.metric('decisions', { decision: '~queue|refuse' }),
              `${n.label('decision')}, ${reason}`,
            ),
            legend: legend(n.label('decision'), reason),
          },
        ],
        traces: { title: 'Calls that waited', operation: ADMISSION, tags: 'headgate.decision=queue' },
      },
      {
        title: 'Queue depth by lane',
        description: 'Calls that wait now, over all processes.',
        kind: 'timeseries',
        width: 5,
        unit: 'short',
        min: 0,
        queries: [{ expr: `sum by (${lane}) (${n.metric('queueDepth')})`, legend: legend(lane) }],
      },
      {
        title: 'Queue wait by lane, p95',
        description: 'From arrival to admission.',
        kind: 'timeseries',
        width: 5,
        unit: 's',
        min: 0,
        queries: [
          {
            expr: quantile(0.95, n.bucket('queueWait', { outcome: 'admitted' }), lane),
            legend: legend(lane),
          },
        ],
        traces: { title: 'Calls that waited', operation: ADMISSION, tags: 'headgate.decision=queue' },
      },
      {
        title: 'Calls in flight',
        description: 'Running now, and how many may; no limit is shown where nothing limits them.',
        kind: 'timeseries',
        width: 6,
        unit: 'short',
        min: 0,
        queries: [
          { expr: `sum by (${bucket}) (${n.metric('active')})`, legend: `${legend(bucket)} running` },
          {
            expr: `sum by (${bucket}) (${n.metric('concurrencyLimit')})`,
            legend: `${legend(bucket)} limit`,
          },
        ],
      },
    ],
  };
}
