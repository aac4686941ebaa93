import type { AmountName, LedgerEvent } from '../store.ts';
import { charge, emptyUntil, NEVER, observe, openLimit, refused, resizeAsTold } from './limit.ts';
import { endRamp, refusedFor } from './ramp.ts';
import type { Books, BucketState } from './state.ts';
import { tagOf } from './turn.ts';
import { callsOf, holdAll, NAMES, requestsPerMs, varianceOf } from './upstream.ts';

const EMPTY: Record<AmountName, number> = { requests: 0, inputTokens: 1_000, outputTokens: 500 };
const DECREASE = 0.7;
const EPOCH_MS = 10_000;
const HEADROOM = 1.25;

/** What processes tell of the API: what it said, that it was overloaded, what calls have cost in the end. */
export function happened(state: BucketState, books: Books, event: LedgerEvent, now: number): void {
  switch (event.type) {
    case 'headers':
      merge(state, books, event, now);
      break;
    case 'pause':
      pause(state, now + event.ms, now);
      break;
    case 'ramp':
      refusedFor(state.ramp, now - event.sentAgo, now + event.ms, requestsPerMs(state), now);
      break;
    case 'endPause':
      state.pausedUntil = NEVER;
      endRamp(state.ramp);
      break;
    case 'overloaded':
      overloaded(state, now - event.startedAgo, now);
      break;
    case 'ended':
      ended(state, now - event.startedAgo);
      break;
    case 'corrected':
      correct(state, books, event);
      break;
  }
}

function correct(state: BucketState, books: Books, event: Extract<LedgerEvent, { type: 'corrected' }>): void {
  const lane = state.lanes[event.lane];
  if (lane === undefined) return;
  if (lane.guarantee > 0) lane.dueFrom += event.delta / lane.guarantee;
  if (!event.isOwed) lane.finish += event.delta / lane.weight;
  else if (lane.guarantee > 0) lane.owedFrom += event.delta / lane.guarantee;
  if (event.epoch !== lane.epoch) return;
  const tag = tagOf(lane, event.lane, event.user, books) ?? lane.time;
  books.setTag(event.lane, event.user, tag + event.delta);
}

function pause(state: BucketState, until: number, now: number): void {
  state.pausedUntil = Math.max(state.pausedUntil, until);
  for (const name of state.culprits) {
    const limit = state.limits[name];
    if (limit !== undefined) emptyUntil(limit, until, now);
  }
  state.culprits = [];
}

function overloaded(state: BucketState, startedAt: number, now: number): void {
  if (startedAt < state.decreasedAt || now - state.decreasedAt < EPOCH_MS) return;
  const calls = Math.max(1, callsOf(state));
  state.decreasedAt = now;
  if (state.learnedCalls === 0) state.callsBefore = calls;
  state.learnedCalls = Math.max(
    1,
    DECREASE * (state.learnedCalls > 0 ? Math.min(state.learnedCalls, calls) : calls),
  );
}

function ended(state: BucketState, startedAt: number): void {
  if (state.learnedCalls === 0 || startedAt < state.decreasedAt) return;
  if (callsOf(state) + 1 < state.learnedCalls / 2) return;
  state.learnedCalls += 1 / state.learnedCalls;
  if (state.learnedCalls > HEADROOM * state.callsBefore) state.learnedCalls = 0;
}

function merge(
  state: BucketState,
  books: Books,
  event: Extract<LedgerEvent, { type: 'headers' }>,
  now: number,
): void {
  const sentAt = now - event.sentAgo;
  const { headroom, isAnswer } = event;
  if (!isAnswer) refuse(state, books, headroom, sentAt, now);
  for (const name of NAMES) {
    const shown = headroom[name];
    const known = state.limits[name];
    if (shown === undefined) {
      if (isAnswer && known?.source === 'probe') delete state.limits[name];
      continue;
    }
    const perMinute = Math.min(shown.limit, state.configured[name] ?? Number.POSITIVE_INFINITY);
    let limit = known;
    if (limit === undefined || limit.source === 'probe') {
      const burst = state.configured.burst ?? 0;
      limit = openLimit(name, perMinute, 'learned', { burst }, now);
      state.limits[name] = limit;
      if (name === 'requests') charge(limit, callsOf(state), books.side, now);
      if (name === 'inputTokens') holdAll(state, limit, books, now);
    } else if (limit.perMinute !== perMinute) resizeAsTold(limit, perMinute, books.side, now);
    const unsure = name === 'outputTokens' ? 2 * Math.sqrt(varianceOf(state)) : 0;
    observe(limit, shown.remaining, sentAt, unsure, shown.limit <= perMinute, books.side, now);
  }
}

function refuse(
  state: BucketState,
  books: Books,
  headroom: Extract<LedgerEvent, { type: 'headers' }>['headroom'],
  sentAt: number,
  now: number,
): void {
  const culprits = NAMES.filter((name) => {
    const shown = headroom[name];
    return shown !== undefined && shown.remaining <= EMPTY[name];
  });
  if (culprits.length === 0 && NAMES.every((name) => headroom[name] === undefined)) return;
  state.culprits = culprits;
  for (const name of culprits) {
    const limit = state.limits[name];
    if (limit !== undefined) refused(limit, sentAt, books.side, now);
  }
}
