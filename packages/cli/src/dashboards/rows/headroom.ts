import type { Names } from '../naming.ts';
import { ATTEMPT, legend, type RowSpec, sumRate, WINDOW } from '../panel.ts';

/** The account, the API, and what is done when it fails. */
export function headroomRow(n: Names): RowSpec {
  const model = n.label('genAiRequestModel');
  const bucket = n.label('bucket');
  const direction = n.label('direction');
  return {
    title: 'How close to the limit',
    panels: [
      {
        title: 'Headroom',
        description:
          'What is left of each bucket, as a share of what it holds when full; the least of all processes. Near zero for long: the account is used up. Below zero: in debt.',
        kind: 'timeseries',
        width: 8,
        unit: 'percentunit',
        max: 1,
        thresholds: { warn: 0.25, alarm: 0.1, isLowBad: true },
        queries: [
          {
            expr: `min by (${bucket}) (${n.metric('requestsRemaining')} / ${n.metric('requestsCapacity')})`,
            legend: `${legend(bucket)} requests`,
          },
          {
            expr: `min by (${bucket}, ${direction}) (${n.metric('tokensRemaining')} / ${n.metric('tokensCapacity')})`,
            legend: `${legend(bucket, direction)} tokens`,
          },
        ],
      },
      {
        title: 'Limits',
        description: 'Per minute, as configured or learned from the headers of responses.',
        kind: 'timeseries',
        width: 5,
        unit: 'short',
        min: 0,
        queries: [
          {
            expr: `max by (${bucket}) (${n.metric('requestsLimit')})`,
            legend: `${legend(bucket)} requests`,
          },
          {
            expr: `max by (${bucket}, ${direction}) (${n.metric('tokensLimit')})`,
            legend: `${legend(bucket, direction)} tokens`,
          },
        ],
      },
      {
        title: 'Refused by the API',
        description: 'Attempts a second that met 429 (rate limited) or 529 (overloaded). The target is none.',
        kind: 'timeseries',
        width: 5,
        unit: 'reqps',
        min: 0,
        thresholds: { warn: 0.01, alarm: 0.1 },
        queries: ['429', '529'].map((status) => ({
          expr: `${sumRate(n.metric('attempts', { httpStatus: status }))} or vector(0)`,
          legend: status,
        })),
        traces: { title: 'Rate limited', operation: ATTEMPT, tags: 'http.response.status_code=429' },
      },
      {
        title: 'Retries and their budget',
        description: 'Attempts after the first a second, and how many the budget still allows at once.',
        kind: 'timeseries',
        width: 6,
        unit: 'short',
        min: 0,
        queries: [
          { expr: `${sumRate(n.metric('retries'))} or vector(0)`, legend: 'retries a second' },
          { expr: `min (${n.metric('retryBudget')})`, legend: 'budget left' },
          {
            expr: `${sumRate(n.metric('retriesDenied', { retryDenied: 'budget' }))} or vector(0)`,
            legend: 'denied by the budget, a second',
          },
        ],
        traces: { title: 'Backoffs', operation: 'headgate.backoff' },
      },
      {
        title: 'Models held back now',
        description: 'Breakers that are open.',
        kind: 'stat',
        width: 4,
        unit: 'short',
        thresholds: { warn: 0.5, alarm: 0.5 },
        queries: [{ expr: `max (${n.metric('breakersOpen')})`, legend: 'open' }],
      },
      {
        title: 'Breaker moves',
        description: 'When a model was found to fail, and when to work again.',
        kind: 'timeseries',
        width: 10,
        unit: 'short',
        min: 0,
        queries: [
          {
            expr: `sum by (${model}, ${n.label('breakerState')}) (increase(${n.metric('breakerMoves')}[${WINDOW}]))`,
            legend: legend(model, n.label('breakerState')),
          },
        ],
        traces: {
          title: 'Attempts that opened one',
          operation: ATTEMPT,
          tags: 'headgate.breaker.state=open',
        },
      },
      {
        title: 'Other models',
        description:
          'Calls a second that another model was asked than the one they name: by route, pressure or fallback.',
        kind: 'timeseries',
        width: 10,
        unit: 'reqps',
        min: 0,
        queries: [
          {
            expr: sumRate(n.metric('rerouted'), `${n.label('modelCause')}, ${n.label('modelSent')}`),
            legend: legend(n.label('modelCause'), n.label('modelSent')),
          },
          { expr: `${sumRate(n.metric('fallbacks'))} or vector(0)`, legend: 'fallbacks' },
        ],
      },
    ],
  };
}
