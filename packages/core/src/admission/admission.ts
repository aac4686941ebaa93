import type { Standing } from '../caller/caller.ts';
import type { Clock } from '../clock.ts';
import type { Reason } from '../errors.ts';
import type { Estimator } from '../estimate/estimator.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import { cost } from '../settlement/cost.ts';
import { NO_USAGE } from '../settlement/usage.ts';
import type { Accounts } from './accounts.ts';
import type { GateKeeper } from './gate.ts';
import { Lease } from './lease.ts';
import type { Quotas } from './quotas.ts';
import { quotaRefusal } from './refusals.ts';
import type { Demand } from './upstream.ts';

/** A call that asks to be let in. */
export interface Ask {
  readonly plan: Plan;
  readonly call: Call;
  readonly account: string;
  readonly deadlineAt: number;
  readonly signals: readonly AbortSignal[];
  readonly isRetry: boolean;
  /** The caller's request quotas have counted the call already, with an attempt of which nobody knows what became. */
  readonly isCounted: boolean;
}

/** A call that has been let in. */
export interface Granted {
  readonly lease: Lease;
  readonly scheduler: GateKeeper;
  readonly demand: Demand;
  readonly waitedMs: number;
  readonly waitedFor: Reason | undefined;
  /** Rules in shadow that would have refused or held back the call. */
  readonly shadowRules: readonly string[];
  /** How the caller's own quotas stand now. */
  readonly standing: readonly Standing[];
  /** Where several processes share the limits: who has let the call in. */
  readonly mode: 'shared' | 'degraded' | undefined;
  /** False where no bucket was configured for the model. */
  readonly isKnownModel: boolean;
}

/** From a plan to a lease, or a refusal: estimate, the caller's quotas, the gate of the upstream bucket. */
export class Admission {
  readonly #accounts: Accounts;
  readonly #quotas: Quotas;
  readonly #estimator: Estimator;
  readonly #clock: Clock;
  readonly #open = new Set<Lease>();
  #onIdle: (() => void) | undefined;

  constructor(parts: {
    accounts: Accounts;
    quotas: Quotas;
    estimator: Estimator;
    clock: Clock;
  }) {
    this.#accounts = parts.accounts;
    this.#quotas = parts.quotas;
    this.#estimator = parts.estimator;
    this.#clock = parts.clock;
  }

  /** Leases that are not closed. */
  get open(): number {
    return this.#open.size;
  }

  #demand(plan: Plan, call: Call): Demand {
    return {
      estimate: this.#estimator.estimate(call, plan.model, plan.purpose, plan.maxTokens),
      chargesTokens: call.kind === 'messages' && call.body !== undefined,
      isStreaming: call.isStreaming,
    };
  }

  /** Milliseconds that a call would wait for its bucket now, as far as can be foreseen. */
  foresee(plan: Plan, call: Call, account: string): number {
    const { scheduler } = this.#accounts.gate(account, call.kind, plan.modelId, plan.model);
    return scheduler.foresee(this.#demand(plan, call), plan.lane, plan.flowKey);
  }

  /** @throws HeadgateError when the call is refused; then nothing of any limit is taken. */
  async admit({ plan, call, account, deadlineAt, signals, isRetry, isCounted }: Ask): Promise<Granted> {
    const demand = this.#demand(plan, call);
    const { estimate, chargesTokens } = demand;
    const usage = {
      ...NO_USAGE,
      inputTokens: estimate.inputTokens,
      outputTokens: estimate.outputTokens,
    };
    const ticket = this.#quotas.ticket(chargesTokens ? plan.quotas : [], {
      requests: isCounted ? 0 : 1,
      inputTokens: estimate.inputTokens,
      outputTokens: estimate.outputTokens,
      usd: plan.price === undefined ? 0 : cost(plan.price, usage),
    });
    const refusal = ticket.arrive();
    if (refusal !== undefined) throw quotaRefusal(refusal, plan.lane);

    const { scheduler, isKnown } = this.#accounts.gate(account, call.kind, plan.modelId, plan.model);
    const { lane, flowKey, price, isShadow } = plan;
    const passage = isShadow
      ? scheduler.pass(demand, ticket)
      : await scheduler.enter({
          demand,
          lane,
          flowKey,
          ticket,
          bytes: call.bytes,
          deadlineAt,
          isRetry,
          signals,
        });
    const lease = new Lease({
      scheduler,
      flight: passage.flight,
      ticket,
      estimator: this.#estimator,
      clock: this.#clock,
      lane,
      flowKey,
      price,
      onClosed: (closed) => this.#closed(closed),
    });
    this.#open.add(lease);
    return {
      lease,
      scheduler,
      demand,
      waitedMs: passage.waitedMs,
      waitedFor: passage.waitedFor,
      shadowRules: [
        ...ticket.shadowed.map(({ rule }) => rule.name),
        ...(isShadow && passage.waitedFor !== undefined ? [scheduler.upstream.name] : []),
      ],
      standing: ticket.standing(),
      mode: passage.mode,
      isKnownModel: isKnown,
    };
  }

  #closed(lease: Lease): void {
    this.#open.delete(lease);
    if (this.#open.size === 0) this.#onIdle?.();
  }

  /** Refuses all that wait and all that come. */
  close(): void {
    for (const scheduler of this.#accounts.all()) scheduler.close();
  }

  /** Says the last word to those who share the limits. */
  async hangUp(): Promise<void> {
    await Promise.all([...this.#accounts.all()].map((scheduler) => scheduler.hangUp?.()));
  }

  /** Ends the pauses that 429s have set. */
  endPauses(): void {
    for (const scheduler of this.#accounts.all()) {
      scheduler.upstream.endPause();
      scheduler.wake();
    }
  }

  /** Resolves when no lease is open. */
  idle(): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  snapshot() {
    const now = this.#clock.now();
    return {
      buckets: [...this.#accounts.all()].map((scheduler) => scheduler.snapshot(now)),
      quotas: this.#quotas.snapshot(),
      inFlight: this.#open.size,
    };
  }
}
