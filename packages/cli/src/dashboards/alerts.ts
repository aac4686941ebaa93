import type { Names } from './naming.ts';

/** What only the one who runs the app can know. */
export interface AlertThresholds {
  /** Lane whose callers look at a screen. */
  readonly lane: string;
  /** Seconds that nineteen of twenty of its calls may wait. */
  readonly queueWaitSeconds: number;
  readonly usdPerHour: number;
}

export const DEFAULT_THRESHOLDS: AlertThresholds = {
  lane: 'interactive',
  queueWaitSeconds: 5,
  usdPerHour: 50,
};

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: 'page' | 'ticket' };
  readonly annotations: { readonly summary: string; readonly description: string };
}

interface Alert {
  readonly name: string;
  readonly expr: string;
  readonly for: string;
  readonly severity: 'page' | 'ticket';
  readonly summary: string;
  /** What it means, and what to do. */
  readonly description: string;
}

const rate = (series: string, window: string) => `sum(rate(${series}[${window}]))`;

function alerts(n: Names, { lane, queueWaitSeconds, usdPerHour }: AlertThresholds): readonly Alert[] {
  const [laneLabel, model, bucket] = [n.label('lane'), n.label('genAiRequestModel'), n.label('bucket')];
  const ownQuota = { decision: 'refuse', reason: '~user_quota|budget' };
  return [
    {
      name: 'HeadgateUpstreamRateLimited',
      expr: `${rate(n.metric('attempts', { httpStatus: '429' }), '5m')} / ${rate(n.metric('attempts'), '5m')} > 0.01`,
      for: '5m',
      severity: 'page',
      summary: '{{ $value | humanizePercentage }} of the attempts are refused by the API (429)',
      description:
        'Headgate reckons with more than the account has. Is another program on the same account? Are limits or `burst` configured too high? Look at Headroom, and at the headers on headgate.attempt spans.',
    },
    {
      name: 'HeadgateHeadroomLow',
      expr: [
        `min by (${bucket}) (avg_over_time(${n.metric('requestsRemaining')}[5m]) / ${n.metric('requestsCapacity')}) < 0.1`,
        `min by (${bucket}, ${n.label('direction')}) (avg_over_time(${n.metric('tokensRemaining')}[5m]) / ${n.metric('tokensCapacity')}) < 0.1`,
      ].join('\nor\n'),
      for: '5m',
      severity: 'ticket',
      summary: `Bucket {{ $labels.${bucket} }} is used up: {{ $value | humanizePercentage }} left`,
      description:
        'The account gives no more. Calls wait or are refused as the lanes and quotas say. Ask for higher limits, route to a smaller model, or move work to the background.',
    },
    {
      name: 'HeadgateQueueWaitLong',
      expr: `histogram_quantile(0.95, sum by (le, ${laneLabel}) (rate(${n.bucket('queueWait', { outcome: 'admitted', lane })}[5m]))) > ${queueWaitSeconds}`,
      for: '5m',
      severity: 'page',
      summary: `Calls of lane {{ $labels.${laneLabel} }} wait {{ $value | humanizeDuration }} (p95)`,
      description:
        'Held back, by reason, says what binds: the account, concurrency, a pause after a 429, or quotas that wait.',
    },
    {
      name: 'HeadgateRetryBudgetExhausted',
      expr: `min(${n.metric('retryBudget')}) < 1 and on () ${rate(n.metric('retriesDenied', { retryDenied: 'budget' }), '5m')} > 0`,
      for: '2m',
      severity: 'ticket',
      summary: 'Failed attempts are not tried again: the retry budget is used up',
      description: 'More than a tenth of the attempts fail. Look at the error types of headgate.attempts.',
    },
    {
      name: 'HeadgateModelFailing',
      expr: `max(${n.metric('breakersOpen')}) > 0`,
      for: '2m',
      severity: 'page',
      summary: '{{ $value }} model(s) are failing, and their calls are held back',
      description: 'Breaker moves names the models. Calls go to their fallbacks, where there are any.',
    },
    {
      name: 'HeadgateQuotaRefusals',
      expr: `${rate(n.metric('decisions', ownQuota), '5m')} > 0.1 and ${rate(n.metric('decisions', ownQuota), '5m')} > 3 * ${rate(n.metric('decisions', ownQuota), '1h')}`,
      for: '5m',
      severity: 'ticket',
      summary: '{{ $value | humanize }} calls a second are refused by quotas of users',
      description:
        'Three times the last hour. Refusals by tier and rule says whose and which: one client that loops, or a quota that is too small.',
    },
    {
      name: 'HeadgateCostHigh',
      expr: `3600 * ${rate(n.metric('cost'), '15m')} > ${usdPerHour}`,
      for: '15m',
      severity: 'ticket',
      summary: 'Claude costs {{ $value | humanize }} USD an hour',
      description:
        'USD an hour, by model, says for what; the lane and tier labels of headgate.cost say for whom.',
    },
    {
      name: 'HeadgateEstimateOff',
      expr: `(sum by (${model}) (rate(${n.sum('estimateRatio')}[30m])) / sum by (${model}) (rate(${n.count('estimateRatio')}[30m])) < 0.7)\nor\n(sum by (${model}) (rate(${n.sum('estimateRatio')}[30m])) / sum by (${model}) (rate(${n.count('estimateRatio')}[30m])) > 1.5)`,
      for: '15m',
      severity: 'ticket',
      summary: `Prompts of {{ $labels.${model} }} take {{ $value | humanize }} times the tokens estimated`,
      description:
        'Holds are too small (above 1) or too large. The ratio is learned: one that stays off means a kind of content that is not known. Please report it.',
    },
    {
      name: 'HeadgateStoreFailing',
      expr: `sum(increase(${n.metric('storeErrors')}[10m])) > 0`,
      for: '5m',
      severity: 'ticket',
      summary: 'The counter store fails; counters go on in memory alone',
      description:
        'Quotas of days and months will begin anew with the next restart. Disk full, file not writable?',
    },
    {
      name: 'HeadgateNotShared',
      expr: `min by (${bucket}) (${n.metric('storeShared')}) < 1`,
      for: '1m',
      severity: 'page',
      summary: `A process goes on without the shared store: bucket {{ $labels.${bucket} }}`,
      description:
        'Each such process keeps to its share, with a margin, so the fleet does less than the account allows, and users draw on a share of their quotas. Is Redis up, writable, and answering in time? The row Fleet says since when; the log says why.',
    },
    {
      name: 'HeadgateConfigRefused',
      expr: `sum(increase(${n.metric('configReloads', { outcome: 'refused' })}[15m])) > 0`,
      for: '0m',
      severity: 'ticket',
      summary: 'A new configuration was refused; the old one stays in force',
      description: '`headgate check FILE` says what is wrong with it.',
    },
    {
      name: 'HeadgateSilent',
      expr: `absent(${n.metric('retryBudget')})`,
      for: '5m',
      severity: 'page',
      summary: 'Nothing is heard of Headgate',
      description:
        'No process reports: none runs, its metrics are not scraped, or no meter provider is registered.',
    },
  ];
}

/** Prometheus alert rules, as its `rule_files` want them. */
export function alertRules(
  names: Names,
  thresholds: AlertThresholds,
): { groups: { name: string; rules: AlertRule[] }[] } {
  const rules = alerts(names, thresholds).map(
    ({ name, expr, for: duration, severity, summary, description }): AlertRule => ({
      alert: name,
      expr,
      for: duration,
      labels: { severity },
      annotations: { summary, description },
    }),
  );
  return { groups: [{ name: 'headgate', rules }] };
}
