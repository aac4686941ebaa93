import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FairQueue } from '../../packages/core/src/admission/fair-queue.ts';
import { Lanes } from '../../packages/core/src/admission/lanes.ts';

interface Call {
  readonly id: number;
  readonly flowKey: string;
  readonly cost: number;
}

const lane = (more = {}) => ({
  weight: 1,
  guarantee: 0,
  reserve: 0,
  maxWait: 1,
  maxQueued: 1,
  maxQueuedPerUser: 1,
  via: 'direct' as const,
  ...more,
});

describe('the fair queue', () => {
  it('serves every call once, and each user’s own in order, whatever is pushed, served and removed', () => {
    const user = fc.constantFrom('a', 'b', 'c', 'd');
    const move = fc.oneof(
      fc.record({ kind: fc.constant('push' as const), user, cost: fc.integer({ min: 1, max: 100 }) }),
      fc.record({ kind: fc.constant('serve' as const) }),
      fc.record({ kind: fc.constant('remove' as const), pick: fc.nat() }),
      fc.record({ kind: fc.constant('correct' as const), user, delta: fc.integer({ min: -100, max: 100 }) }),
    );
    fc.assert(
      fc.property(fc.array(move, { maxLength: 120 }), (moves) => {
        const queue = new FairQueue<Call>();
        const waiting: Call[] = [];
        let id = 0;
        for (const each of moves) {
          if (each.kind === 'push') {
            const call = { id: id++, flowKey: each.user, cost: each.cost };
            queue.push(call);
            waiting.push(call);
          } else if (each.kind === 'correct') queue.correct(each.user, each.delta);
          else if (waiting.length > 0) {
            const call = each.kind === 'serve' ? queue.peek()! : waiting[each.pick % waiting.length]!;
            if (each.kind === 'serve') {
              // The first of its user.
              expect(waiting.find(({ flowKey }) => flowKey === call.flowKey)).toBe(call);
              queue.serve(call);
            } else expect(queue.remove(call)).toBe(true);
            waiting.splice(waiting.indexOf(call), 1);
          }
          expect(queue.size).toBe(waiting.length);
          expect(queue.meanCost).toBeCloseTo(
            waiting.length === 0 ? 0 : waiting.reduce((sum, { cost }) => sum + cost, 0) / waiting.length,
            6,
          );
          for (const key of ['a', 'b', 'c', 'd']) {
            const own = waiting.filter(({ flowKey }) => flowKey === key).length;
            expect(queue.backlogOf(key)).toBe(own);
            const counts = new Map<string, number>();
            for (const { flowKey } of waiting) counts.set(flowKey, (counts.get(flowKey) ?? 0) + 1);
            const ahead = [...counts.values()].reduce((sum, count) => sum + Math.min(count, own + 1), 0);
            if (queue.placeOf(key).rounds === own) expect(queue.placeOf(key).ahead).toBe(ahead);
          }
        }
        while (queue.peek() !== undefined) queue.serve(queue.peek()!);
        expect([queue.size, queue.flows]).toEqual([0, 0]);
      }),
    );
  });

  it('gives users that always wait the same, whatever the size of their calls, to within one call of each', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 2, maxLength: 8 }), (sizes) => {
        const queue = new FairQueue<Call>();
        const served = sizes.map(() => 0);
        let id = 0;
        for (const [user, cost] of sizes.entries()) queue.push({ id: id++, flowKey: String(user), cost });
        for (let turn = 0; turn < 2_000; turn++) {
          const call = queue.peek()!;
          const user = Number(call.flowKey);
          queue.push({ ...call, id: id++ });
          queue.serve(call);
          served[user]! += call.cost;
        }
        const largest = Math.max(...sizes);
        expect(Math.max(...served) - Math.min(...served)).toBeLessThanOrEqual(2 * largest);
      }),
      { numRuns: 50 },
    );
  });

  it('keeps a user who comes waiting for two calls of each other user at the most, whoever comes later', () => {
    const step = fc.record({
      user: fc.integer({ min: 0, max: 12 }),
      cost: fc.integer({ min: 1, max: 100 }),
      serves: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) => {
        const queue = new FairQueue<Call>();
        const firsts = new Map<Call, { bound: number; before: number }>();
        const serve = () => {
          const call = queue.peek();
          if (call === undefined) return;
          queue.serve(call);
          const first = firsts.get(call);
          if (first !== undefined) expect(first.before).toBeLessThanOrEqual(first.bound);
          firsts.delete(call);
          for (const other of firsts.values()) other.before += call.cost;
        };
        for (const [id, { user, cost, serves }] of steps.entries()) {
          const flowKey = String(user);
          const call = { id, flowKey, cost };
          const { users } = queue;
          const isNew = queue.backlogOf(flowKey) === 0 && queue.placeOf(flowKey).rounds === 0;
          queue.push(call);
          if (isNew) firsts.set(call, { bound: 2 * users * 100, before: 0 });
          for (let i = 0; i < serves; i++) serve();
        }
        while (queue.size > 0) serve();
      }),
      { numRuns: 500 },
    );
  });

  it('gives no credit for idling', () => {
    const queue = new FairQueue<Call>();
    let id = 0;
    const push = (flowKey: string) => queue.push({ id: id++, flowKey, cost: 10 });
    for (let i = 0; i < 50; i++) push('busy');
    for (let i = 0; i < 20; i++) queue.serve(queue.peek()!);
    for (let i = 0; i < 10; i++) push('late');
    const order = Array.from({ length: 10 }, () => {
      const call = queue.peek()!;
      queue.serve(call);
      return call.flowKey;
    });
    // Half and half, to within one call.
    expect(Math.abs(order.filter((key) => key === 'late').length - 5)).toBeLessThanOrEqual(1);
  });

  it('puts a user back by what a call cost more than was thought', () => {
    const queue = new FairQueue<Call>();
    let id = 0;
    for (let i = 0; i < 20; i++)
      for (const flowKey of ['a', 'b']) queue.push({ id: id++, flowKey, cost: 10 });
    queue.serve(queue.peek()!);
    queue.correct('a', 50);
    const order = Array.from({ length: 6 }, () => {
      const call = queue.peek()!;
      queue.serve(call);
      return call.flowKey;
    });
    // Its first call keeps the place that it had; then it waits until the other has had as much.
    expect(order.join('')).toBe('babbbb');
  });

  it('remembers nobody who is gone: a million users over time leave no trace', () => {
    const queue = new FairQueue<Call>();
    let most = 0;
    // One user always waits, so that the lane is never idle.
    queue.push({ id: -1, flowKey: 'resident', cost: 1 });
    for (let user = 0; user < 1_000_000; user++) {
      queue.push({ id: user, flowKey: `user ${user}`, cost: 1 + (user % 7) });
      const call = queue.peek()!;
      queue.serve(call);
      if (call.flowKey === 'resident') queue.push(call);
      most = Math.max(most, queue.flows);
      if (queue.size > 50) queue.serve(queue.peek()!);
    }
    expect(most).toBeLessThan(1_000);
  });

  it('lets a reader look at the next users, and is as before', () => {
    const queue = new FairQueue<Call>();
    for (let user = 0; user < 10; user++) queue.push({ id: user, flowKey: String(user), cost: 1 });
    const first = queue.peek();
    expect([...queue.peekFlows(4)]).toHaveLength(4);
    for (const call of queue.peekFlows(4)) if (call === first) break;
    expect(queue.peek()).toBe(first);
    expect([...queue.peekFlows(100)]).toHaveLength(10);
  });
});

describe('the lanes', () => {
  const run = (configs: Record<string, object>, backlogged: string[], turns: number) => {
    const lanes = new Lanes<Call>(
      Object.fromEntries(Object.entries(configs).map(([name, more]) => [name, lane(more)])),
    );
    const served: Record<string, number> = Object.fromEntries(Object.keys(configs).map((name) => [name, 0]));
    let now = 0;
    for (const name of backlogged) {
      lanes.joined(lanes.get(name)!, now);
      for (let i = 0; i < turns; i++) lanes.get(name)!.queue.push({ id: i, flowKey: 'u', cost: 10 });
    }
    for (let turn = 0; turn < turns; turn++) {
      const [next] = lanes.turn(now);
      const call = next!.queue.peek()!;
      next!.queue.serve(call);
      lanes.served(next!, call.cost, now);
      served[next!.name]! += call.cost;
      now += call.cost; // the bucket is saturated: time passes as cost is served
    }
    const total = turns * 10;
    return Object.fromEntries(Object.entries(served).map(([name, cost]) => [name, cost / total]));
  };

  it('share by weight', () => {
    const shares = run({ a: { weight: 3 }, b: { weight: 1 } }, ['a', 'b'], 4_000);
    expect(shares.a).toBeCloseTo(0.75, 2);
  });

  it('give each its guarantee, and the rest by weight', () => {
    const shares = run(
      {
        a: { weight: 8, guarantee: 0.5 },
        b: { weight: 1, guarantee: 0.05 },
        c: { weight: 1, guarantee: 0.2 },
      },
      ['a', 'b', 'c'],
      8_000,
    );
    expect(shares.a).toBeGreaterThan(0.5 + 0.25 * 0.7);
    expect(shares.b).toBeGreaterThan(0.05);
    expect(shares.c).toBeGreaterThan(0.2);
  });

  it('leave everything to a lane that is alone', () => {
    expect(run({ a: { weight: 8, guarantee: 0.5 }, b: { weight: 1, guarantee: 0.05 } }, ['b'], 1_000).b).toBe(
      1,
    );
  });

  it('starve none', () => {
    expect(
      run({ a: { weight: 1_000 }, b: { weight: 1, guarantee: 0.05 } }, ['a', 'b'], 4_000).b,
    ).toBeGreaterThanOrEqual(0.049);
  });
});
