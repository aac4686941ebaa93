import type { Middleware } from '@anthropic-ai/sdk';
import { type Caller, type ConfigInput, createGovernor } from '@headgate/core';
import { type ManualClock, manualClock } from '@headgate/testing';
import { expect } from 'vitest';

/**
 * Minutes of trouble on a manual clock: the middleware itself, and in place of the API a function that answers as the
 * scenario says. What is counted is what would have reached the API.
 */
export interface Attempt {
  readonly at: number;
  readonly model: string;
  readonly status: number;
}

export const LATENCY_MS = 400;

export function troubledWorld(
  config: ConfigInput,
  answer: (
    at: number,
    model: string,
  ) => { status: number; headers?: Record<string, string>; ms?: number; errorCode?: string },
) {
  const clock: ManualClock = manualClock();
  let seed = 42;
  const random = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed / 2 ** 32;
  };
  const governor = createGovernor({ config, clock, random, logger: { info() {}, warn() {}, error() {} } });
  const attempts: Attempt[] = [];
  const next = async (request: { body?: unknown }) => {
    const at = clock.now();
    const { model } = JSON.parse(String(request.body)) as { model: string };
    const { status, headers = {}, ms = LATENCY_MS, errorCode } = answer(at, model);
    attempts.push({ at, model, status });
    await new Promise<void>((resolve) => void clock.after(ms, resolve));
    const usage = { input_tokens: 20, output_tokens: 20 };
    const body =
      status === 200
        ? { type: 'message', id: 'm', model, usage, stop_reason: 'end_turn' }
        : {
            type: 'error',
            error: { type: 'x', message: 'x', ...(errorCode && { details: { error_code: errorCode } }) },
          };
    return new Response(JSON.stringify(body), {
      status,
      headers: { 'content-type': 'application/json', ...headers },
    });
  };
  const outcomes: { at: number; end: number; status: number | string }[] = [];
  const call = (caller: Caller) => {
    const at = clock.now();
    const body = JSON.stringify({
      model: 'claude-sonnet-4-6',
      max_tokens: 100,
      messages: [{ role: 'user', content: 'hello' }],
    });
    const request = {
      method: 'POST',
      url: 'http://api/v1/messages',
      body,
      headers: new Headers({ 'x-stainless-retry-count': '0' }),
    };
    const run = governor.middleware as unknown as (...args: unknown[]) => Promise<Response>;
    return governor
      .run(caller, () => run(request, next, { options: {} } as unknown as Parameters<Middleware>[2]))
      .then(async (response) => {
        await response.text();
        return response.status;
      })
      .catch((error: { reason?: string }) => error.reason ?? 'error')
      .then((status) => void outcomes.push({ at, end: clock.now(), status }));
  };
  /** Arrivals at random, `perSecond` on average, for so long. */
  const load = async (perSecond: number, ms: number) => {
    const end = clock.now() + ms;
    for (;;) {
      const wait = (-Math.log(1 - random()) / perSecond) * 1_000;
      if (clock.now() + wait > end) break;
      await clock.advance(wait);
      void call({ user: `user ${Math.floor(random() * 50)}` });
    }
    await clock.advance(Math.max(0, end - clock.now()));
  };
  const between = <T extends { at: number }>(all: T[], from: number, to: number) =>
    all.filter(({ at }) => at >= from && at < to);
  /** Closes, and nothing is left. */
  const end = async () => {
    const closing = governor.close({ drainMs: 1_000 });
    await clock.advance(10_000);
    await closing;
    expect(governor.snapshot().inFlight).toBe(0);
    expect(clock.pending()).toBe(0);
  };
  return { clock, governor, attempts, outcomes, load, between, end };
}
