import { describe, expect, it } from 'vitest';
import { CONTENDERS } from '../bench/peers/contenders/index.ts';
import { classFigures, jainOf, longestStarvation } from '../bench/peers/figures.ts';
import type { Ended } from '../bench/peers/messages.ts';
import { read, section, sectionInPage } from '../bench/peers/page.ts';
import { answerTokensIn, CLASSES, KNOWN, LIMITS, planTraffic, SECONDS } from '../bench/peers/scenario.ts';

const ended = (user: string, atMs: number, endMs: number, more: Partial<Ended> = {}): Ended => ({
  user,
  atMs,
  endMs,
  callClass: 'JSON',
  answerTokens: 100,
  isAnswered: true,
  ...more,
});

describe('the page on measurement', () => {
  it('has the tables that the figures beside the bench make, one row for each contender', () => {
    const kept = read();
    expect(sectionInPage()).toBe(section(kept));
    const names = CONTENDERS.map(({ name }) => name);
    expect(kept.figures.map(({ name }) => name).toSorted()).toEqual([...names, 'SDK, no limits'].toSorted());
    for (const { used, classes } of kept.figures) {
      // More than a bucket with the debt of the answers that run can give was counted wrong.
      expect(used.outputTokens ?? 0).toBeLessThan(1.1);
      expect(Object.values(classes).reduce((sum, { calls }) => sum + calls, 0)).toBe(planTraffic().length);
    }
  });
});

describe('the peak minute', () => {
  const asks = planTraffic();
  const tokensOf = (list: typeof asks) => list.reduce((sum, { answerTokens }) => sum + answerTokens, 0);

  it('asks for twice what the limit of output lets through, in the shares that the page tells', () => {
    const limit = (LIMITS.outputTokensPerMinute * SECONDS) / 60;
    const share = (...classes: string[]) =>
      tokensOf(asks.filter(({ callClass }) => classes.includes(callClass))) / limit;
    expect(share('stream', 'JSON')).toBeCloseTo(0.75, 1);
    expect(share('background')).toBeCloseTo(0.3, 1);
    expect(share('flooding')).toBeCloseTo(0.95, 1);
    expect(share(...CLASSES)).toBeCloseTo(2, 1);
    expect(Math.abs(tokensOf(asks) / asks.length / KNOWN.meanAnswerTokens - 1)).toBeLessThan(0.05);
    expect(asks.length).toBeLessThan(2 * LIMITS.requestsPerMinute);
  });

  it('is the same each time, has equal users, and tells the API the length of each answer', () => {
    expect(planTraffic()).toEqual(asks);
    expect(planTraffic(SECONDS, 2)).not.toEqual(asks);
    const users = Map.groupBy(
      asks.filter(({ user }) => user.startsWith('user-')),
      ({ user }) => user,
    );
    expect(users.size).toBe(10);
    expect(new Set([...users.values()].map(tokensOf)).size).toBe(1);
    for (const { prompt, answerTokens } of asks) expect(answerTokensIn(prompt)).toBe(answerTokens);
  });
});

describe('the figures', () => {
  it('are of answered calls, by nearest rank', () => {
    const calls = Array.from({ length: 100 }, (_, i) => ended('ada', 0, (i + 1) * 10));
    const { JSON: figures, stream } = classFigures([...calls, ended('ada', 0, 9_999, { isAnswered: false })]);
    expect(figures).toEqual({ calls: 101, answered: 100, p50: 500, p95: 950, p99: 990 });
    expect(stream).toEqual({ calls: 0, answered: 0, p50: 0, p95: 0, p99: 0 });
  });

  it('know equal from unequal', () => {
    const of = (...tokens: number[]) =>
      jainOf(tokens.map((answerTokens, i) => ended(`user ${i}`, 0, 1, { answerTokens })));
    expect(of(100, 100, 100)).toBeCloseTo(1, 9);
    expect(of(100, 0, 0)).toBeCloseTo(1 / 3, 9);
    const unanswered = [ended('a', 0, 1), ended('b', 0, 1, { isAnswered: false })];
    expect(jainOf(unanswered)).toBeCloseTo(0.5, 9);
    expect(jainOf([...unanswered, ended('flood', 0, 1, { callClass: 'flooding' })])).toBeCloseTo(0.5, 9);
  });

  it('count as starvation the time with a call open and no answer to any', () => {
    expect(longestStarvation([])).toBe(0);
    expect(longestStarvation([ended('a', 0, 300), ended('a', 100, 500), ended('a', 9_000, 9_100)])).toBe(300);
    // What gives up is no answer: the wait goes on with the next that is open.
    const gaveUp = ended('a', 0, 400, { isAnswered: false });
    expect(longestStarvation([gaveUp, ended('a', 300, 900)])).toBe(900);
    expect(longestStarvation([gaveUp, ended('a', 500, 900)])).toBe(400);
    // Another user's answer is nothing to one who waits.
    expect(longestStarvation([ended('a', 0, 700), ended('b', 0, 100), ended('b', 100, 200)])).toBe(700);
  });
});
