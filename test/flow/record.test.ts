import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor } from '@headgate/core';
import { manualClock, startClaudeApi } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { lognormal, seeded } from '../../packages/cli/src/plan/random.ts';
import type { PlanReport } from '../../packages/cli/src/plan/report.ts';
import { shut } from '../batch/support.ts';
import { folderWith, planIn } from '../plan/support.ts';
import { ask, MODEL, rejection, startGoverned } from '../support/governed.ts';

interface Line {
  readonly at: number;
  readonly input: number;
  readonly output: number;
  readonly [field: string]: unknown;
}

/** A stream that keeps what is written. */
function sink() {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  const lines = () =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  return { stream, lines, text: () => text };
}

/** One that fails as it is told to. */
const broken = (write: (done: (error?: Error) => void) => void) =>
  new Writable({ write: (_chunk, _encoding, done) => write(done) });

describe('governor.record', () => {
  it('writes each call in the order of arrival, with the sizes that the API counted', async () => {
    const { api, governor, claude } = await startGoverned({
      api: {
        // The long one takes a second, the others a fiftieth of one each: a busy machine does not turn that about.
        output: ({ messages }) => (JSON.stringify(messages).includes('long') ? 1_000 : 10),
        latency: { timeToFirstTokenMs: 5, tokensPerSecond: 1_000, flushMs: 5 },
      },
      config: { caps: [{ when: { tier: 'free' }, maxTokens: 50 }] },
    });
    const { stream, lines } = sink();
    const stop = governor.record(stream);
    const slow = governor.run({ user: 'ada', lane: 'background', route: '/digest' }, () =>
      claude.messages.stream(ask('a long one', { max_tokens: 1_000 })).finalMessage(),
    );
    await governor.run({ user: 'ben', tier: 'free' }, () => claude.messages.create(ask('a short one')));
    await claude.messages.create(ask('of nobody'));
    // The first has not ended, and what came after it is held.
    expect(lines()).toEqual([]);
    await slow;
    expect(stop()).toEqual({ written: 3, estimated: 0, dropped: 0 });
    const [first, second, third] = lines();
    const [a, b, c] = api.ledger.entries;
    const sizes = (entry: typeof a) => ({ input: entry?.inputTokens, output: entry?.outputTokens });
    const common = { at: expect.any(Number), model: MODEL };
    expect(first).toEqual({
      ...common,
      ...sizes(a),
      maxTokens: 1_000,
      user: expect.stringMatching(/^[0-9a-f]{16}$/),
      lane: 'background',
      route: '/digest',
      streaming: true,
    });
    // What was asked for, and not what the cap has made of it.
    expect(second).toMatchObject({
      ...common,
      ...sizes(b),
      tier: 'free',
      lane: 'interactive',
      maxTokens: 200,
    });
    expect(third).toMatchObject({ ...sizes(c), user: 'anonymous', streaming: false });
    expect(first!.at).toBeLessThanOrEqual(second!.at);
    await claude.messages.create(ask());
    expect(lines()).toHaveLength(3);
  });

  it('plays: a rehearsal of the recording tells what the governor has seen', async () => {
    const limits = {
      name: 'sonnet-4',
      models: ['claude-sonnet-4-*'],
      requestsPerMinute: 1_000,
      inputTokensPerMinute: 1_000_000,
      outputTokensPerMinute: 39_000,
    };
    const config: ConfigInput = {
      account: [{ ...limits, burst: 0.1 }],
      lanes: { interactive: { weight: 8, maxWait: '20s' }, background: { weight: 1, maxWait: '10m' } },
      quotas: [{ name: 'free-per-user', when: { tier: 'free' }, requests: '10/minute' }],
    };
    const clock = manualClock(undefined, { turns: 20 });
    const random = seeded(5);
    const api = await startClaudeApi({
      clock,
      limits: [{ ...limits, burstSeconds: 6 }],
      latency: { timeToFirstTokenMs: 600, tokensPerSecond: 70 },
      output: () => Math.min(2_000, Math.max(10, Math.round(lognormal(random, 200, 0.6)))),
    });
    const governor = createGovernor({ clock, random: seeded(3), config });
    onTestFinished(() => api.close());
    const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url, maxRetries: 0 }));
    const folder = folderWith({
      'headgate.yaml': config,
      'traffic.yaml': { duration: '5m', calls: [{ name: 'recorded', trace: 'calls.jsonl' }] },
    });
    const stream = createWriteStream(join(folder, 'calls.jsonl'));
    const stop = governor.record(stream);

    const refused = { quota: 0, others: 0 };
    const waits: number[] = [];
    const call = async (n: number) => {
      const who =
        n % 3 === 0
          ? { user: `free ${n % 2}`, tier: 'free', lane: 'interactive' }
          : { user: `user ${n % 7}`, tier: 'paid', lane: n % 3 === 1 ? 'interactive' : 'background' };
      const begun = clock.now();
      try {
        const { usage } = await governor.run(who, () =>
          claude.messages.create(ask('tell me '.repeat(50), { max_tokens: 2_000 })),
        );
        const answer = 600 + (usage.output_tokens / 70) * 1_000;
        if (who.lane === 'background') waits.push(clock.now() - begun - answer);
      } catch (error) {
        if ((error as { code?: string }).code === 'quota_exceeded') refused.quota++;
        else refused.others++;
      }
    };
    // Five calls a second for two minutes: more output than fits.
    for (let n = 0; n < 600; n++) {
      void call(n);
      await clock.advance(200);
    }
    await clock.advance(120_000);
    await shut(clock, governor);
    const sums = stop();
    stream.end();
    await finished(stream);

    expect(refused.quota).toBeGreaterThan(100);
    expect(sums).toEqual({ written: 600, estimated: refused.quota + refused.others, dropped: 0 });
    const { code, out } = await planIn(folder, '--json');
    expect(code, out).toBe(0);
    const report = JSON.parse(out) as PlanReport;
    expect(report.all.calls).toBe(600);
    expect(report.all.answered).toBe(api.ledger.count({ status: 200 }));
    expect(report.all.refused).toEqual({ user_quota: refused.quota });
    // Every answer is as long as it was, so it costs what it cost.
    expect(report.cost.usd).toBeCloseTo(governor.snapshot().usage.usd, 9);
    expect(report.refusals429).toBe(api.ledger.count({ status: 429 }));
    const background = report.lanes.find(({ name }) => name === 'background');
    const p95 = waits.toSorted((x, y) => x - y)[Math.floor(0.95 * waits.length)]!;
    expect(p95).toBeGreaterThan(2_000);
    // Answers come at other speeds in a rehearsal, so the waits are like those there were, and not the same.
    expect(background!.waitMs.p95 / p95).toBeGreaterThan(0.6);
    expect(background!.waitMs.p95 / p95).toBeLessThan(1.6);
  }, 60_000);

  it('tells nothing of who has called, of what was said, or of any key', async () => {
    const { governor, bare } = await startGoverned({ config: { telemetry: { user: 'raw' } } });
    const key = 'sk-ant-api03-never-to-be-seen';
    const claude = governor.govern(bare.withOptions({ apiKey: key }));
    const recorded = [sink(), sink()];
    const stops = recorded.map(({ stream }) => governor.record(stream));
    const secret = 'the combination of the safe';
    const who = { user: 'ada@example.com', tenant: 'Babbage & Sons', labels: { ticket: 'T-4711' } };
    await governor.run(who, () =>
      claude.messages.create(ask(secret, { system: secret, metadata: { user_id: who.user } })),
    );
    const answer = await governor.run(who, () => claude.messages.create(ask(secret)));
    for (const stop of stops) stop();
    const [text] = answer.content.flatMap((block) => (block.type === 'text' ? [block.text] : []));
    for (const { text: written, lines } of recorded) {
      expect(lines()).toHaveLength(2);
      for (const hidden of [
        who.user,
        'ada@',
        who.tenant,
        'Babbage',
        'T-4711',
        secret,
        'safe',
        key,
        'sk-ant',
        text!.slice(0, 12),
      ])
        expect(written()).not.toContain(hidden);
    }
    // The same user is one user in a recording, and another in the next.
    const [users, others] = recorded.map(({ lines }) => new Set(lines().map(({ user }) => user)));
    expect(users?.size).toBe(1);
    expect([...users!]).not.toEqual([...others!]);
  });

  it('has the same hashes again with a key that is configured', async () => {
    const { governor, claude } = await startGoverned({
      config: { telemetry: { hashKey: 'a pepper of one’s own' } },
    });
    const recorded = [sink(), sink()];
    for (const { stream } of recorded) {
      using _ = governor.record(stream);
      await governor.run({ user: 'ada' }, () => claude.messages.create(ask()));
    }
    const [first, second] = recorded.map(({ lines }) => lines().map(({ user }) => user));
    expect(first).toHaveLength(1);
    expect(first).toEqual(second);
  });

  it('has what was refused by a limit or failed for a while, and leaves out what is wrong with the call itself', async () => {
    const { api, governor, claude } = await startGoverned({
      config: {
        quotas: [{ name: 'hourly', when: { tier: 'free' }, requests: '1/hour' }],
        caps: [{ when: { tier: 'mini' }, maxTokens: 10, onExceed: 'refuse' }],
        retries: { maxAttempts: 1 },
        lanes: { interactive: {}, background: { via: 'batch' } },
      },
    });
    // One answer moves an estimate little; a handful teaches it.
    for (let n = 0; n < 8; n++) await governor.run({ user: 'eve' }, () => claude.messages.create(ask()));
    const { stream, lines } = sink();
    const stop = governor.record(stream);
    const free = () => governor.run({ user: 'ada', tier: 'free' }, () => claude.messages.create(ask()));
    await free();
    await rejection(free());
    api.inject({ kind: 'status', status: 529 });
    await rejection(claude.messages.create(ask()));
    await rejection(claude.messages.create(ask('', { max_tokens: -1 })));
    await rejection(governor.run({ tier: 'mini' }, () => claude.messages.create(ask())));
    await claude.messages.countTokens({ model: MODEL, messages: [{ role: 'user', content: 'hello' }] });
    // A stream in a lane that goes by batch goes directly.
    await governor.run({ lane: 'background' }, () => claude.messages.stream(ask()).finalMessage());
    expect(stop()).toEqual({ written: 3, estimated: 2, dropped: 0 });
    const [answered, refused, overloaded] = lines();
    expect(refused).toMatchObject({ tier: 'free', maxTokens: 200 });
    // Expected by what the first ones have taught.
    expect(refused!.input).toBeGreaterThan(0.5 * answered!.input);
    expect(refused!.input).toBeLessThan(2 * answered!.input);
    expect(refused!.output).toBeGreaterThan(0);
    expect(overloaded).toMatchObject({ user: 'anonymous', lane: 'interactive' });
  });

  it('ends with the governor, and leaves the stream open', async () => {
    const { governor, claude } = await startGoverned();
    const { stream, lines } = sink();
    const stop = governor.record(stream);
    await claude.messages.create(ask());
    await governor.close({ drainMs: 100 });
    expect(lines()).toHaveLength(1);
    expect(stop.sums).toEqual({ written: 1, estimated: 0, dropped: 0 });
    expect(stop()).toEqual(stop.sums);
    expect(stream.writable).toBe(true);
  });

  it.each([
    ['that fails later', () => broken((done) => setImmediate(done, new Error('disk full')))],
    ['that fails at once', () => broken((done) => done(new Error('disk full')))],
    [
      'that throws',
      () =>
        broken(() => {
          throw new Error('disk full');
        }),
    ],
    ['that is ended meanwhile', () => new PassThrough().end()],
  ])('a stream %s fails no call, and is told of once', async (_name, make) => {
    const { governor, claude: governed, warnings } = await startGoverned();
    const claude = governor.with({ user: 'ada' }, governed);
    let stream = make();
    if (!stream.writable) {
      stream = new PassThrough();
      setImmediate(() => stream.end());
    }
    const stop = governor.record(stream);
    for (let i = 0; i < 4; i++) expect((await claude.messages.create(ask())).type).toBe('message');
    const { written, dropped } = stop();
    expect(written + dropped).toBe(4);
    expect(dropped).toBeGreaterThanOrEqual(3);
    expect(warnings).toEqual([expect.stringContaining('[HG_RECORDING]')]);
    // An error that comes when it is over ends no process either.
    stream.emit('error', new Error('late'));
  });

  it('takes nothing but a stream that can be written to', async () => {
    const { governor } = await startGoverned();
    const record = (stream: unknown) => () => governor.record(stream as Writable);
    expect(record(undefined)).toThrow('Headgate record: expected a writable stream, received undefined');
    expect(record('calls.jsonl')).toThrow('received string');
    expect(record(new PassThrough().end())).toThrow('received one that has ended');
  });
});
