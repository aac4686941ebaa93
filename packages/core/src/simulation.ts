import { Accounts, DEFAULT_ACCOUNT } from './admission/accounts.ts';
import { Admission, type Granted } from './admission/admission.ts';
import { Quotas } from './admission/quotas.ts';
import { economize } from './admission/thrift.ts';
import { Alarms } from './alarms.ts';
import { Pressure } from './attempts/pressure.ts';
import { nextAttempt, RetryBudget } from './attempts/retry.ts';
import type { Caller } from './caller/caller.ts';
import type { Clock, Random } from './clock.ts';
import type { Config } from './config/schema.ts';
import { Estimator } from './estimate/estimator.ts';
import { quotaRules } from './policy/budgets.ts';
import { compileGlob } from './policy/glob.ts';
import { MODELS } from './policy/models.ts';
import type { Plan } from './policy/plan.ts';
import { compilePolicy } from './policy/policy.ts';
import type { Call } from './request/read.ts';

/**
 * What decides in a governor, without the seam to the SDK and without telemetry: for simulations, which bring a clock
 * and an API of their own. It is the code that runs in production, so it moves with it: unlike the rest of the
 * package, these names may change with any release.
 */
export interface Engine {
  readonly config: Config;
  readonly accounts: Accounts;
  readonly alarms: Alarms;
  readonly estimator: Estimator;
  /** What is to become of a call, by the policy, the budgets and the pressure of the moment. @throws HeadgateError */
  decide(call: Call, caller: Caller): Plan;
  /** The call's turn at the gate. @throws HeadgateError when it is refused. */
  admit(asking: {
    readonly plan: Plan;
    readonly call: Call;
    readonly deadlineAt: number;
    /** Counted from 1. */
    readonly attempt: number;
  }): Promise<Granted>;
  /** Milliseconds until the API is asked again, the wait in the queue apart; nothing where it is not. */
  retryIn(failed: FailedAttempt): number | undefined;
}

/** An attempt that the API refused. */
export interface FailedAttempt {
  readonly kind: 'rate_limited' | 'ramp' | 'overloaded';
  readonly retryAfterMs: number | undefined;
  /** Attempts made so far. */
  readonly attempts: number;
  readonly deadlineAt: number;
}

export function createEngine({
  config,
  clock,
  random,
}: {
  readonly config: Config;
  readonly clock: Clock;
  readonly random: Random;
}): Engine {
  const alarms = new Alarms(clock);
  const estimator = new Estimator(() => clock.now());
  const accounts = new Accounts(config, { estimator, alarms, clock, random });
  const quotas = new Quotas(quotaRules(config), config.timeZone, clock);
  const admission = new Admission({ accounts, quotas, estimator, alarms, clock });
  const policy = compilePolicy(config);
  const pressure = new Pressure(admission, clock);
  const budget = new RetryBudget(config.retries.budget, clock.now());
  return {
    config,
    accounts,
    alarms,
    estimator,
    decide(call, caller) {
      const decided = policy.plan(call, { ...caller, signals: [] });
      const { plan } = economize(admission, policy, DEFAULT_ACCOUNT, call, decided);
      return pressure.relieve({ config, policy }, DEFAULT_ACCOUNT, call, plan);
    },
    admit({ plan, call, deadlineAt, attempt }) {
      if (attempt === 1) budget.firstAttempt(clock.now());
      return admission.admit({
        plan,
        call,
        account: DEFAULT_ACCOUNT,
        deadlineAt,
        signals: [],
        isRetry: attempt > 1,
        isCounted: false,
      });
    },
    retryIn({ kind, retryAfterMs, attempts, deadlineAt }) {
      const verdict = { kind, retryAfterMs, isRetryable: true, errorType: kind, errorCode: undefined };
      const { retries } = config;
      const now = clock.now();
      const next = nextAttempt({ verdict, attempts, retries, budget, now, deadlineAt, random });
      if (!next.retry) return undefined;
      // A paused bucket keeps the call in its queue.
      return kind === 'overloaded' ? next.delayMs : 0;
    },
  };
}

/** Which tokenizer counts for a model; one that the table does not have is taken for a new one. */
export function tokenizerOf(modelId: string): 'older' | 'newer' {
  return MODELS.find(({ match }) => compileGlob(match)(modelId))?.tokenizer ?? 'newer';
}

export type { Granted } from './admission/admission.ts';
export type { RateHeaders } from './admission/rate-headers.ts';
export { doubtCaller } from './config/doubts.ts';
export { describeValue, problemsIn } from './config/parse.ts';
export type { Config } from './config/schema.ts';
export { amount, duration, type Rate, rate } from './config/units.ts';
export { yamlMistake } from './config/yaml-mistake.ts';
export { Heap, type HeapEntry, NOT_IN_HEAP } from './heap.ts';
export { compileGlobs } from './policy/glob.ts';
export type { Plan } from './policy/plan.ts';
export type { Call } from './request/read.ts';
export { expectedCharge } from './settlement/charges.ts';
export { termsOf } from './settlement/terms.ts';
