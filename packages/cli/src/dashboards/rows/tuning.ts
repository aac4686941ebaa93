import type { Names } from '../naming.ts';
import { ADMISSION, legend, quantile, type RowSpec, sumRate } from '../panel.ts';

/** What an operator turns. */
export function tuningRow(n: Names): RowSpec {
  const model = n.label('genAiRequestModel');
  const tier = n.label('tier');
  const rule = n.label('rule');
  const reason = n.label('reason');
  return {
    title: 'Tuning',
    panels: [
      {
        title: 'Refusals by tier and rule',
        description: 'Which quota, cap or bucket refuses whom.',
        kind: 'timeseries',
        width: 8,
        unit: 'reqps',
        stacked: true,
        min: 0,
        queries: [
          {
            expr: sumRate(n.metric('decisions', { decision: 'refuse' }), `${tier}, ${rule}, ${reason}`),
            legend: legend(tier, rule, reason),
          },
        ],
        traces: { title: 'Refused calls', operation: ADMISSION, tags: 'headgate.decision=refuse' },
      },
      {
        title: 'Told to come back in, p50',
        description: 'The Retry-After of refusals.',
        kind: 'timeseries',
        width: 4,
        unit: 's',
        min: 0,
        queries: [
          {
            expr: quantile(0.5, n.bucket('retryAfter'), reason),
            legend: legend(reason),
          },
        ],
      },
      {
        title: 'Estimate of the input',
        description:
          'Tokens that the API counted over those estimated: 1 is exact, above 1 too few were held.',
        kind: 'timeseries',
        width: 6,
        unit: 'short',
        min: 0,
        queries: [
          ...[0.1, 0.5, 0.9].map((q) => ({
            expr: quantile(q, n.bucket('estimateRatio')),
            legend: `p${q * 100}`,
          })),
        ],
      },
      {
        title: 'What rules in shadow would do',
        description: 'Calls a second that a rule in shadow would have refused or held back, by rule.',
        kind: 'timeseries',
        width: 6,
        unit: 'reqps',
        min: 0,
        queries: [{ expr: sumRate(n.metric('shadowed'), rule), legend: legend(rule) }],
        traces: { title: 'Admissions', operation: ADMISSION },
      },
      {
        title: 'Gaps in the configuration',
        description:
          'Calls a second outside every caller scope, or of models without a bucket; configurations refused and failures of the counter store, a second.',
        kind: 'timeseries',
        width: 12,
        unit: 'short',
        min: 0,
        queries: [
          { expr: `${sumRate(n.metric('unknownCaller'))} or vector(0)`, legend: 'unknown caller' },
          { expr: `${sumRate(n.metric('unknownModel'))} or vector(0)`, legend: 'unknown model' },
          {
            expr: `${sumRate(n.metric('configReloads', { outcome: 'refused' }))} or vector(0)`,
            legend: 'configuration refused',
          },
          { expr: `${sumRate(n.metric('storeErrors'))} or vector(0)`, legend: 'store errors' },
        ],
      },
      {
        title: 'Time between chunks, p95',
        description: 'How evenly answers flow, by model.',
        kind: 'timeseries',
        width: 12,
        unit: 's',
        min: 0,
        queries: [{ expr: quantile(0.95, n.bucket('chunkInterval'), model), legend: legend(model) }],
      },
    ],
  };
}
