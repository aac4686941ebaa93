import { getEventListeners } from 'node:events';
import Anthropic from '@anthropic-ai/sdk';
import {
  type ConfigInput,
  createGovernor,
  type GovernorOptions,
  memoryStore,
  type Store,
} from '@headgate/core';
import { manualClock } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ask } from '../support/governed.ts';

const CROWD = 300;
/** Calls that come or go between two looks, at most: what is done at once, and the slice of the next turn. */
const AT_ONCE = 64;

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

const crowdConfig = (concurrency = 1): ConfigInput => ({
  account: [{ name: 'all', models: ['*'], requestsPerMinute: 1_000_000, burst: 1, concurrency }],
  lanes: { only: { maxWait: '60m', maxQueued: 100_000, maxQueuedPerUser: 100_000 } },
  defaultLane: 'only',
  timeouts: { total: '2h' },
});

/** One call in flight that never ends, and a crowd that comes after it. */
async function crowd(options: Pick<GovernorOptions, 'clock' | 'store'> = {}, concurrency = 1) {
  let sent = 0;
  let ended = 0;
  const reasons = new Map<string, number>();
  const fetch = (_url: unknown, init?: RequestInit) => {
    sent++;
    return new Promise<Response>((_, reject) => {
      init?.signal?.addEventListener('abort', () => reject(init.signal?.reason), { once: true });
    });
  };
  const governor = createGovernor({
    config: crowdConfig(concurrency),
    logger: { info() {}, warn() {}, error() {} },
    ...options,
  });
  onTestFinished(() => governor.close({ drainMs: 0 }));
  const claude = governor.govern(
    new Anthropic({ apiKey: 'k', baseURL: 'http://api.invalid', fetch, logLevel: 'off' }),
  );
  const controller = new AbortController();
  const call = (n: number) =>
    governor
      .run({ user: `user ${n % 10}`, signal: controller.signal }, () => claude.messages.create(ask()))
      .catch(({ reason = 'none' }: { reason?: string }) => {
        ended++;
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      });
  const queued = () => {
    const lanes = governor.snapshot().buckets[0]?.lanes ?? {};
    return Object.values(lanes).reduce((sum, lane) => sum + lane.queued, 0);
  };
  void call(0);
  while (sent === 0) await turn();
  const come = () => {
    for (let n = 1; n <= CROWD; n++) void call(n);
  };
  return { governor, controller, come, queued, sent: () => sent, ended: () => ended, reasons };
}
type Crowd = Awaited<ReturnType<typeof crowd>>;

/** The largest step of `count` in one turn of the event loop, until it has gone up by so much. */
async function largestStep(count: () => number, by: number): Promise<number> {
  const start = count();
  let largest = 0;
  let before = start;
  for (let turns = 0; count() < start + by; turns++) {
    expect(turns).toBeLessThan(100_000);
    await turn();
    largest = Math.max(largest, count() - before);
    before = count();
  }
  return largest;
}

async function crowdThatWaits(options: Pick<GovernorOptions, 'clock' | 'store'> = {}): Promise<Crowd> {
  const made = await crowd(options);
  made.come();
  await largestStep(made.queued, CROWD);
  return made;
}

/** A store of one process that can be lost, and answers in a later turn of the event loop, as any store does. */
function remoteStore() {
  const ledger = memoryStore();
  const state = { isLost: false };
  const store: Store = {
    ...ledger,
    async exchange(bucket, exchange) {
      await turn();
      if (state.isLost) throw new Error('the store is down');
      return ledger.exchange(bucket, exchange);
    },
  };
  return { store, state };
}

const ENDS: Record<string, { end: (crowd: Crowd) => unknown; counts: 'ended' | 'sent'; reason?: string }> = {
  'as the signal that it shares is aborted': {
    end: ({ controller }) => controller.abort(),
    counts: 'ended',
    reason: 'aborted',
  },
  'as its governor is closed': {
    end: ({ governor }) => void governor.close({ drainMs: 0 }),
    counts: 'ended',
    reason: 'closed',
  },
  'as a reload lets it in': { end: ({ governor }) => governor.update(crowdConfig(100_000)), counts: 'sent' },
};

describe('a crowd is as cheap as its members: it comes and goes in slices of the event loop (in one block until 0.2)', () => {
  for (const [gate, storeOf] of Object.entries({
    'in one process': () => ({}),
    'in a fleet': () => ({ store: remoteStore().store }),
  })) {
    it(`${gate}, as it comes`, async () => {
      const { come, queued } = await crowd(storeOf());
      come();
      expect(await largestStep(queued, CROWD)).toBeLessThanOrEqual(AT_ONCE);
    });

    for (const [name, { end, counts, reason }] of Object.entries(ENDS)) {
      it(`${gate}, ${name}`, async () => {
        const made = await crowdThatWaits(storeOf());
        end(made);
        expect(await largestStep(made[counts], CROWD)).toBeLessThanOrEqual(AT_ONCE);
        if (reason !== undefined) expect(made.reasons.get(reason)).toBeGreaterThanOrEqual(CROWD);
      });
    }
  }

  it('as its longest wait is over, which is at one moment', async () => {
    const clock = manualClock();
    const made = await crowdThatWaits({ clock });
    void clock.advance(3_600_000);
    expect(await largestStep(made.ended, CROWD)).toBeLessThanOrEqual(AT_ONCE);
    expect(made.reasons).toEqual(new Map([['queue_timeout', CROWD]]));
    made.controller.abort();
  });

  it('in flight, as the signal that it shares is aborted, and as its governor is closed', async () => {
    for (const how of ['abort', 'close']) {
      const made = await crowd({}, 100_000);
      made.come();
      await largestStep(made.sent, CROWD);
      if (how === 'abort') made.controller.abort();
      else void made.governor.close({ drainMs: 0 });
      expect(await largestStep(made.ended, CROWD)).toBeLessThanOrEqual(AT_ONCE);
    }
  });

  it('as its store is lost, and is back: it waits on, and loses nobody', async () => {
    const { store, state } = remoteStore();
    const made = await crowdThatWaits({ store });
    const mode = () => made.governor.snapshot().buckets[0]?.fleet?.mode;
    for (const [isLost, next] of [
      [true, 'degraded'],
      [false, 'shared'],
    ] as const) {
      state.isLost = isLost;
      while (mode() !== next) await turn();
      // What waits at the new gate grows from nothing.
      const atOnce = made.queued();
      expect(atOnce).toBeLessThanOrEqual(AT_ONCE);
      expect(await largestStep(made.queued, CROWD - atOnce)).toBeLessThanOrEqual(AT_ONCE);
    }
    made.controller.abort();
    await largestStep(made.ended, CROWD);
    expect(made.reasons.get('aborted')).toBe(CROWD + 1);
  });

  it('has one listener on the signal that it shares (one of each call until 0.2), and none in the end', async () => {
    const { controller, governor } = await crowdThatWaits();
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1);
    await governor.close({ drainMs: 0 });
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });
});
