import type { Alarms } from '../alarms.ts';
import { ANONYMOUS, type Standing } from '../caller/caller.ts';
import { withStanding } from '../caller/standing.ts';
import type { Clock } from '../clock.ts';
import type { BudgetConfig } from '../config/schema.ts';
import { QuotaExceededError, type Reason } from '../errors.ts';
import type { Estimate, Estimator } from '../estimate/estimator.ts';
import { callerKey, type Plan, scopesFor } from '../policy/plan.ts';
import { userKey } from '../policy/policy.ts';
import type { Call } from '../request/read.ts';
import { type Charge, expectedCharge, type Terms } from '../settlement/charges.ts';
import { termsOf } from '../settlement/terms.ts';
import { Slices } from '../slices.ts';
import type { AheadCharge } from '../stores/batch-journal.ts';
import type { UsageBook, UsageOwner } from '../stores/usage-book.ts';
import type { Accounts, Gate } from './accounts.ts';
import type { GateKeeper } from './gate.ts';
import { Lease } from './lease.ts';
import type { OwnCrowd } from './own-crowd.ts';
import { ownTurn } from './own-turn.ts';
import type { Amounts, BudgetStanding, Claim } from './quota-state.ts';
import type { Quotas } from './quotas.ts';
import { quotaRefusal } from './refusals.ts';
import { type QuotaShare, quotaShares, usedOf } from './shares.ts';
import type { Binding } from './ticket.ts';
import type { Demand } from './upstream.ts';

/** An answer has this many tokens at the least. */
const LEAST_OUTPUT = 1;

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
  /** Input that the API's cache is going to give. */
  readonly cachedTokens?: number;
}

/** A call that has been let in. */
export interface Granted {
  readonly lease: Lease;
  readonly scheduler: GateKeeper;
  readonly demand: Demand;
  /** By which the answer is read. */
  readonly terms: Terms;
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
  readonly #alarms: Alarms;
  readonly #clock: Clock;
  readonly #slices: Slices;
  readonly #book: UsageBook | undefined;
  readonly #open = new Set<Lease>();
  #onIdle: (() => void) | undefined;

  constructor(parts: {
    accounts: Accounts;
    quotas: Quotas;
    estimator: Estimator;
    alarms: Alarms;
    clock: Clock;
    /** Default: all is done at once. */
    slices?: Slices;
    /** Where usage is written down. */
    book?: UsageBook;
  }) {
    this.#accounts = parts.accounts;
    this.#quotas = parts.quotas;
    this.#estimator = parts.estimator;
    this.#alarms = parts.alarms;
    this.#clock = parts.clock;
    this.#slices = parts.slices ?? new Slices();
    this.#book = parts.book;
  }

  /** Leases that are not closed. */
  get open(): number {
    return this.#open.size;
  }

  #demand(plan: Plan, call: Call, cachedTokens = 0): Demand {
    return {
      estimate: this.#estimator.estimate(call, plan, cachedTokens, countedFor(plan, call)),
      chargesTokens: call.kind === 'messages' && call.body !== undefined,
      isStreaming: call.isStreaming,
      caller: callerKey(plan.caller),
    };
  }

  /** What a call takes of its caller's quotas, by what is known now of how long answers are. */
  #claim(terms: Terms, { inputTokens, bound, key }: Estimate, requests: 0 | 1): Claim {
    const { tokens: outputTokens, isGuess } = this.#estimator.expect(key);
    return {
      amounts: amountsOf(terms, { inputTokens, outputTokens }, requests),
      // Worked out where something depends on it: a whole prompt is read for it.
      get least() {
        const read = { inputTokens: 0, cacheReadTokens: bound.promptTokens, outputTokens: LEAST_OUTPUT };
        return { ...amountsOf(terms, read, requests), inputTokens: bound.chargedTokens };
      },
      isGuess,
    };
  }

  /** Input tokens that the call is estimated to take. */
  inputOf(plan: Plan, call: Call): number {
    return this.#demand(plan, call).estimate.inputTokens;
  }

  /** Tokens that a call is expected to take: the middle of what its input may be, and the mean of its output. */
  expect(plan: Plan, call: Call): { input: number; output: number } {
    const { inputTokens, leastInputTokens, outputTokens } = this.#estimator.estimate(call, plan);
    return { input: Math.round((inputTokens + leastInputTokens) / 2), output: outputTokens };
  }

  #gate({ modelId, model }: Plan, call: Call, account: string): ReturnType<Accounts['gate']> {
    return this.#accounts.gate(account, call.kind, modelId, model, call.body?.speed === 'fast');
  }

  /** Milliseconds that a call would wait for its bucket now, as far as can be foreseen. */
  foresee(plan: Plan, call: Call, account: string): number {
    const { scheduler } = this.#gate(plan, call, account);
    return scheduler.foresee(this.#demand(plan, call), plan.lane, plan.flowKey);
  }

  /** @throws HeadgateError when the call is refused; then nothing of any limit is taken. */
  async admit(ask: Ask): Promise<Granted> {
    const { plan, call, account } = ask;
    const gate = this.#gate(plan, call, account);
    const { upstream } = gate.scheduler;
    const caller = callerKey(plan.caller);
    const crowd = plan.isShadow ? undefined : upstream.crowdOf(caller, this.#clock.now());
    if (crowd !== undefined) return this.#enterOfOwn(ask, gate, crowd);
    const granted = await this.#enter(ask, gate);
    // Its caller's calls may have been capped while it waited at the gate.
    const capped = plan.isShadow ? undefined : upstream.crowdOf(caller, this.#clock.now());
    if (capped?.isOverfull !== true) return granted;
    granted.lease.drop('unsent');
    return this.#enterOfOwn(ask, gate, capped);
  }

  /** By way of a place among the calls of its caller. */
  async #enterOfOwn(ask: Ask, gate: Gate, crowd: OwnCrowd): Promise<Granted> {
    const { lane } = ask.plan;
    const bucket = gate.scheduler.upstream;
    const config = this.#accounts.lane(lane);
    const ownMs = await ownTurn(this.#alarms, this.#clock, {
      ...ask,
      crowd,
      bucket,
      lane,
      config,
      slices: this.#slices,
    });
    try {
      const granted = await this.#enter(ask, gate);
      const waitedFor = granted.waitedFor ?? (ownMs > 0 ? 'concurrency' : undefined);
      return { ...granted, waitedMs: granted.waitedMs + ownMs, waitedFor };
    } finally {
      crowd.left(this.#clock.now());
    }
  }

  async #enter(
    { plan, call, account, deadlineAt, signals, isRetry, isCounted, cachedTokens }: Ask,
    { scheduler, isKnown }: Gate,
  ): Promise<Granted> {
    const demand = this.#demand(plan, call, cachedTokens);
    const terms = termsOf(plan, call);
    const ticket = this.#quotas.ticket(demand.chargesTokens ? scopesFor(plan, account) : [], () =>
      this.#claim(terms, demand.estimate, isCounted ? 0 : 1),
    );
    const refusal = ticket.arrive();
    if (refusal !== undefined) throw withStanding(quotaRefusal(refusal, plan.lane), ticket.standing());

    const { lane, flowKey, isShadow } = plan;
    const passage = isShadow
      ? scheduler.pass(demand, ticket)
      : await scheduler
          .enter({
            demand,
            lane,
            flowKey,
            ticket,
            bytes: call.bytes,
            deadlineAt,
            isRetry,
            signals,
          })
          .catch((error: unknown) => {
            throw error instanceof QuotaExceededError ? withStanding(error, ticket.standing()) : error;
          });
    const lease = new Lease({
      scheduler,
      flight: passage.flight,
      ticket,
      estimator: this.#estimator,
      clock: this.#clock,
      lane,
      flowKey,
      terms,
      gateOf: (model) =>
        this.#accounts.gate(account, call.kind, model, plan.answeredBy(model).model).scheduler,
      sharesOf: (charges) => quotaShares(charges, plan, account),
      chargeExtra: (share) => this.#chargeExtra(scheduler, share),
      onClosed: (closed) => this.#closed(closed),
      onCharged: (charges) => this.#book?.add(ownerOf(plan, account), charges),
    });
    this.#open.add(lease);
    return {
      lease,
      scheduler,
      demand,
      terms,
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

  /** How the budgets stand that a plan draws on. */
  budgetsOf(plan: Plan, account: string): ReturnType<Quotas['budgets']> {
    return this.#quotas.budgets(scopesFor(plan, account));
  }

  /** How the budgets stand of one user, tenant or account; those that count by what is not named are left out. */
  budgets({ user, tenant, account }: BudgetSubject): NamedStanding[] {
    return this.#quotas.rules.flatMap((rule) => {
      const { budget, per } = rule;
      const isNamed =
        per === 'all' ||
        (per === 'account' && account !== undefined) ||
        (per === 'tenant' && tenant !== undefined) ||
        (per === 'user' && user !== undefined);
      if (budget === undefined || !isNamed) return [];
      const key =
        per === 'user'
          ? userKey(tenant, user ?? '')
          : per === 'tenant'
            ? tenant
            : per === 'account'
              ? account
              : '';
      return this.#quotas
        .budgets([{ rule, key: key ?? '' }])
        .map(({ standing }) => ({ name: budget.name, per: budget.per, ...standing }));
    });
  }

  /** Charges a request that goes in a batch. @throws QuotaExceededError, and nothing is taken. */
  chargeAhead(plan: Plan, call: Call, account: string): AheadCharge[] {
    const claim = this.#claim(termsOf(plan, call, true), this.#demand(plan, call).estimate, 1);
    const charges = this.#quotas.chargeAhead(scopesFor(plan, account), claim);
    if (Array.isArray(charges)) return charges;
    const ticket = this.#quotas.ticket(scopesFor(plan, account), () => claim);
    const refusal = withStanding(quotaRefusal(charges as Binding, plan.lane), ticket.standing());
    // A ticket keeps the states of its quotas from being forgotten.
    ticket.cancel();
    throw refusal;
  }

  /** A request of a batch is done: with the charges of its answer, or with nothing. */
  settleAhead(
    ahead: readonly AheadCharge[],
    owner: UsageOwner,
    answer?: { readonly charges: readonly Charge[]; readonly plan: Parameters<typeof quotaShares>[1] },
  ): void {
    if (answer === undefined) {
      this.#quotas.settleAhead(ahead, 0, () => usedOf([]));
      return;
    }
    const { charges, plan } = answer;
    this.#book?.add(owner, charges);
    const shares = quotaShares(charges, plan, owner.account);
    this.#quotas.settleAhead(ahead, 1, shares.usedOf);
    this.#quotas.chargeLate(shares.extra);
  }

  /** A quota that applies only to another model that took part in the answer. */
  #chargeExtra(scheduler: GateKeeper, { scope, used }: QuotaShare): void {
    const amounts: Amounts = { requests: 0, ...used };
    const ticket = this.#quotas.ticket([scope], () => ({ amounts, least: amounts, isGuess: false }));
    scheduler.charge(ticket);
    ticket.settle(true, () => used);
  }

  #closed(lease: Lease): void {
    this.#open.delete(lease);
    if (this.#open.size === 0) this.#onIdle?.();
  }

  /** Refuses all that come, and all that wait; resolves when they are. */
  close(): Promise<void> {
    return this.#accounts.close();
  }

  /** Says the last word to those who share the limits. */
  async hangUp(): Promise<void> {
    await Promise.all([...this.#accounts.all()].map((scheduler) => scheduler.hangUp?.()));
  }

  /** Ends the pauses that 429s have set. */
  endPauses(): void {
    const now = this.#clock.now();
    for (const scheduler of this.#accounts.all()) {
      scheduler.upstream.endPause(now);
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

/** Whose budgets are asked for. */
export interface BudgetSubject {
  readonly user?: string;
  readonly tenant?: string;
  readonly account?: string;
}

export interface NamedStanding extends BudgetStanding {
  readonly name: string;
  readonly per: BudgetConfig['per'];
}

/** What a call is expected to take of its quotas. */
function amountsOf(terms: Terms, expected: Parameters<typeof expectedCharge>[1], requests: 0 | 1): Amounts {
  const { inputTokens, outputTokens } = expected;
  const usd = terms.payer === 'self' ? (expectedCharge(terms, expected).usd ?? 0) : undefined;
  return { requests, inputTokens, outputTokens, usd };
}

/** In whose name usage is written down. */
function ownerOf({ caller, lane, modelId }: Plan, account: string): UsageOwner {
  const { user = ANONYMOUS, tenant, route } = caller;
  return { user, tenant, route, model: modelId, lane, account };
}

/** What the API has counted for the very model that is going to be asked: others count otherwise. */
function countedFor({ modelId }: Plan, { counted }: Call): number | undefined {
  return counted?.modelId === modelId ? counted.tokens : undefined;
}
