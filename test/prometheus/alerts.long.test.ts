import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { alertRules, DEFAULT_THRESHOLDS } from '../../packages/cli/src/dashboards/alerts.ts';
import { NAMINGS, type Names, namesFor } from '../../packages/cli/src/dashboards/naming.ts';
import { promtool, skipsPrometheus } from '../support/prometheus.ts';

/** Values a minute apart, as promtool writes them: `0+6x90` is 0, 6, 12, … over an hour and a half. */
type Series = readonly [name: string, values: string];

/** For each alert: series under which it fires, and near ones under which it must not. */
function cases(n: Names): Record<string, { fires: readonly Series[][]; quiet: readonly Series[][] }> {
  const alive: Series = [n.metric('retryBudget'), '10x120'];
  const attempts = (ok: string, limited: string): Series[] => [
    alive,
    [n.metric('attempts', { outcome: 'complete', httpStatus: '200' }), ok],
    [n.metric('attempts', { outcome: 'error', httpStatus: '429' }), limited],
  ];
  const level = (left: string): Series[] => [
    alive,
    [n.metric('requestsRemaining', { bucket: 's' }), '100x120'],
    [n.metric('requestsCapacity', { bucket: 's' }), '100x120'],
    [n.metric('tokensRemaining', { bucket: 's', direction: 'output' }), left],
    [n.metric('tokensCapacity', { bucket: 's', direction: 'output' }), '1000x120'],
  ];
  const waits = (lane: string, under: string, all: string): Series[] => {
    const of = (le: string) =>
      n.bucket('queueWait', { lane, outcome: 'admitted' }).replace('}', `, le="${le}"}`);
    return [alive, [of('1'), under], [of('10'), all], [of('+Inf'), all]];
  };
  const refusals = (values: string): Series[] => [
    alive,
    [n.metric('decisions', { decision: 'refuse', reason: 'user_quota', rule: 'free' }), values],
  ];
  const ratio = (sum: string): Series[] => [
    alive,
    [n.sum('estimateRatio', { genAiRequestModel: 'm' }), sum],
    [n.count('estimateRatio', { genAiRequestModel: 'm' }), '0+10x120'],
  ];
  const budget = (left: string, denied: string): Series[] => [
    [n.metric('retryBudget'), left],
    [n.metric('retriesDenied', { retryDenied: 'budget' }), denied],
  ];
  const shared = (one: string, other: string): Series[] => [
    alive,
    [n.metric('storeShared', { bucket: 's' }).replace('}', ', instance="one"}'), one],
    [n.metric('storeShared', { bucket: 's' }).replace('}', ', instance="other"}'), other],
  ];
  const counter = (key: 'storeErrors' | 'configReloads', values: string, outcome?: string): Series[] => [
    alive,
    [n.metric(key, outcome === undefined ? {} : { outcome }), values],
  ];
  return {
    HeadgateUpstreamRateLimited: {
      fires: [attempts('0+95x120', '0+5x120')],
      quiet: [attempts('0+1000x120', '0+5x120'), attempts('0+95x120', '0x120')],
    },
    HeadgateHeadroomLow: { fires: [level('50x120'), level('-20x120')], quiet: [level('400x120')] },
    HeadgateQueueWaitLong: {
      fires: [waits('interactive', '0+10x120', '0+100x120')],
      quiet: [waits('interactive', '0+99x120', '0+100x120'), waits('background', '0+10x120', '0+100x120')],
    },
    HeadgateRetryBudgetExhausted: {
      fires: [budget('0.2x120', '0+6x120')],
      quiet: [budget('5x120', '0+6x120'), budget('0.2x120', '3x120')],
    },
    HeadgateModelFailing: {
      fires: [[alive, [n.metric('breakersOpen'), '1x120']]],
      quiet: [[alive, [n.metric('breakersOpen'), '0x120']]],
    },
    HeadgateQuotaRefusals: {
      // Ten minutes of sixty times as many, after an hour of one a minute.
      fires: [refusals('0+1x80 81+60x30')],
      quiet: [refusals('0+60x120'), refusals('0+1x120')],
    },
    HeadgateCostHigh: {
      fires: [[alive, [n.metric('cost', { lane: 'interactive' }), '0+1x120']]],
      quiet: [[alive, [n.metric('cost', { lane: 'interactive' }), '0+0.8x120']]],
    },
    HeadgateEstimateOff: {
      fires: [ratio('0+5x120'), ratio('0+20x120')],
      quiet: [ratio('0+10x120'), ratio('0+14x120')],
    },
    HeadgateStoreFailing: {
      fires: [counter('storeErrors', '0+1x120')],
      quiet: [counter('storeErrors', '7x120'), [alive]],
    },
    HeadgateNotShared: {
      // One of two processes: at the end for a minute, or all the while.
      fires: [shared('1x120', '1x88 0x40'), shared('0x120', '1x120'), shared('0x120', '0x120')],
      quiet: [shared('1x120', '1x120'), shared('1x120', '1x89 0x40'), shared('1x120', '0x85 1x40'), [alive]],
    },
    HeadgateConfigRefused: {
      fires: [counter('configReloads', '0x80 1x40', 'refused')],
      quiet: [counter('configReloads', '0x80 1x40', 'applied'), counter('configReloads', '1x120', 'refused')],
    },
    HeadgateSilent: { fires: [[]], quiet: [[alive]] },
  };
}

/** Late enough for windows of an hour, and in the midst of what is to be seen. */
const AT = '90m';

describe.skipIf(skipsPrometheus)('the alerts', () => {
  for (const naming of NAMINGS) {
    const names = namesFor(naming);
    const rules = alertRules(names, DEFAULT_THRESHOLDS);
    const text = stringify(rules, { lineWidth: 0 });

    it(`are rules that Prometheus takes, by ${naming}`, async () => {
      const said = await promtool(['check', 'rules', 'rules.yaml'], { 'rules.yaml': text });
      expect(said).toContain(`SUCCESS: ${rules.groups[0]?.rules.length} rules found`);
    });

    it(`have each a test of firing and one of not firing, by ${naming}`, () => {
      expect(Object.keys(cases(names)).sort()).toEqual(
        rules.groups[0]?.rules.map(({ alert }) => alert).sort(),
      );
    });

    for (const [alert, { fires, quiet }] of Object.entries(cases(names))) {
      const run = (series: readonly Series[], isFiring: boolean) =>
        promtool(['test', 'rules', 'test.yaml'], {
          'rules.yaml': text,
          'test.yaml': stringify({
            rule_files: ['rules.yaml'],
            evaluation_interval: '1m',
            tests: [
              {
                interval: '1m',
                input_series: series.map(([name, values]) => ({ series: name, values })),
                promql_expr_test: [
                  {
                    expr: `count(ALERTS{alertname="${alert}", alertstate="firing"})`,
                    eval_time: AT,
                    exp_samples: isFiring ? [{ labels: '{}', value: 1 }] : [],
                  },
                ],
              },
            ],
          }),
        });

      it(`${alert} fires, and does not, by ${naming}`, async () => {
        for (const series of fires) {
          expect(await run(series, true)).toContain('SUCCESS');
          // The test itself can fail: the same series do not pass for quiet ones.
          await expect(run(series, false)).rejects.toThrow('FAILED');
        }
        for (const series of quiet) expect(await run(series, false)).toContain('SUCCESS');
      });
    }
  }
});

describe.skipIf(skipsPrometheus)('the example’s Prometheus', () => {
  it('has a configuration that Prometheus takes', async () => {
    const folder = new URL('../../examples/observability/', import.meta.url);
    const said = await promtool(['check', 'config', 'prometheus.yml'], {
      'prometheus.yml': await readFile(new URL('prometheus.yml', folder), 'utf8'),
      'headgate-alerts.yaml': await readFile(new URL('generated/headgate-alerts.yaml', folder), 'utf8'),
    });
    expect(said).toContain('SUCCESS');
  });
});
