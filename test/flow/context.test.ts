import { describe, expect, it, vi } from 'vitest';
import { ask, pause, rejection, startGoverned, until } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

/** Whose call it is, as the admission spans tell. */
async function setUp(config = {}) {
  const telemetry = startTelemetry();
  const governed = await startGoverned({
    config: { telemetry: { user: 'raw' }, ...config },
    governor: { tracerProvider: telemetry.tracerProvider, meterProvider: telemetry.meterProvider },
  });
  const users = () =>
    telemetry.spans.spans
      .filter(({ name }) => name === 'headgate.admission')
      .map(({ attributes }) => [attributes['user.id'], attributes['headgate.lane']]);
  return { ...governed, telemetry, users };
}

describe('the caller of a call', () => {
  it('is that of the scope in which create() and stream() are called, wherever they are awaited', async () => {
    const { claude, governor, users } = await setUp();
    const created = governor.run({ user: 'ada', lane: 'background' }, () => [
      claude.messages.create(ask()),
      claude.messages.stream(ask()).finalMessage(),
    ]);
    await governor.run({ user: 'eve' }, () => Promise.all(created));
    expect(users()).toEqual([
      ['ada', 'background'],
      ['ada', 'background'],
    ]);
  });

  it('stays apart for two interleaved requests', async () => {
    const { claude, governor, users } = await setUp();
    const request = (user: string) =>
      governor.run({ user }, async () => {
        for (let turn = 0; turn < 3; turn++) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          await claude.messages.create(ask());
        }
      });
    await Promise.all([request('ada'), request('ben')]);
    expect(
      users()
        .map(([user]) => user)
        .sort(),
    ).toEqual(['ada', 'ada', 'ada', 'ben', 'ben', 'ben']);
  });

  it('is right for every turn of the tool runner, which runs where it is iterated', async () => {
    const { claude, governor, users } = await setUp();
    await governor.run({ user: 'ada' }, async () => {
      await claude.beta.messages.toolRunner({
        ...ask('[use:weather] now'),
        tools: [
          {
            name: 'weather',
            description: 'weather',
            input_schema: { type: 'object', properties: {} },
            parse: (input: unknown) => input as Record<string, never>,
            run: () => 'sunny',
          },
        ],
      });
    });
    expect(users().map(([user]) => user)).toEqual(['ada', 'ada']);
  });

  it('is the outer scope where an inner one does not name it', async () => {
    const { claude, governor, users } = await setUp();
    await governor.run({ user: 'ada', lane: 'interactive' }, () =>
      governor.run({ lane: 'background' }, () => claude.messages.create(ask())),
    );
    expect(users()).toEqual([['ada', 'background']]);
  });

  it('can be named on a client, and rejoined after a lost context', async () => {
    const { claude, governor, users } = await setUp();
    await governor.with({ user: 'cron', lane: 'background' }, claude).messages.create(ask());
    await governor.run({ user: 'ada' }, () =>
      governor.with({ lane: 'background' }, claude).messages.create(ask()),
    );
    expect(users()).toEqual([
      ['cron', 'background'],
      ['ada', 'background'],
    ]);
  });

  it('is asked for once and late, and what the function throws reaches the caller as it is', async () => {
    const { claude, governor, users } = await setUp();
    let asked = 0;
    const scope = () => {
      asked++;
      return { user: 'ada' };
    };
    await governor.run(scope, async () => {
      expect(asked).toBe(0);
      await claude.messages.create(ask());
      await claude.messages.create(ask());
    });
    expect(asked).toBe(1);
    expect(users()).toHaveLength(2);
    const boom = new Error('no session');
    for (const source of [
      () => {
        throw boom;
      },
      () => Promise.reject(boom),
    ]) {
      const error = await rejection(governor.run(source, () => claude.messages.create(ask())));
      expect(error).toBe(boom);
    }
  });

  it('must be one: a wrong type is told and not taken for anonymous', async () => {
    const { claude, governor } = await setUp();
    const wrong = { user: { id: 1 } } as unknown as { user: string };
    const error = await rejection(governor.run(wrong, () => claude.messages.create(ask())));
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toContain('caller.user: expected text or a number, received object');
  });

  it('is anonymous outside every scope, and counted; or refused, where the configuration says so', async () => {
    const open = await setUp();
    await open.claude.messages.create(ask());
    await open.telemetry.collect();
    expect(open.telemetry.metrics.value('headgate.caller.unknown', { 'headgate.lane': 'interactive' })).toBe(
      1,
    );

    const strict = await setUp({ unknownCaller: 'refuse' });
    const error = await rejection(strict.claude.messages.create(ask()));
    expect(error).toMatchObject({
      name: 'UnknownCallerError',
      code: 'unknown_caller',
      reason: 'unknown_caller',
    });
    expect(strict.api.ledger.count({})).toBe(0);
    await strict.governor.run({}, () => strict.claude.messages.create(ask()));
  });

  it('never escapes a quota by losing its context: anonymous calls share one', async () => {
    const { claude } = await setUp({ quotas: [{ name: 'q', requests: '1/day' }] });
    await claude.messages.create(ask());
    expect(await rejection(claude.messages.create(ask()))).toMatchObject({ code: 'quota_exceeded' });
  });

  it('that does not answer is not waited for beyond the call’s own time', async () => {
    const { claude, governor } = await setUp({ timeouts: { total: '80ms' } });
    const error = await rejection(
      governor.run(
        () => new Promise(() => {}),
        () => claude.messages.create(ask()),
      ),
    );
    expect(error).toMatchObject({ name: 'AbortedError', reason: 'deadline' });
  });

  it('is told of, once for each place, where it may be another’s: the scope has changed, or its user', async () => {
    const { claude, governor, warnings, telemetry } = await setUp();
    const made = governor.run({ user: 'ada', route: '/a' }, () => governor.with({}, claude));
    const say = (content: string, user_id: string) =>
      claude.messages.create({ ...ask(content), metadata: { user_id } });
    for (let i = 0; i < 2; i++) {
      await governor.run({ user: 'ben', route: '/b' }, () => made.messages.create(ask()));
      await made.messages.create(ask());
      await governor.run({ user: 'ben', route: '/b' }, () => say('hello', 'ada'));
      // Made up to say nothing: whose they are is known only when another has had them.
      await governor.run({ user: 'ada', route: '/c' }, () =>
        say('hello', '0b7c5a52-5b2f-4f6c-9f0e-1d2c3b4a5f60'),
      );
      await governor.run({ user: 'ben', route: '/d' }, () =>
        say('hello', '0b7c5a52-5b2f-4f6c-9f0e-1d2c3b4a5f60'),
      );
      await governor.run({ user: 'ben', route: '/e' }, () => say('hello', 'ben'));
    }
    const here = String.raw`context\.test\.ts:\d+`;
    expect(warnings).toEqual([
      expect.stringMatching(
        new RegExp(`made in the scope of "/a" and called in the scope of "/b".*${here}.*HG_SCOPE_CHANGED`),
      ),
      expect.stringMatching(
        new RegExp(`made in the scope of "/a" and called in no scope.*${here}.*HG_SCOPE_CHANGED`),
      ),
      expect.stringMatching(new RegExp(`the scope of "/b".*${here}.*HG_USER_DIFFERS`)),
    ]);
    expect(warnings.join()).not.toMatch(/\b(ada|ben)\b/);
    await telemetry.collect();
    const counted = (doubt: string) =>
      telemetry.metrics.value('headgate.caller.doubts', { 'headgate.caller.doubt': doubt });
    expect([counted('scope_changed'), counted('user_differs')]).toEqual([4, 4]);
  });

  it('is nobody’s outside every scope, which is told once for each line; in production without the line', async () => {
    const { claude, warnings } = await setUp();
    const one = () => claude.messages.create(ask());
    const other = async () => {
      await claude.messages.create(ask());
    };
    for (let i = 0; i < 2; i++) await Promise.all([one(), one(), other()]);
    expect(warnings).toEqual([
      expect.stringMatching(/one \(.*context\.test\.ts:\d+:\d+\)\) \[HG_NO_SCOPE\]/),
      expect.stringMatching(/other \(.*context\.test\.ts:\d+:\d+\)\) \[HG_NO_SCOPE\]/),
    ]);
    vi.stubEnv('NODE_ENV', 'production');
    try {
      const inProduction = await setUp();
      const { claude: quiet } = inProduction;
      for (let i = 0; i < 2; i++) await quiet.messages.create(ask());
      expect(inProduction.warnings).toEqual([expect.stringMatching(/HG_NO_SCOPE/)]);
      expect(inProduction.warnings[0]).not.toContain('context.test');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('is told of in bounded number, whatever places and routes there are', async () => {
    const { claude, governor, warnings } = await setUp();
    const made = governor.run({ user: 'ada', route: '/a' }, () => governor.with({}, claude));
    await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        governor.run({ user: 'ben', route: `/${i}` }, () => made.messages.create(ask())),
      ),
    );
    expect(warnings.length).toBe(25);
  });

  it('pays nothing for a call that is never sent: past its deadline, gone before, gone in the queue', async () => {
    const { claude, governor, api } = await setUp({
      account: [{ name: 's', models: ['claude-sonnet-*'], concurrency: 1 }],
      quotas: [{ name: 'q', requests: '100/day' }],
    });
    const past = await rejection(
      governor.run({ user: 'past', deadlineMs: 1 }, async () => {
        await pause(10);
        return claude.messages.create(ask());
      }),
    );
    expect(past).toMatchObject({ name: 'AbortedError', reason: 'deadline', status: 504 });
    const gone = await rejection(
      governor.run({ user: 'gone', signal: AbortSignal.abort() }, () => claude.messages.create(ask())),
    );
    expect(gone).toMatchObject({ name: 'AbortedError', reason: 'aborted', status: 499 });

    api.inject({ kind: 'stall', at: 'before-headers', ms: 300 });
    const first = governor.run({ user: 'first' }, () => claude.messages.create(ask()));
    await until(() => governor.snapshot().inFlight === 1);
    const hangUp = new AbortController();
    const queued = rejection(
      governor.run({ user: 'queued', signal: hangUp.signal }, () => claude.messages.create(ask())),
    );
    await pause(10);
    hangUp.abort();
    expect(await queued).toMatchObject({ name: 'AbortedError' });
    await first;
    const { rows } = await governor.usage({ by: 'user' });
    expect(rows.map(({ key, calls }) => [key, calls])).toEqual([['first', 1]]);
    expect(api.ledger.count({})).toBe(1);
  });

  it('hangs up by its signal: queued and running calls end, with our error', async () => {
    const { claude, governor, api } = await setUp({
      account: [{ name: 's', models: ['claude-sonnet-*'], concurrency: 1 }],
    });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 1_000 });
    const hangUp = new AbortController();
    const both = governor.run({ user: 'ada', signal: hangUp.signal }, () => [
      rejection(claude.messages.create(ask())),
      rejection(claude.messages.create(ask())),
    ]);
    await until(() => governor.snapshot().inFlight === 1);
    hangUp.abort();
    for (const error of await Promise.all(both))
      expect(error).toMatchObject({ name: 'AbortedError', status: 499 });
    expect(api.ledger.count({})).toBeLessThanOrEqual(1);
  });
});
