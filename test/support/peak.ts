import { metrics as metricsApi } from '@opentelemetry/api';
import { startApi } from '../../examples/demo/src/api.ts';
import { demoApp } from '../../examples/demo/src/app.ts';
import { drive } from '../../examples/demo/src/driver.ts';
import { listen } from '../../examples/demo/src/listen.ts';
import { planTraffic } from '../../examples/demo/src/traffic.ts';
import { everything } from './everything.ts';
import { pause } from './governed.ts';
import { lossOfStore } from './loss-of-store.ts';
import { type Prometheus, scrapeTarget, startPrometheus } from './prometheus.ts';

/** Seconds of the demo's traffic, which is twice what its account can carry, and the moment at which it is looked at. */
const TRAFFIC_SECONDS = 20;
const PEAK_MS = 14_000;

export interface Peak {
  readonly prometheus: Prometheus;
  /** Resolves when the account has been overloaded for a while. */
  readonly reached: Promise<void>;
  /** Resolves when all that can go wrong has gone wrong twice, with scrapes between: what happened only once has no rate. */
  readonly trouble: Promise<void>;
  close(): Promise<void>;
}

/** A real Prometheus on two apps: `demo`, the demo's own at its peak, and `trouble`, to which everything happens. */
export async function startPeak(rules?: string): Promise<Peak> {
  const closers: (() => Promise<unknown>)[] = [];
  const demo = await scrapeTarget();
  const other = await scrapeTarget();
  const prometheus = await startPrometheus({ demo: demo.address, trouble: other.address }, rules);
  closers.push(() => prometheus.close(), demo.close, other.close);

  metricsApi.setGlobalMeterProvider(demo.meterProvider);
  const api = await startApi(1);
  const { app, governor } = demoApp(api.url);
  const server = await listen(app);
  const stop = new AbortController();
  const traffic = drive(server.url, planTraffic(TRAFFIC_SECONDS, 1), {
    patienceMs: 1_000,
    signal: stop.signal,
  });
  closers.push(async () => {
    stop.abort();
    await traffic.results;
    metricsApi.disable();
    await governor.close({ drainMs: 0 });
    await server[Symbol.asyncDispose]();
    await api[Symbol.asyncDispose]();
  });

  async function makeTrouble(): Promise<void> {
    const { meterProvider } = other;
    const fleet = await lossOfStore(meterProvider);
    closers.push(() => fleet.close());
    await fleet.lose();
    const first = await everything({ meterProvider });
    const port = Number(new URL(first.api.url).port);
    await first[Symbol.asyncDispose]();
    await pause(2_500);
    await fleet.lose();
    // On the same port, which is a label: another would be another series.
    const last = await everything({ meterProvider, port });
    closers.push(async () => last[Symbol.asyncDispose]());
    await pause(2_500);
  }
  const trouble = makeTrouble();
  return {
    prometheus,
    reached: pause(PEAK_MS),
    trouble,
    async close() {
      await trouble.catch(() => {});
      for (const close of closers.toReversed()) await close();
    },
  };
}
