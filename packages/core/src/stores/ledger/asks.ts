import type { Candidate, QuotaAsk, Result } from '../store.ts';
import {
  type Binding,
  bindingOf,
  forgetDead,
  isReserved,
  letGo,
  NEVER_FITS,
  reserve,
  UNTIL_ANOTHER_ENDS,
} from './quotas.ts';
import type { Books } from './state.ts';

/** A call comes: what its quotas refuse is refused now, and what they grant is reserved. */
export function arrive(
  books: Books,
  id: number,
  quotas: readonly QuotaAsk[],
  process: string,
  now: number,
): Result | undefined {
  for (const [index, ask] of quotas.entries()) {
    if (ask.isHeld || ask.onExceed === 'shadow') continue;
    const binding = bindingIn(books, ask, process, now);
    if (binding === undefined || (ask.onExceed === 'wait' && binding.waitMs !== NEVER_FITS)) continue;
    for (const each of quotas) if (each.isHeld) letGo(books.quota(each.key), each, process);
    return exceeded(id, index, 'refuse', binding);
  }
  for (const ask of quotas)
    if (!ask.isHeld && ask.onExceed !== 'wait') reserve(books.quota(ask.key), ask, process);
  return undefined;
}

function bindingIn(books: Books, ask: QuotaAsk, process: string, now: number): Binding | undefined {
  const state = books.quota(ask.key);
  forgetDead(state, (other) => (other === process ? now : books.seenAt(other)), now);
  return bindingOf(state, ask, now);
}

function exceeded(
  id: number,
  quota: number,
  onExceed: 'refuse' | 'wait',
  { reason, waitMs }: { reason: string; waitMs: number },
): Result {
  const wait = waitMs === UNTIL_ANOTHER_ENDS ? {} : { waitMs };
  return { id, type: 'exceeded', quota, onExceed, reason, ...wait };
}

/** The quota that makes a call wait. */
export function parkedBy(
  books: Books,
  { id, quotas }: Candidate,
  process: string,
  now: number,
): Result | undefined {
  for (const [index, ask] of quotas.entries()) {
    if (ask.onExceed !== 'wait') continue;
    const binding = bindingIn(books, ask, process, now);
    if (binding !== undefined) return exceeded(id, index, 'wait', binding);
  }
  return undefined;
}

/** The quota that refuses a call after all: what was reserved for it is gone, with a process that was given up meanwhile. */
export function lostBy(
  books: Books,
  { id, quotas }: Candidate,
  process: string,
  now: number,
): Result | undefined {
  for (const [index, ask] of quotas.entries()) {
    if (!ask.isHeld || ask.onExceed === 'shadow') continue;
    if (isReserved(books.quota(ask.key), ask, process)) continue;
    const binding = bindingIn(books, ask, process, now);
    if (binding === undefined) continue;
    for (const each of quotas) if (each.onExceed !== 'wait') letGo(books.quota(each.key), each, process);
    return exceeded(id, index, 'refuse', binding);
  }
  return undefined;
}
