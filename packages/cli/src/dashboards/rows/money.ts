import type { Names } from '../naming.ts';
import { legend, type RowSpec, sumRate } from '../panel.ts';

/** What it costs. */
export function moneyRow(n: Names): RowSpec {
  const answered = n.label('genAiResponseModel');
  const cacheRead = sumRate(n.metric('cacheReadTokens'));
  return {
    title: 'Money',
    panels: [
      {
        title: 'USD an hour, by model',
        description:
          'At the present rate. By the table of prices in force; models without a price are apart.',
        kind: 'timeseries',
        width: 6,
        unit: 'currencyUSD',
        stacked: true,
        min: 0,
        queries: [{ expr: `3600 * ${sumRate(n.metric('cost'), answered)}`, legend: legend(answered) }],
      },
      {
        title: 'Read from the cache',
        description: 'Share of the input that was read from the prompt cache, at a tenth of the price.',
        kind: 'timeseries',
        width: 4,
        unit: 'percentunit',
        min: 0,
        queries: [{ expr: `${cacheRead} / ${sumRate(n.metric('inputTokens'))}`, legend: 'share of input' }],
      },
      {
        title: 'USD an hour saved',
        description: 'By marks for the prompt cache, by batches and by smaller models.',
        kind: 'timeseries',
        width: 4,
        unit: 'currencyUSD',
        min: 0,
        queries: [
          {
            expr: `3600 * (${sumRate(n.metric('saved'), n.label('mechanism'))} or vector(0))`,
            legend: `${legend(n.label('mechanism'))} saved`,
          },
        ],
      },
      {
        title: 'Tokens a second',
        description: 'Input with cached input, and output.',
        kind: 'timeseries',
        width: 5,
        unit: 'short',
        min: 0,
        queries: [
          { expr: sumRate(n.metric('inputTokens')), legend: 'input' },
          { expr: sumRate(n.metric('outputTokens')), legend: 'output' },
        ],
      },
      {
        title: 'Answers cut, calls unpriced',
        description:
          'Calls a second whose max_tokens a cap lowered, and calls of models without a known price.',
        kind: 'timeseries',
        width: 5,
        unit: 'reqps',
        min: 0,
        queries: [
          { expr: `${sumRate(n.metric('clamped'))} or vector(0)`, legend: 'clamped' },
          { expr: `${sumRate(n.metric('unpriced'))} or vector(0)`, legend: 'unpriced' },
        ],
      },
      {
        title: 'Budgets used',
        description: 'Share of each budget that is gone, of those for all and by account.',
        kind: 'timeseries',
        width: 8,
        unit: 'percentunit',
        min: 0,
        thresholds: { warn: 0.8, alarm: 1 },
        queries: [
          {
            expr: `max by (${n.label('rule')}) (${n.metric('budgetUsed')})`,
            legend: legend(n.label('rule')),
          },
        ],
      },
      {
        title: 'Budgets end in',
        description: 'At the present pace; absent while a budget lasts its window.',
        kind: 'timeseries',
        width: 8,
        unit: 's',
        min: 0,
        queries: [
          {
            expr: `min by (${n.label('rule')}) (${n.metric('budgetEnds')})`,
            legend: legend(n.label('rule')),
          },
        ],
      },
      {
        title: 'Batch lane',
        description: 'Requests without a result now, and requests done a second, by what became of them.',
        kind: 'timeseries',
        width: 8,
        unit: 'short',
        min: 0,
        queries: [
          { expr: `sum (${n.metric('batchPending')})`, legend: 'pending' },
          {
            expr: sumRate(n.metric('batchRequests'), n.label('outcome')),
            legend: `${legend(n.label('outcome'))} a second`,
          },
        ],
        traces: { title: 'Results', operation: 'headgate.batch.result' },
      },
    ],
  };
}
