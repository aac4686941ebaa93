import { LEASE_MS, type MeterAsk, type QuotaAsk, type QuotaChange } from '../store.ts';

/** One quota of one key, as a plain value that a store can save. */
export interface QuotaState {
  meters: Record<string, MeterState>;
  /** What each process has reserved, and the slots of its calls, waiting ones included. */
  claims: Record<string, Claim>;
}

/** A continuous meter has a level as of `at`; one of a window has what is used between `start` and `end`. */
export interface MeterState {
  level: number;
  at: number;
  used: number;
  start: number;
  end: number;
  /** Of a continuous meter, as last asked. */
  capacity: number;
  ratePerMs: number;
}

interface Claim {
  slots: number;
  held: Record<string, number>;
}

export interface Binding {
  readonly reason: 'concurrency' | 'budget' | 'user_quota';
  /** -1: never; -2: until another call ends. */
  readonly waitMs: number;
}

export const NEVER_FITS = -1;
export const UNTIL_ANOTHER_ENDS = -2;
const DUST = 1e-9;

export const emptyQuota = (): QuotaState => ({ meters: {}, claims: {} });

function refill(meter: MeterState, now: number): void {
  meter.level = Math.min(meter.capacity, meter.level + meter.ratePerMs * Math.max(0, now - meter.at));
  meter.at = Math.max(meter.at, now);
}

/** Brings a meter to the present: refilled, or in the window of now. One that is new is full. */
function meterOf(state: QuotaState, ask: MeterAsk, now: number): MeterState {
  let meter = state.meters[ask.name];
  if (meter === undefined) {
    meter = { level: 0, at: now, used: 0, start: 0, end: 0, capacity: 0, ratePerMs: 0 };
    if (ask.kind === 'continuous') meter.level = ask.capacity;
    state.meters[ask.name] = meter;
  }
  if (ask.kind === 'continuous') {
    meter.capacity = ask.capacity;
    meter.ratePerMs = ask.ratePerMs;
    refill(meter, now);
  } else if (meter.end <= ask.start && now >= ask.start) {
    // A window that reaches into this one was used by the same caller: also where the time zone has changed since.
    meter.used = 0;
    meter.start = ask.start;
    meter.end = ask.end;
  }
  return meter;
}

const heldOf = (state: QuotaState, name: string): number => {
  let held = 0;
  for (const claim of Object.values(state.claims)) held += claim.held[name] ?? 0;
  return held;
};

function slotsOf(state: QuotaState): number {
  let slots = 0;
  for (const claim of Object.values(state.claims)) slots += claim.slots;
  return slots;
}

/** Lets go of what dead processes have reserved; what their calls took is charged already. */
export function forgetDead(state: QuotaState, seenAt: (process: string) => number, now: number): void {
  for (const process of Object.keys(state.claims))
    if (seenAt(process) < now - LEASE_MS) delete state.claims[process];
}

/** What stands in the way of a call that has reserved nothing. */
export function bindingOf(state: QuotaState, ask: QuotaAsk, now: number): Binding | undefined {
  if (ask.concurrency !== undefined && slotsOf(state) >= ask.concurrency)
    return { reason: 'concurrency', waitMs: UNTIL_ANOTHER_ENDS };
  const isAlone = slotsOf(state) === 0;
  let worst: Binding | undefined;
  for (const each of ask.meters) {
    if (each.name === 'requests' && each.amount === 0) continue;
    const waitMs = meterWait(meterOf(state, each, now), each, heldOf(state, each.name), isAlone, now);
    if (waitMs === 0 || worst?.waitMs === NEVER_FITS) continue;
    if (waitMs === NEVER_FITS || waitMs > (worst?.waitMs ?? 0))
      worst = { reason: each.name === 'usd' ? 'budget' : 'user_quota', waitMs };
  }
  return worst;
}

function meterWait(meter: MeterState, ask: MeterAsk, held: number, isAlone: boolean, now: number): number {
  const least = ask.least ?? ask.amount;
  const amount = isAlone ? (ask.alone ?? ask.amount) : ask.amount;
  if (ask.kind === 'window') {
    if (least > ask.quota) return NEVER_FITS;
    if (Math.min(amount, ask.quota) <= ask.quota - meter.used - held + DUST) return 0;
    return Math.max(1, meter.end - now);
  }
  if (least > Math.max(ask.quota, ask.capacity)) return NEVER_FITS;
  const missing = Math.min(amount, ask.capacity) - (meter.level - held);
  return missing <= 1e-6 ? 0 : missing / ask.ratePerMs;
}

function claimOf(state: QuotaState, process: string): Claim {
  let claim = state.claims[process];
  if (claim === undefined) {
    claim = { slots: 0, held: {} };
    state.claims[process] = claim;
  }
  return claim;
}

export function reserve(state: QuotaState, ask: QuotaAsk, process: string): void {
  const claim = claimOf(state, process);
  claim.slots += 1;
  for (const { name, amount } of ask.meters) claim.held[name] = (claim.held[name] ?? 0) + amount;
}

/** Whether a process has that reserved: of one that was given up meanwhile nothing is. */
export function isReserved(state: QuotaState, { meters }: QuotaAsk, process: string): boolean {
  const claim = state.claims[process];
  return claim !== undefined && meters.every(({ name, amount }) => amount <= (claim.held[name] ?? 0) + DUST);
}

/** The call that it was reserved for does not go. */
export function letGo(state: QuotaState, ask: QuotaAsk, process: string): void {
  if (!isReserved(state, ask, process)) return;
  const claim = claimOf(state, process);
  claim.slots = Math.max(0, claim.slots - 1);
  for (const { name, amount } of ask.meters) release(claim, name, amount);
  tidy(state, process);
}

/** Turns what is reserved, or nothing, into a charge; the slot stays taken. */
export function commit(state: QuotaState, ask: QuotaAsk, process: string, now: number): void {
  const claim = claimOf(state, process);
  if (!ask.isHeld) claim.slots += 1;
  for (const each of ask.meters) {
    if (ask.isHeld) release(claim, each.name, each.amount);
    const meter = meterOf(state, each, now);
    if (each.kind === 'window') meter.used += each.amount;
    else meter.level -= each.amount;
  }
}

function release(claim: Claim, name: string, amount: number): void {
  const held = (claim.held[name] ?? 0) - amount;
  claim.held[name] = held < DUST ? 0 : held;
}

export function change(
  state: QuotaState,
  { slots, meters }: QuotaChange,
  process: string,
  now: number,
): void {
  const claim = claimOf(state, process);
  claim.slots = Math.max(0, claim.slots + slots);
  for (const { name, released, used, at } of meters) {
    if (released !== 0) release(claim, name, released);
    const meter = state.meters[name];
    if (meter === undefined || used === 0) continue;
    if (meter.end === 0) {
      // What has refilled until now pays nothing of what is only now known to have been used.
      refill(meter, now);
      meter.level -= used;
    } else if (at >= meter.start) meter.used += used;
  }
  tidy(state, process);
}

/** Of one that was given up and is back, calls may end that have no slot any more, with others waiting that have reserved. */
function tidy(state: QuotaState, process: string): void {
  const { slots, held } = claimOf(state, process);
  if (slots === 0 && Object.values(held).every((amount) => amount === 0)) delete state.claims[process];
}

/** Past a call's whole time there is no slot that is still taken. */
const SLOT_MS = 3_600_000;
const LEAST_KEPT_MS = 60_000;

/** How long a state is worth keeping when nothing more happens to it. */
export function keptMs(state: QuotaState, now: number): number {
  let ms = Object.keys(state.claims).length > 0 ? SLOT_MS : LEAST_KEPT_MS;
  for (const meter of Object.values(state.meters)) {
    const own = meter.ratePerMs > 0 ? (meter.capacity - meter.level) / meter.ratePerMs : meter.end - now;
    ms = Math.max(ms, own);
  }
  return ms;
}
