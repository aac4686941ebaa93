import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, watchConfig } from '@headgate/core';
import { headgate, headgateErrors } from '@headgate/express';
import express from 'express';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ACCOUNT, ask, isSettled, pause, rejection, startGoverned, until } from '../support/governed.ts';
import { listen } from '../support/listen.ts';

describe('governor.update', () => {
  it('under load over HTTP fails no call and resets no counter', async () => {
    const quota = (requests: string) => ({ account: ACCOUNT, quotas: [{ name: 'q', requests }] });
    const { governor, claude, api } = await startGoverned({ config: quota('60/day') });
    const app = express();
    app.use(headgate(governor, { caller: () => ({ user: 'ada' }) }));
    app.post('/chat', async (_req, res) => void res.json(await claude.messages.create(ask())));
    app.use(headgateErrors());
    const url = await listen(app);
    const statuses: number[] = [];
    const client = async () => {
      for (let i = 0; i < 20; i++) statuses.push((await fetch(`${url}/chat`, { method: 'POST' })).status);
    };
    const load = Promise.all([client(), client(), client(), client(), client()]);
    for (let i = 0; i < 30; i++) {
      governor.update({
        ...quota(i % 2 === 0 ? '60/day' : '80/day'),
        lanes: { interactive: { weight: 1 + (i % 3) } },
      });
      await pause(10);
    }
    governor.update(quota('60/day'));
    await load;
    const count = (status: number) => statuses.filter((each) => each === status).length;
    expect(count(200) + count(429)).toBe(100);
    expect(count(200)).toBeGreaterThanOrEqual(60);
    expect(count(200)).toBeLessThanOrEqual(80);
    expect(api.ledger.count({ outcome: 'admitted' })).toBe(count(200));
    expect(isSettled(governor)).toBe(true);
  });

  it('is whole or not at all', async () => {
    const { governor, claude } = await startGoverned({
      config: { quotas: [{ name: 'q', requests: '1/day' }] },
    });
    await claude.messages.create(ask());
    expect(() => governor.update({ quotas: [{ name: 'q', requests: '5/fortnight' }] })).toThrow(ConfigError);
    expect(governor.snapshot().config).toMatchObject({
      generation: 1,
      problem: expect.stringContaining('5/fortnight'),
    });
    expect(await rejection(claude.messages.create(ask()))).toMatchObject({ code: 'quota_exceeded' });
    governor.update({ account: ACCOUNT, quotas: [{ name: 'q', requests: '2/day' }] });
    expect(governor.snapshot().config).toEqual({ generation: 2, problem: undefined });
    await claude.messages.create(ask());
    expect(await rejection(claude.messages.create(ask()))).toMatchObject({ code: 'quota_exceeded' });
  });

  it('reaches what waits: a limit that is raised lets it go', async () => {
    const account = (concurrency: number) => ({
      account: [{ name: 's', models: ['*'], requestsPerMinute: 6_000, concurrency }],
    });
    const { governor, claude, api } = await startGoverned({ config: account(1) });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 500, times: 3 });
    const calls = [1, 2, 3].map(() => claude.messages.create(ask()));
    await until(() => governor.snapshot().buckets[0]?.lanes.interactive?.queued === 2);
    governor.update(account(3));
    await until(() => governor.snapshot().inFlight === 3, 400);
    await Promise.all(calls);
  });

  it('holds a call to the rules that it began with, also for what comes after its headers', async () => {
    const { governor, claude, api } = await startGoverned({
      config: { timeouts: { streamIdle: '10s' }, hangUp: 'abort' },
      api: { latency: { timeToFirstTokenMs: 10, tokensPerSecond: 100, flushMs: 10 }, output: () => 2_000 },
    });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 100 });
    const asked = claude.messages.create({ ...ask('x', { max_tokens: 4_000 }), stream: true }).asResponse();
    await until(() => api.received.length === 1);
    governor.update({ account: ACCOUNT, timeouts: { streamIdle: '50ms' }, hangUp: 'drain' });
    const response = await asked;
    await pause(250);
    expect(governor.snapshot().inFlight).toBe(1);
    await response.body?.cancel();
    await until(() => api.ledger.count({ disconnected: true }) === 1, 1_000);
    await until(() => isSettled(governor));
  });
});

describe('watchConfig', () => {
  async function setUp() {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-watch-'));
    const path = join(folder, 'headgate.yaml');
    writeFileSync(path, 'quotas:\n  - { name: q, requests: 1/day }\n');
    const { governor } = await startGoverned({
      config: { account: [], quotas: [{ name: 'q', requests: '1/day' }] },
    });
    const watch = watchConfig(path, governor);
    onTestFinished(() => {
      watch.close();
      rmSync(folder, { recursive: true });
    });
    await pause(50);
    const generation = () => governor.snapshot().config.generation;
    return { path, folder, governor, generation };
  }

  it('takes a changed file over, also one put in its place, and not one that is the same', async () => {
    const { path, folder, generation } = await setUp();
    await pause(400);
    expect(generation()).toBe(1);
    writeFileSync(path, '# a comment\nquotas:\n  - { name: q, requests: 1/day }\n');
    await pause(500);
    expect(generation()).toBe(1);
    writeFileSync(path, 'quotas:\n  - { name: q, requests: 2/day }\n');
    await until(() => generation() === 2);
    writeFileSync(join(folder, 'next'), 'quotas:\n  - { name: q, requests: 3/day }\n');
    renameSync(join(folder, 'next'), path);
    await until(() => generation() === 3);
  });

  it('keeps what it has while the file is broken, empty or gone, and says so', async () => {
    const { path, governor, generation } = await setUp();
    for (const [text, word] of [
      ['quotas: [', 'does not parse'],
      ['', 'empty file'],
      ['quotas:\n  - { name: q, request: 1/day }\n', 'request'],
    ] as const) {
      writeFileSync(path, text);
      await until(() => governor.snapshot().config.problem?.includes(word) === true);
      expect(generation()).toBe(1);
    }
    rmSync(path);
    await until(() => governor.snapshot().config.problem?.includes('ENOENT') === true);
    writeFileSync(path, 'quotas:\n  - { name: q, requests: 9/day }\n');
    await until(() => generation() === 2);
    expect(governor.snapshot().config.problem).toBeUndefined();
  });

  it('waits until an editor has written all of it', async () => {
    const { path, governor, generation } = await setUp();
    const whole = 'quotas:\n  - { name: q, requests: 5/day }\n  - { name: r, requests: 6/day }\n';
    for (let length = 10; length < whole.length; length += 10) {
      writeFileSync(path, whole.slice(0, length));
      await pause(30);
    }
    writeFileSync(path, whole);
    await until(() => generation() === 2);
    expect(governor.snapshot().quotas.map(({ name }) => name)).toEqual(['q', 'r']);
    expect(governor.snapshot().config.problem).toBeUndefined();
  });
});

describe('a route under pressure', () => {
  it('is taken while the wait is long, and only then', async () => {
    const { governor, claude, api } = await startGoverned({
      config: {
        account: [
          { name: 's', models: ['claude-sonnet-*'], requestsPerMinute: 60, burst: 1 / 60 },
          { name: 'h', models: ['claude-haiku-*'], requestsPerMinute: 6_000 },
        ],
        lanes: { interactive: { maxWait: '8s' } },
        routes: [{ when: { model: 'claude-sonnet-*' }, model: 'claude-haiku-4-5', if: 'pressure' }],
      },
    });
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        governor.run({ user: `user ${i}` }, () => claude.messages.create(ask())),
      ),
    );
    const models = answers.map(({ model }) => (model.includes('haiku') ? 'haiku' : 'sonnet'));
    expect(models.slice(0, 2)).toEqual(['sonnet', 'sonnet']);
    expect(models.filter((model) => model === 'haiku').length).toBeGreaterThan(6);
    // Who forbids it waits.
    const faithful = governor.run({ user: 'x', fallback: false }, () => claude.messages.create(ask()));
    expect((await faithful).model).toContain('sonnet');
    expect(api.ledger.count({ status: 429 })).toBe(0);
  });
});
