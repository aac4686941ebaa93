import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CATALOGUE } from '@headgate/core/telemetry';
import { describe, expect, it } from 'vitest';
import { grafanaDashboard } from '../../packages/cli/src/dashboards/grafana.ts';
import { NAMINGS, namesFor } from '../../packages/cli/src/dashboards/naming.ts';
import { panelsOf } from '../support/dashboard.ts';

const ROOT = join(import.meta.dirname, '../..');

/**
 * Grafana publishes its schema as TypeScript types, whose enums no JSON text fits as it stands: here a string enum
 * is any of its texts, and the two kinds of panel have the options and fields of their plugins.
 */
const SCHEMA = `
import type * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import type * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import type * as stat from '@grafana/grafana-foundation-sdk/stat';
import type * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

type Json<T> = T extends string ? \`\${T}\`
  : T extends number | boolean | null | undefined ? T
  : T extends (...args: never[]) => unknown ? never
  : T extends readonly (infer E)[] ? Json<E>[]
  : { [K in keyof T as T[K] extends (...args: never[]) => unknown ? never : K]: Json<T[K]> };

type Plugin<Type extends string, Options, Custom> =
  Omit<Json<dashboard.Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
    type: Type;
    options: Json<Options>;
    targets: Json<prometheus.Dataquery>[];
    fieldConfig: {
      defaults: Omit<Json<dashboard.FieldConfig>, 'custom'> & { custom?: Json<Custom> };
      overrides: [];
    };
  };
type Row = Omit<Json<dashboard.RowPanel>, 'type'> & { type: 'row' };
type Panel = Row | Plugin<'timeseries', timeseries.Options, timeseries.FieldConfig> | Plugin<'stat', stat.Options, never>;
export type Dashboard = Omit<Json<dashboard.Dashboard>, 'panels'> & { panels: Panel[] };
`;

async function typeCheck(...dashboards: string[]): Promise<string> {
  const folder = await mkdtemp(join(import.meta.dirname, 'grafana-'));
  try {
    await writeFile(join(folder, 'schema.ts'), SCHEMA);
    for (const [index, json] of dashboards.entries()) {
      const text = `import type { Dashboard } from './schema.ts';\nexport const dashboard: Dashboard = ${json};\n`;
      await writeFile(join(folder, `dashboard-${index}.ts`), text);
    }
    const compilerOptions = {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      module: 'nodenext',
      target: 'es2023',
      allowImportingTsExtensions: true,
      types: [],
    };
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
    const tsc = join(ROOT, 'node_modules/.bin/tsc');
    const { stdout } = await promisify(execFile)(tsc, ['-p', folder]).catch(
      (error: { stdout: string }) => error,
    );
    return stdout;
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe('the Grafana dashboard', () => {
  it('is of the schema that Grafana publishes', async () => {
    const texts = NAMINGS.map((naming) => JSON.stringify(grafanaDashboard({ naming, service: 'app' })));
    expect(await typeCheck(...texts)).toBe('');
  }, 60_000);

  it('would be found not to be, were a field or a value wrong', async () => {
    const good = JSON.stringify(grafanaDashboard({ naming: 'js-prometheus', service: 'app' }));
    const wrongs = [
      good.replace('"showPoints":"never"', '"showPoints":"seldom"'),
      good.replace('"legendFormat":', '"legend":'),
      good.replace('"schemaVersion":42,', ''),
      good.replace('"type":"timeseries"', '"type":"graph"'),
    ];
    for (const wrong of wrongs) expect(wrong).not.toBe(good);
    const said = await typeCheck(...wrongs);
    expect(wrongs.map((_, index) => said.includes(`dashboard-${index}.ts`))).toEqual(wrongs.map(() => true));
  }, 60_000);

  it('has panels side by side, none over another, each with an id of its own', () => {
    const panels = panelsOf('js-prometheus');
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = new Set<string>();
    for (const { gridPos: at } of panels) {
      expect(at.x + at.w).toBeLessThanOrEqual(24);
      for (let x = at.x; x < at.x + at.w; x++) {
        for (let y = at.y; y < at.y + at.h; y++) {
          expect(cells.has(`${x} ${y}`)).toBe(false);
          cells.add(`${x} ${y}`);
        }
      }
    }
  });

  it('has a description for every panel, and asks for every metric of the catalogue somewhere', () => {
    const panels = panelsOf('js-prometheus').filter(({ type }) => type !== 'row');
    expect(panels.filter(({ description }) => !description)).toEqual([]);
    const asked = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)).join('\n');
    const unasked = CATALOGUE.metrics
      .map(({ name }) => name)
      .filter((name) => !asked.includes(name.replaceAll('.', '_')))
      .toSorted();
    // Those of v1.41, and those that say the same as one that is asked for, or what a table of a day is made of.
    expect(unasked).toEqual([
      'gen_ai.client.inference.duration',
      'gen_ai.client.inference.operation.input_tokens',
      'gen_ai.client.inference.operation.output_tokens',
      'gen_ai.client.inference.usage.cache_write.input_tokens',
      'gen_ai.client.inference.usage.reasoning.output_tokens',
      'gen_ai.client.operation.duration',
      'gen_ai.client.operation.time_per_output_chunk',
      'gen_ai.client.operation.time_to_first_chunk',
      'gen_ai.client.token.usage',
      'headgate.batch.duration',
      'headgate.batch.retries',
      'headgate.batch.submissions',
      'headgate.budget.soft',
      'headgate.cache.premium',
      'headgate.cache.unread',
      'headgate.caller.doubts',
      'headgate.usage.bounded',
    ]);
  });

  it('leads to traces by operations and tags that are in the catalogue', () => {
    const { panels } = grafanaDashboard({ naming: 'js-prometheus', service: 'shop' }) as {
      panels: { links?: { url: string }[] }[];
    };
    const urls = panels.flatMap(({ links = [] }) => links.map(({ url }) => url));
    expect(urls.length).toBeGreaterThan(8);
    const spans = new Set(CATALOGUE.spans.map(({ name }) => name));
    const attributes = new Set([...CATALOGUE.attributes.map(({ name }) => name), 'error']);
    for (const url of urls) {
      const panes = JSON.parse(new URLSearchParams(url.split('?')[1]).get('panes') ?? '') as {
        traces: { queries: { service: string; operation: string; tags?: string }[] };
      };
      const [query] = panes.traces.queries;
      expect(query?.service).toBe('$service');
      expect(spans).toContain(query?.operation);
      for (const tag of query?.tags?.split(' ') ?? []) expect(attributes).toContain(tag.split('=')[0]);
    }
  });
});

describe('the name of a metric in Prometheus', () => {
  it('depends on the way it takes there', () => {
    const [scraped, pushed] = NAMINGS.map((naming) => namesFor(naming));
    expect([scraped?.count('callDuration'), pushed?.count('callDuration')]).toEqual([
      'headgate_call_duration_count',
      'headgate_call_duration_seconds_count',
    ]);
    expect([scraped?.metric('cost'), pushed?.metric('cost')]).toEqual([
      'headgate_cost_total',
      'headgate_cost_total',
    ]);
    expect([scraped?.bucket('estimateRatio'), pushed?.bucket('estimateRatio')]).toEqual([
      'headgate_estimate_ratio_bucket',
      'headgate_estimate_ratio_bucket',
    ]);
    expect(pushed?.metric('queueDepth', { lane: '~a|b', bucket: '!c', account: '!~d.*' })).toBe(
      'headgate_queue_depth{headgate_lane=~"a|b", headgate_bucket!="c", headgate_account!~"d.*"}',
    );
  });
});
