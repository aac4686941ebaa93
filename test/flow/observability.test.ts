import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DEFAULT_THRESHOLDS } from '../../packages/cli/src/dashboards/alerts.ts';
import { dashboardFiles } from '../../packages/cli/src/dashboards/write.ts';
import { addressOf, startExample } from '../support/example.ts';
import { freePort } from '../support/free-port.ts';
import { until } from '../support/governed.ts';
import { faultsOf, startOtlpReceiver } from '../support/otlp.ts';

const FOLDER = join(import.meta.dirname, '../../examples/observability');
const read = (file: string) => readFile(join(FOLDER, file), 'utf8');
const readYaml = async (file: string): Promise<Record<string, never>> => parse(await read(file));

interface Compose {
  readonly services: Readonly<
    Record<string, { readonly volumes?: readonly string[]; readonly environment?: Record<string, string> }>
  >;
}

describe('the observability example', () => {
  it('sends whole traces to its collector, offers its metrics, and names the trace in its log', async () => {
    const receiver = await startOtlpReceiver();
    const metricsPort = await freePort();
    const example = await startExample(
      'observability',
      {},
      { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, METRICS_PORT: String(metricsPort), LOAD: '0' },
    );
    const url = await addressOf(example);
    const headers = { 'content-type': 'application/json', 'x-user': 'ada', 'x-tier': 'free' };
    const ask = (path: string) => fetch(url + path, { method: 'POST', headers, body: '{"question":"Hi"}' });
    expect(await (await ask('/ask')).json()).toMatchObject({ type: 'message' });
    expect(await (await ask('/story')).text()).toContain('message_stop');
    const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    expect(metrics).toMatch(/^headgate_decisions_total\{.*headgate_tier="free".*\} 2$/m);
    expect(metrics).toMatch(/^headgate_max_tokens_clamped_total\{.*\} 2$/m);

    example.process.kill('SIGTERM');
    await until(() => example.process.exitCode !== null, 10_000);
    const spans = receiver.spans('protobuf');
    expect(faultsOf(spans)).toEqual([]);
    const attempts = spans.filter(({ name }) => name === 'headgate.attempt');
    expect(attempts).toHaveLength(2);
    // Under the request, which the instrumentation of HTTP has seen.
    const roots = spans.filter(({ parentSpanId, kind }) => parentSpanId === undefined && kind === 2);
    expect(roots).toHaveLength(2);
    const line = example.lines.find((text) => text.includes('"answered"')) ?? '{}';
    const { trace_id: traceId } = JSON.parse(line) as { trace_id?: string };
    expect(roots.map((root) => root.traceId)).toContain(traceId);
  });

  it('comes with the dashboard and the alerts that the command writes', async () => {
    const options = { naming: 'js-prometheus', service: 'headgate-example', ...DEFAULT_THRESHOLDS } as const;
    for (const [file, text] of Object.entries(dashboardFiles(options)))
      expect(await read(`generated/${file}`)).toBe(text);
  });

  it('has parts that fit together', async () => {
    const { services } = (await readYaml('compose.yaml')) as unknown as Compose;
    for (const { volumes = [] } of Object.values(services)) {
      for (const volume of volumes) expect(await read(volume.split(':')[0] ?? '')).not.toBe('');
    }
    const prometheus = await readYaml('prometheus.yml');
    expect(prometheus).toMatchObject({
      rule_files: ['headgate-alerts.yaml'],
      scrape_configs: [{ static_configs: [{ targets: ['app:9464'] }] }],
    });
    expect(services.app?.environment).toMatchObject({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://jaeger:4318' });
    const { datasources } = (await readYaml('grafana/datasources.yaml')) as unknown as {
      datasources: { type: string; url: string }[];
    };
    for (const { url } of datasources) expect(Object.keys(services)).toContain(new URL(url).hostname);
    // The dashboard's variables find both of their kinds.
    const dashboard = JSON.parse(await read('generated/headgate-dashboard.json')) as {
      templating: { list: { type: string; query: string }[] };
    };
    const wanted = dashboard.templating.list
      .filter(({ type }) => type === 'datasource')
      .map(({ query }) => query);
    expect(datasources.map(({ type }) => type)).toEqual(expect.arrayContaining(wanted));
    expect(await read('README.md')).toContain(services.app?.environment?.OTEL_SERVICE_NAME ?? '(none)');
  });
});
