import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { stringify } from 'yaml';
import { freePort } from './free-port.ts';

const PROMETHEUS = process.env.PROMETHEUS ?? '/usr/bin/prometheus';
export const PROMTOOL = process.env.PROMTOOL ?? '/usr/bin/promtool';
export const INSTALL = 'apt-get install -y --no-install-recommends prometheus';
export const hasPrometheus = existsSync(PROMETHEUS) && existsSync(PROMTOOL);
if (!hasPrometheus) console.warn(`no Prometheus at ${PROMETHEUS}; for these tests: ${INSTALL}`);

/** True where tests that need Prometheus are left out: not where all must pass, there its absence is a failure. */
export const skipsPrometheus = !hasPrometheus && process.env.CI !== 'true';

/** The metrics of one app, as Prometheus scrapes them. */
export async function scrapeTarget() {
  const exporter = new PrometheusExporter({ preventServerStart: true });
  const meterProvider = new MeterProvider({ readers: [exporter] });
  const server = createServer((req, res) => exporter.getMetricsRequestHandler(req, res)).listen(
    0,
    '127.0.0.1',
  );
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    meterProvider,
    address: `127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await meterProvider.shutdown();
    },
  };
}

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  /** Seconds of the epoch, and the value as text. */
  readonly value: readonly [number, string];
}

export interface RangeSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [number, string])[];
}

export interface Prometheus {
  query(expr: string): Promise<readonly Sample[]>;
  queryRange(expr: string, start: number, end: number, step: number): Promise<readonly RangeSeries[]>;
  get<T>(path: string): Promise<T>;
  close(): Promise<void>;
}

/** A real Prometheus that scrapes every second. `jobs`: addresses by name. */
export async function startPrometheus(
  jobs: Readonly<Record<string, string>>,
  rules?: string,
): Promise<Prometheus> {
  if (!hasPrometheus) throw new Error(`no Prometheus at ${PROMETHEUS}: ${INSTALL}`);
  const folder = await mkdtemp(join(tmpdir(), 'headgate-prometheus-'));
  if (rules !== undefined) await writeFile(join(folder, 'rules.yaml'), rules);
  await writeFile(
    join(folder, 'prometheus.yml'),
    stringify({
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      ...(rules === undefined ? {} : { rule_files: ['rules.yaml'] }),
      scrape_configs: Object.entries(jobs).map(([name, target]) => ({
        job_name: name,
        static_configs: [{ targets: [target] }],
      })),
    }),
  );
  const port = await freePort();
  const child = spawn(
    PROMETHEUS,
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const url = `http://127.0.0.1:${port}`;
  await untilReady(`${url}/-/ready`, child);

  async function get<T>(path: string): Promise<T> {
    const response = await fetch(url + path);
    const body = (await response.json()) as { status: string; data: T; error?: string };
    if (body.status !== 'success') throw new Error(`${decodeURIComponent(path)}: ${body.error}`);
    return body.data;
  }
  const query = async (expr: string) =>
    (await get<{ result: Sample[] }>(`/api/v1/query?query=${encodeURIComponent(expr)}`)).result;
  // It takes some seconds to find its targets; what happens before has no rate.
  const end = performance.now() + 30_000;
  while ((await query('up == 1')).length < Object.keys(jobs).length) {
    if (performance.now() > end) throw new Error('Prometheus has not scraped within 30 s');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    get,
    query,
    async queryRange(expr, start, end, step) {
      const range = `start=${start}&end=${end}&step=${step}`;
      const path = `/api/v1/query_range?query=${encodeURIComponent(expr)}&${range}`;
      return (await get<{ result: RangeSeries[] }>(path)).result;
    },
    async close() {
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      await exit;
      await rm(folder, { recursive: true });
    },
  };
}

async function untilReady(url: string, child: ChildProcess): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await fetch(url).catch(() => undefined))?.ok) {
    if (child.exitCode !== null) throw new Error(`Prometheus has ended with ${child.exitCode}`);
    if (performance.now() > end) throw new Error('Prometheus is not ready after 30 s');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Runs promtool over files given as text. Gives its output; rejects with it where it finds something wrong. */
export async function promtool(
  command: readonly string[],
  files: Readonly<Record<string, string>>,
): Promise<string> {
  if (!hasPrometheus) throw new Error(`no promtool at ${PROMTOOL}: ${INSTALL}`);
  const folder = await mkdtemp(join(tmpdir(), 'headgate-promtool-'));
  try {
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    const { stdout, stderr } = await promisify(execFile)(PROMTOOL, [...command], { cwd: folder });
    return stdout + stderr;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(stdout + stderr || String(error));
  } finally {
    await rm(folder, { recursive: true });
  }
}
