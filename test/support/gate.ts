import { type Caller, type ConfigInput, type CounterStore, memoryStore } from '@headgate/core';
import { type ManualClock, manualClock } from '@headgate/testing';
import { Accounts } from '../../packages/core/src/admission/accounts.ts';
import { Admission, type Granted } from '../../packages/core/src/admission/admission.ts';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import type { Call } from '../../packages/core/src/request/read.ts';
import { expectedCharge } from '../../packages/core/src/settlement/charges.ts';
import { SafeCounters } from '../../packages/core/src/stores/safe.ts';

export const MODEL = 'claude-sonnet-4-6';

export interface AskOptions extends Caller {
  readonly chars?: number;
  readonly maxTokens?: number;
  readonly model?: string;
  readonly account?: string;
}

/**
 * Admission alone, on a manual clock: what the middleware does between a request and its first attempt. `isFleet`: the
 * limits are kept by a ledger, as several processes share them.
 */
export function gate(
  input: ConfigInput,
  options: { clock?: ManualClock; store?: CounterStore; isFleet?: boolean } = {},
) {
  const clock = options.clock ?? manualClock();
  const complete = (config: ConfigInput) =>
    parseConfig({
      // A new bucket lets sixteen calls out at once, but for one whose `concurrency` is configured.
      account: [{ name: 's', models: ['claude-sonnet-*'], requestsPerMinute: 60_000, concurrency: 100_000 }],
      ...config,
    });
  const config = complete(input);
  const alarms = new Alarms(clock);
  const estimator = new Estimator(() => clock.now());
  const errors: unknown[] = [];
  const fleet = {
    store: memoryStore({ clock }),
    process: 'one',
    onMode: (_bucket: string, _mode: string, error: unknown) => void errors.push(error),
    onShare: (share: number) => quotas.share(share),
    onForgotten: () => {},
  };
  const accounts = new Accounts(config, {
    estimator,
    alarms,
    clock,
    random: () => 0.5,
    ...(options.isFleet === true ? { fleet } : {}),
  });
  const counters =
    options.store && new SafeCounters(options.store, alarms, clock, (error) => errors.push(error));
  const quotas = new Quotas(config.quotas, config.timeZone, clock, counters, {
    isShared: options.isFleet === true,
  });
  const admission = new Admission({ accounts, quotas, estimator, alarms, clock });
  let policy = compilePolicy(config);
  const ask = (user: string, more: AskOptions = {}) => {
    const {
      chars = 400,
      maxTokens = 100,
      model = MODEL,
      account = 'default',
      signal,
      deadlineMs = 600_000,
      ...caller
    } = more;
    const call: Call = {
      kind: 'messages',
      model,
      maxTokens,
      isStreaming: false,
      body: { messages: [{ role: 'user', content: 'xy'.repeat(chars).slice(0, chars) }] },
      bytes: chars,
      isReplayable: true,
    };
    const plan = policy.plan(call, { ...caller, user, signals: [] });
    const signals = signal === undefined ? [] : [signal];
    return admission.admit({
      plan,
      call,
      account,
      deadlineAt: clock.now() + deadlineMs,
      signals,
      isRetry: false,
      isCounted: false,
    });
  };
  const done = (
    { lease, demand, terms }: Granted,
    outputTokens = 10,
    inputTokens = demand.estimate.rawInputTokens,
  ) => {
    lease.settle([expectedCharge(terms, { inputTokens, outputTokens })], {
      isWhole: true,
      promptTokens: inputTokens,
      isPromptSure: true,
    });
  };
  const update = (next: ConfigInput) => {
    const parsed = complete(next);
    policy = compilePolicy(parsed);
    accounts.configure(parsed);
    quotas.configure(parsed.quotas, parsed.timeZone);
  };
  const close = async () => {
    admission.close();
    await admission.hangUp();
  };
  return { clock, alarms, admission, ask, done, update, errors, close, closeStore: () => counters?.close() };
}

export type Outcome = { granted: Granted; error?: undefined } | { granted?: undefined; error: unknown };

export const outcome = (promise: Promise<Granted>): Promise<Outcome> =>
  promise.then(
    (granted) => ({ granted }),
    (error: unknown) => ({ error }),
  );
