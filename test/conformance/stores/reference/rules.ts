import type { MeterAsk, QuotaAsk } from '@headgate/core';
import { START } from '../commands.ts';

/** What one call asks of one quota. */
export interface Quota {
  readonly rule: 'calls of a day' | 'tokens' | 'slots' | 'money';
  readonly onExceed: QuotaAsk['onExceed'];
  readonly tokens: number;
  /** Share of them that the call takes for certain. */
  readonly certain: number;
  /** The rest is a guess: the call goes on what is certain where it has the quota to itself. */
  readonly isGuess: boolean;
  /** 0 for a further attempt of a call that was counted. */
  readonly requests: 0 | 1;
}

/** A day, as far as these quotas are concerned. */
const DAY_MS = 7_000;

function ofDay(name: string, amount: number, quota: number, now: number): MeterAsk {
  const start = START + Math.floor((now - START) / DAY_MS) * DAY_MS;
  return { name, amount, quota, kind: 'window', start, end: start + DAY_MS };
}

function paced(name: string, amount: number, perMinute: number, capacity: number): MeterAsk {
  return { name, amount, quota: perMinute, kind: 'continuous', capacity, ratePerMs: perMinute / 60_000 };
}

/** The quota as it is asked at some time. */
export function askOf(
  { rule, onExceed, tokens, certain, isGuess, requests }: Quota,
  now: number,
): Omit<QuotaAsk, 'isHeld'> {
  const ask = { key: rule, onExceed };
  const expected = (meter: MeterAsk): MeterAsk => {
    const least = certain * meter.amount;
    return { ...meter, least, ...(isGuess ? { alone: least } : {}) };
  };
  switch (rule) {
    case 'calls of a day':
      return { ...ask, meters: [ofDay('requests', requests, 5, now)] };
    case 'tokens':
      return {
        ...ask,
        meters: [paced('requests', requests, 12, 3), expected(paced('outputTokens', tokens, 6_000, 1_500))],
      };
    case 'slots':
      return { ...ask, concurrency: 2, meters: [] };
    case 'money':
      return { ...ask, concurrency: 4, meters: [expected(ofDay('usd', tokens / 1_000, 2, now))] };
  }
}
