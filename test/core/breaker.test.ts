import { manualClock } from '@headgate/testing';
import { describe, expect, it } from 'vitest';
import { Breaker } from '../../packages/core/src/attempts/breaker.ts';
import { Breakers } from '../../packages/core/src/attempts/breakers.ts';
import { spendLimitEnd } from '../../packages/core/src/attempts/spend-limits.ts';

describe('a breaker', () => {
  const make = () => {
    const clock = manualClock();
    const moves: string[] = [];
    return {
      clock,
      moves,
      breaker: new Breaker({
        clock,
        random: () => 1 - 1e-9,
        onMove: (state) => void moves.push(state),
      }),
    };
  };

  let turn = 0;
  const caller = () => `user ${turn++ % 10}`;
  const fail = (breaker: Breaker, who = caller()) => {
    breaker.enter(who);
    breaker.failed(false, who);
  };
  const succeed = (breaker: Breaker) => {
    breaker.enter(caller());
    breaker.succeeded(false);
  };

  it('judges by all that were sent: failures come back sooner than answers', () => {
    const { breaker } = make();
    for (let i = 0; i < 100; i++) breaker.enter(`user ${i % 10}`);
    // Half of what each of five callers has sent, and then of a sixth.
    for (let i = 0; i < 29; i++) breaker.failed(false, `user ${i % 6}`);
    expect(breaker.state).toBe('closed');
    breaker.failed(false, 'user 5');
    expect(breaker.state).toBe('open');
  });

  it('counts each caller once, and is not opened by one, nor closed by one', () => {
    const { breaker } = make();
    for (let i = 0; i < 500; i++) fail(breaker, 'A');
    for (let i = 0; i < 3; i++) succeed(breaker);
    expect([breaker.state, breaker.failsFor('A')]).toEqual(['closed', true]);
    // One caller whose calls succeed does not hide that all others fail.
    const other = make().breaker;
    for (let i = 0; i < 500; i++) other.enter('busy');
    for (let i = 0; i < 20; i++) fail(other, `user ${i % 7}`);
    expect(other.state).toBe('open');
  });

  it('lets others probe before a caller whose probe has failed', async () => {
    const { breaker, clock } = make();
    for (let i = 0; i < 20; i++) fail(breaker);
    await clock.advance(1_001);
    expect(breaker.enter('A')).toEqual({ pass: true, isProbe: true });
    breaker.failed(true, 'A');
    breaker.look('B');
    await clock.advance(2_001);
    expect(breaker.enter('A')).toMatchObject({ pass: false });
    expect(breaker.enter('B')).toEqual({ pass: true, isProbe: true });
  });

  it('opens when half of enough attempts fail, and not for fewer', () => {
    const { breaker, moves } = make();
    for (let i = 0; i < 19; i++) fail(breaker);
    expect(breaker.state).toBe('closed');
    fail(breaker);
    expect([breaker.state, moves]).toEqual(['open', ['open']]);
    const other = make().breaker;
    // Four of ten callers.
    for (let i = 0; i < 100; i++) turn % 10 < 6 ? succeed(other) : fail(other);
    expect(other.state).toBe('closed');
  });

  it('forgets what is older than its window', async () => {
    const { breaker, clock } = make();
    for (let i = 0; i < 19; i++) fail(breaker);
    await clock.advance(11_000);
    for (let i = 0; i < 10; i++) fail(breaker);
    expect(breaker.state).toBe('closed');
  });

  it('lets one call at a time see, and closes after three that succeed', async () => {
    const { breaker, clock, moves } = make();
    for (let i = 0; i < 20; i++) fail(breaker);
    expect(breaker.enter()).toMatchObject({ pass: false });
    await clock.advance(1_001);
    for (let success = 0; success < 3; success++) {
      expect(breaker.enter()).toEqual({ pass: true, isProbe: true });
      expect(breaker.enter()).toMatchObject({ pass: false });
      breaker.succeeded(true);
    }
    expect(breaker.enter()).toEqual({ pass: true, isProbe: false });
    expect(moves).toEqual(['open', 'half_open', 'half_open', 'half_open', 'closed']);
  });

  it('stays open longer each time, up to its bound', async () => {
    const { breaker, clock } = make();
    for (let i = 0; i < 20; i++) fail(breaker);
    const waits: number[] = [];
    for (let i = 0; i < 6; i++) {
      const passage = breaker.look();
      const ms = passage.pass ? 0 : passage.retryAfterMs;
      waits.push(Math.round(ms));
      await clock.advance(ms + 1);
      expect(breaker.enter()).toEqual({ pass: true, isProbe: true });
      breaker.failed(true);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
  });

  it('gives the place of a probe that came to nothing to the next', async () => {
    const { breaker, clock } = make();
    for (let i = 0; i < 20; i++) fail(breaker);
    await clock.advance(1_001);
    breaker.enter();
    breaker.released(true);
    expect(breaker.enter()).toEqual({ pass: true, isProbe: true });
    await clock.advance(30_001);
    expect(breaker.enter()).toEqual({ pass: true, isProbe: true });
  });

  it('is one for each model, in bounded number', () => {
    const breakers = new Breakers(
      manualClock(),
      () => 0.5,
      () => {},
    );
    for (let i = 0; i < 20; i++) fail(breakers.of('default', 'claude-a'));
    expect([
      breakers.of('default', 'claude-a').state,
      breakers.of('default', 'claude-b').state,
      breakers.of('other', 'claude-a').state,
    ]).toEqual(['open', 'closed', 'closed']);
    for (let i = 0; i < 1_000; i++) breakers.of('default', `made up ${i}`);
    // The oldest are forgotten, but for what is open; the newest has one of its own.
    expect(breakers.known).toBe(256);
    expect(breakers.of('default', 'claude-a').state).toBe('open');
    expect(breakers.of('default', 'x')).not.toBe(breakers.of('default', 'y'));
  });
});

describe('the end of a spend limit', () => {
  const now = Date.parse('2026-12-24T10:00:00Z');
  it.each([
    ['enforced_spend_limit_reached', '', '2027-01-01T00:00:00.000Z'],
    [
      undefined,
      'You have reached your specified API usage limits. You will regain access on 2027-02-01 at 00:00 UTC.',
      '2027-02-01T00:00:00.000Z',
    ],
    [
      undefined,
      'You have reached your specified API usage limits. You will regain access on 2020-01-01 at 00:00 UTC.',
      '2027-01-01T00:00:00.000Z',
    ],
    ['contract_spend_limit_reached', '', '2026-12-24T11:00:00.000Z'],
  ])('%s %s', (code, message, end) => {
    expect(new Date(spendLimitEnd(code, message, now)).toISOString()).toBe(end);
  });
});
