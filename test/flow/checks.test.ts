import cluster from 'node:cluster';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type Governor } from '@headgate/core';
import { headgate } from '@headgate/express';
import express from 'express';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ask, rejection, startGoverned } from '../support/governed.ts';
import { listen } from '../support/listen.ts';

/** The named checks that look at how Headgate is used, and not at its configuration. */
describe('a likely mistake is named, once', () => {
  const governors: Governor[] = [];
  afterEach(async () => {
    vi.restoreAllMocks();
    await Promise.all(governors.splice(0).map((governor) => governor.close()));
  });
  const make = (config = {}) => {
    const said: string[] = [];
    const logger = { info() {}, warn: (message: string) => void said.push(message), error() {} };
    const governor = createGovernor({ config, logger });
    governors.push(governor);
    return { governor, said };
  };

  it('quotas of days without a store', () => {
    const { said, governor } = make({ quotas: [{ name: 'q', usd: '1/month' }] });
    expect(said).toEqual([expect.stringContaining('[HG_MEMORY_ONLY]')]);
    expect(governor.snapshot().warnings).toMatchObject([{ code: 'HG_MEMORY_ONLY' }]);
    expect(make({ quotas: [{ name: 'q', usd: '1/hour' }] }).said).toEqual([]);
  });

  it('a governor for each request', () => {
    const said = Array.from({ length: 12 }, () => make().said);
    expect(said.slice(0, 10).flat()).toEqual([]);
    expect(said.slice(10).flat()).toEqual([
      expect.stringContaining('[HG_GOVERNOR_PER_REQUEST]'),
      expect.stringContaining('[HG_GOVERNOR_PER_REQUEST]'),
    ]);
  });

  it('a worker of a cluster with limits of its own', () => {
    vi.spyOn(cluster, 'isWorker', 'get').mockReturnValue(true);
    expect(make().said).toEqual([expect.stringContaining('[HG_CLUSTER_MEMORY]')]);
  });

  it('an adapter without a caller', async () => {
    const { governor, said } = make();
    const app = express();
    app.use(headgate(governor));
    app.get('/', (_req, res) => void res.send('ok'));
    const url = await listen(app);
    await fetch(url);
    await fetch(url);
    expect(said).toEqual([expect.stringContaining('[HG_NO_CALLER]')]);
  });

  it('a client with retries of its own', async () => {
    const { api, governor, warnings } = await startGoverned({ config: { retries: { maxAttempts: 1 } } });
    const careless = new Anthropic({
      apiKey: 'k',
      baseURL: api.url,
      maxRetries: 1,
      middleware: [governor.middleware],
    });
    api.inject({ kind: 'reset', at: 'before-headers', times: Number.POSITIVE_INFINITY });
    await rejection(governor.run({ user: 'ada' }, () => careless.messages.create(ask())));
    expect(warnings).toEqual([expect.stringContaining('[HG_SDK_RETRIES]')]);
    expect(api.received).toHaveLength(1);
  });

  it('a lane that does not exist', async () => {
    const { claude, governor, warnings } = await startGoverned();
    for (let i = 0; i < 3; i++) await governor.run({ lane: 'turbo' }, () => claude.messages.create(ask()));
    expect(warnings).toEqual([expect.stringMatching(/lane "turbo".*\[HG_UNKNOWN_LANE\]/)]);
  });

  it('an OpenTelemetry SDK that an older copy of its API has registered', async () => {
    // Where every copy of the API looks; ours does not take what an older one has put there, and says nothing.
    const key = Symbol.for('opentelemetry.js.api.1');
    const shared = globalThis as { [key]?: unknown };
    const before = shared[key];
    const { claude: governed, governor, warnings } = await startGoverned();
    const claude = governor.with({ user: 'ada' }, governed);
    await claude.messages.create(ask());
    expect(warnings).toEqual([]);
    shared[key] = { version: '1.3.0', trace: {} };
    try {
      for (let i = 0; i < 2; i++) await claude.messages.create(ask());
    } finally {
      shared[key] = before;
    }
    expect(warnings).toEqual([expect.stringMatching(/@opentelemetry\/api 1\.3\.0.*\[HG_OTEL_API\]/)]);
  });
});
