import type { Names } from '../naming.ts';
import { ADMISSION, ATTEMPT, legend, quantile, type RowSpec, sumRate } from '../panel.ts';

/** What users see of it all. */
export function usersRow(n: Names): RowSpec {
  const outcome = n.label('outcome');
  const model = n.label('genAiRequestModel');
  return {
    title: 'What users see',
    panels: [
      {
        title: 'Calls by outcome',
        description: 'Governed calls a second, by how they ended. A refused call never reached the API.',
        kind: 'timeseries',
        width: 6,
        unit: 'reqps',
        stacked: true,
        min: 0,
        queries: [{ expr: sumRate(n.count('callDuration'), outcome), legend: legend(outcome) }],
        traces: { title: 'Refused calls', operation: ADMISSION, tags: 'headgate.decision=refuse' },
      },
      {
        title: 'Time of answered calls',
        description: 'From arrival to the end of the answer: queue, attempts, backoff and stream.',
        kind: 'timeseries',
        width: 6,
        unit: 's',
        min: 0,
        queries: [0.5, 0.95, 0.99].map((q) => ({
          expr: quantile(q, n.bucket('callDuration', { outcome: 'ok' })),
          legend: `p${q * 100}`,
        })),
        traces: { title: 'Attempts', operation: ATTEMPT },
      },
      {
        title: 'Time to first chunk, p95',
        description: 'How long the reader of a stream looks at an empty page, queue included.',
        kind: 'timeseries',
        width: 6,
        unit: 's',
        min: 0,
        queries: [{ expr: quantile(0.95, n.bucket('firstChunk'), model), legend: legend(model) }],
      },
      {
        title: 'Failed calls',
        description:
          'Share of calls that ended in an error of the API or of the connection. Refusals are apart.',
        kind: 'timeseries',
        width: 6,
        unit: 'percentunit',
        min: 0,
        thresholds: { warn: 0.01, alarm: 0.05 },
        queries: [
          {
            expr: `(${sumRate(n.count('callDuration', { outcome: 'error' }))} or vector(0)) / ${sumRate(n.count('callDuration'))}`,
            legend: 'failed',
          },
          {
            expr: `(${sumRate(n.count('callDuration', { outcome: 'refused' }))} or vector(0)) / ${sumRate(n.count('callDuration'))}`,
            legend: 'refused',
          },
        ],
        traces: { title: 'Failed attempts', operation: ATTEMPT, tags: 'error=true' },
      },
    ],
  };
}
