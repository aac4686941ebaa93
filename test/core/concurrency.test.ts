import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Concurrency, type Placed } from '../../packages/core/src/admission/concurrency.ts';

const REFUSAL_MS = 20;

/** An API that takes `most()` calls at once and refuses the rest at once; callers send as many as they may, in steps of 10 ms. */
function play(
  cap: Concurrency,
  load: { waiting: number; users: number; takesMs: number },
  most: () => number,
) {
  let { waiting } = load;
  let refusals = 0;
  let answered = 0;
  let running: (Placed & { readonly endsAt: number; readonly isTaken: boolean })[] = [];
  let backing: number[] = [];
  const step = (now: number) => {
    waiting += backing.filter((at) => at <= now).length;
    backing = backing.filter((at) => at > now);
    const ending = running.filter(({ endsAt }) => endsAt <= now);
    for (const each of ending) {
      if (each.isTaken) {
        cap.answered(each, now);
        answered++;
      } else {
        const whose = cap.refused(each, flying(running), now);
        refusals++;
        backing.push(whose === 'none' ? now + 250 : now);
      }
      running = running.filter((other) => other !== each);
      cap.ended(each, running.length, now);
    }
    while (waiting > 0 && cap.shortage(running.length, 0, now) === undefined) {
      const caller = `user ${(answered + waiting) % load.users}`;
      const crowd = cap.own.of(caller, now);
      if (crowd?.tryEnter(now, false) === false) break;
      waiting--;
      const taken = running.filter(({ isTaken }) => isTaken).length;
      const isTaken = taken < most();
      const endsAt = now + (isTaken ? load.takesMs : REFUSAL_MS);
      const placed = { startedAt: now, among: running.length + 1, caller, own: undefined, endsAt, isTaken };
      running.push(placed);
      cap.own.started(placed);
      crowd?.left(now);
    }
  };
  return {
    step,
    more: (calls: number) => {
      waiting += calls;
    },
    get state() {
      return { waiting, refusals, answered, running: running.length };
    },
  };
}

const flying = (placed: Placed[]) => Object.assign(placed, { size: placed.length });

describe('calls at once', () => {
  it('are found out: every call is answered, and an API that takes few refuses few', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 100, max: 3_000 }),
        (most, users, takesMs) => {
          const cap = new Concurrency(undefined);
          const world = play(cap, { waiting: 60, users, takesMs }, () => most);
          let now = 0;
          for (; world.state.answered < 60 && now < 600_000; now += 10) world.step(now);
          expect(world.state.answered).toBe(60);
          expect(world.state.refusals).toBeLessThanOrEqual(Math.max(24, most));
          // No slower than twice what the API itself would take, its refusals and the opening aside.
          expect(now).toBeLessThanOrEqual(2 * Math.ceil(60 / most) * takesMs + 10_000);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('go up again when the API takes more: from four to a hundred within two minutes', () => {
    const cap = new Concurrency(undefined);
    let most = 4;
    const world = play(cap, { waiting: 1e6, users: 50, takesMs: 1_000 }, () => most);
    for (let now = 0; now < 60_000; now += 10) world.step(now);
    expect(world.state.running).toBeLessThanOrEqual(5);
    const before = world.state.refusals;
    most = 100;
    let now = 60_000;
    for (; world.state.running < 90 && now < 300_000; now += 10) world.step(now);
    expect(now - 60_000).toBeLessThanOrEqual(120_000);
    // Down again at once.
    most = 10;
    for (const end = now + 20_000; now < end; now += 10) world.step(now);
    expect(world.state.running).toBeLessThanOrEqual(12);
    expect(world.state.refusals - before).toBeLessThanOrEqual(250);
  });

  it('are forgotten in a quiet time, and a burst after it is let out by and by', () => {
    const cap = new Concurrency(undefined);
    const world = play(cap, { waiting: 60, users: 50, takesMs: 500 }, () => 2);
    for (let now = 0; now < 60_000; now += 10) world.step(now);
    expect(cap.limit).toBe(2);
    for (let now = 60_000; now < 3_600_000; now += 90_000) expect(cap.shortage(0, 0, now)).toBeUndefined();
    expect(cap.shortage(1, 0, 3_600_000)).toBeUndefined();
    expect(cap.limit).toBeUndefined();
    expect(cap.shortage(16, 0, 3_600_000)).toEqual({ waitMs: 300 });
  });

  it('are those of others too: what one caller alone is refused for holds nobody else back', () => {
    const cap = new Concurrency(undefined);
    for (let now = 0; now < 10_000; now += 100) {
      cap.answered({ startedAt: now, among: 3, caller: `user ${now % 700}`, own: undefined }, now + 50);
      const ofA = [3, 2, 1].map((among) => ({ startedAt: now, among, caller: 'A', own: undefined }));
      const [last] = ofA;
      if (last !== undefined) expect(cap.refused(last, flying(ofA), now + 60)).toBe('own');
      expect(cap.limit).toBeUndefined();
    }
  });
});
