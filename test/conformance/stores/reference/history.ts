import type { AmountName, Answer, Candidate, ConfiguredLimits, Exchange } from '@headgate/core';
import { LEASE_MS } from '../../../../packages/core/src/stores/store.ts';

/**
 * What the contract (stores/store.ts) lets a ledger answer, worked out from all that was ever said to it: nothing is kept but
 * that, and each question goes through it from the beginning. It is written from the contract and not from the ledger, and
 * in the plainest way, so that a rule that is wrong there is not wrong here as well. Where the contract leaves a choice (who of
 * several goes first, how much of a bucket is left on purpose) it says what must not be, and what must.
 */
export interface Said {
  readonly at: number;
  readonly exchange: Exchange;
  readonly answer: Answer;
}

export type History = readonly Said[];

export const AMOUNTS: readonly AmountName[] = ['requests', 'inputTokens', 'outputTokens'];

/** A bare number that is the same but for the order of sums. */
export function same(what: string, told: number | undefined, own: number | undefined): void {
  if (told === own) return;
  if (told === undefined || own === undefined || Math.abs(told - own) > 1e-6 * Math.max(1, Math.abs(own)))
    throw new Error(`${what}: told ${told}, by the contract ${own}`);
}

/** What each process said last, of those that were heard of lately. */
export function living(history: History, now: number): Map<string, Said> {
  const last = new Map<string, Said>();
  for (const said of history) last.set(said.exchange.process, said);
  for (const [process, { at }] of last) if (at < now - LEASE_MS) last.delete(process);
  return last;
}

/** Processes that are given up when this is said: none of them had been heard of for so long. */
export function givenUp(seenAt: ReadonlyMap<string, number>, { at, exchange }: Said): string[] {
  const silent = [...seenAt].filter(
    ([process, seen]) => process !== exchange.process && seen < at - LEASE_MS,
  );
  return silent.map(([process]) => process);
}

/** The calls that were let in, in the order in which they were. */
export const grantsOf = ({ exchange, answer }: Said): Candidate[] =>
  answer.results.flatMap(({ id, type }) => {
    const call = exchange.candidates.find((each) => each.id === id);
    return type === 'granted' && call !== undefined ? [call] : [];
  });

/** In flight in all processes: what each says, and what it was granted then. */
export function callsOf(history: History, now: number): number {
  let calls = 0;
  for (const said of living(history, now).values())
    calls += said.exchange.holds.calls + grantsOf(said).length;
  return calls;
}

/** When what is paused goes on. */
export function pausedUntil(history: History): number {
  let until = 0;
  for (const { at, exchange } of history)
    for (const event of exchange.events) {
      if (event.type === 'pause') until = Math.max(until, at + event.ms);
      if (event.type === 'endPause') until = 0;
    }
  return until;
}

/**
 * After each thing said, the limits that hold: of every one the smallest that a process told which is not given up. A level
 * goes on as it was where nobody tells its limit any more; calls at once are then not limited, and depth is found out.
 */
export function limitsAlong(history: History): (ConfiguredLimits & { readonly isDeepKnown: boolean })[] {
  const told = new Map<string, ConfiguredLimits>();
  const seenAt = new Map<string, number>();
  let limits: Record<string, number> = {};
  return history.map((said) => {
    const { process, limits: own } = said.exchange;
    for (const gone of givenUp(seenAt, said)) {
      told.delete(gone);
      seenAt.delete(gone);
    }
    seenAt.set(process, said.at);
    if (own !== undefined) told.set(process, own);
    const { concurrency: _, ...kept } = limits;
    const least: Record<string, number> = {};
    for (const each of told.values())
      for (const [name, value] of Object.entries(each))
        least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, value);
    limits = { ...kept, ...least };
    return { ...limits, isDeepKnown: least.burst !== undefined };
  });
}
