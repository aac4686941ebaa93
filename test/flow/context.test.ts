import { describe, expect, it } from 'vitest';
import { ask, rejection, startGoverned, until } from '../support/governed.ts';
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
