import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { alertRules, DEFAULT_THRESHOLDS } from '../../packages/cli/src/dashboards/alerts.ts';
import { namesFor } from '../../packages/cli/src/dashboards/naming.ts';
import { readQuestions } from '../docs/questions.ts';
import { fillIn, panelsOf } from '../support/dashboard.ts';
import { type Peak, startPeak } from '../support/peak.ts';
import { type Sample, skipsPrometheus } from '../support/prometheus.ts';

/** As the app would be scraped; a window of some scrapes. */
const WINDOW = '10s';
const names = namesFor('js-prometheus');
/** Those of the documentation, of which each stands in a question. */
const documented = readQuestions().flatMap(({ title, queries: texts }) =>
  texts.map((expr) => ({ title, expr })),
);
const alerts = alertRules(names, DEFAULT_THRESHOLDS);
const queries = panelsOf('js-prometheus').flatMap((panel) =>
  (panel.targets ?? []).map(({ expr }) => ({ panel: panel.title, expr })),
);
/** `NaN` is what a quantile of nothing is. */
const hasData = (samples: readonly Sample[]) => samples.some(({ value }) => !Number.isNaN(Number(value[1])));
/** What would be zero where there is nothing: without that, nothing is nothing. */
const bare = (expr: string) => expr.replaceAll(/\s+or vector\(0\)/g, '');

describe.skipIf(skipsPrometheus)('a real Prometheus', () => {
  let peak: Peak;
  const atPeak = new Map<string, readonly Sample[]>();
  const inTrouble = new Map<string, readonly Sample[]>();
  const query = (expr: string) => peak.prometheus.query(expr);

  beforeAll(async () => {
    peak = await startPeak(stringify(alerts));
    // Each at its own moment: what is over has no rate any more.
    await Promise.all([
      peak.trouble.then(async () => {
        for (const { expr } of queries)
          inTrouble.set(expr, await query(bare(fillIn(expr, 'trouble', WINDOW))));
      }),
      peak.reached.then(async () => {
        for (const { expr } of queries) atPeak.set(expr, await query(fillIn(expr, 'demo', WINDOW)));
      }),
    ]);
  }, 120_000);
  afterAll(() => peak?.close());

  it('finds the account of the demo used up, and its calls waiting', async () => {
    const [limited] = await query(`sum(${names.metric('decisions', { decision: 'queue' })})`);
    expect(Number(limited?.value[1])).toBeGreaterThan(10);
  });

  for (const { panel, expr } of queries) {
    it(`answers “${panel}”: ${expr}`, async () => {
      // Where everything happens there is data, so the names are right …
      expect(hasData(inTrouble.get(expr) ?? []), 'in trouble').toBe(true);
      // … and at the peak too, or what is asked for has not happened once.
      if (hasData(atPeak.get(expr) ?? [])) return;
      for (const counter of bare(expr).match(/[a-z_]+\{[^}]*\}/g) ?? []) {
        const [sum] = await query(`sum(${fillIn(counter, 'demo', WINDOW)})`);
        expect(Number(sum?.value[1] ?? 0), counter).toBe(0);
      }
    });
  }

  for (const { title, expr } of documented) {
    it(`answers “${title}”: ${expr}`, async () => {
      expect(hasData(await query(expr))).toBe(true);
    });
  }

  it('takes every alert, and has no trouble with any', async () => {
    const { groups } = await peak.prometheus.get<{
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    }>('/api/v1/rules');
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.map(({ name }) => name)).toEqual(alerts.groups[0]?.rules.map(({ alert }) => alert));
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
  });

  it('has every series that an alert looks at', async () => {
    const missing: string[] = [];
    for (const { alert, expr } of alerts.groups[0]?.rules ?? []) {
      // A selector, or a name that stands without one; words of the language have no underscore.
      for (const series of expr.match(/(?:headgate|gen_ai)_[a-z_]+(?:\{[^}]*\})?/g) ?? []) {
        const isGrouping = isLabel(series);
        if (!isGrouping && (await query(series)).length === 0) missing.push(`${alert}: ${series}`);
      }
    }
    expect(missing).toEqual([]);
  });
});

const LABELS = new Set(
  (['lane', 'genAiRequestModel', 'bucket', 'direction'] as const).map((key) => names.label(key)),
);
const isLabel = (name: string) => LABELS.has(name);
