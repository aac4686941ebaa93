import { compositeKey } from '../composite-key.ts';
import { UpstreamUnavailableError } from '../errors.ts';
import { callerKey, type Plan } from '../policy/plan.ts';
import { payerOf } from '../request/billing.ts';
import type { Call } from '../request/read.ts';
import type { BreakerState } from '../telemetry/values.ts';
import type { Verdict } from './classify.ts';
import type { Parts } from './parts.ts';

/** What stands before the API for one call to one model: its breaker, and the account's money. */
export interface Door {
  /** Why the call may not go, as things are. Nothing is taken. */
  look(): UpstreamUnavailableError | undefined;
  /** Lets the call through, or tells why not. What comes of it must be `told`. */
  enter(): UpstreamUnavailableError | undefined;
  /** `isEvidence`: false for a failure that says nothing of the API. */
  told(outcome: 'ok' | Verdict, isEvidence?: boolean): void;
  /** The call that has been let through is to see whether the model works again. */
  readonly isProbe: boolean;
  /** How the model's breaker stands now, where that is not closed. */
  readonly breaker: BreakerState | undefined;
}

const ALWAYS_OPEN: Door = {
  look: () => undefined,
  enter: () => undefined,
  told() {},
  isProbe: false,
  breaker: undefined,
};

export function doorFor(parts: Parts, account: string, call: Call, plan: Plan): Door {
  // What generates nothing costs nothing, and has no model that could be overloaded. In shadow nobody is held up.
  if ((call.kind !== 'messages' && call.kind !== 'batches') || plan.isShadow) return ALWAYS_OPEN;
  const { breakers, models, clock } = parts;
  const { own } = breakers;
  const { lane } = plan;
  // Fast mode has limits, and trouble, of its own.
  const modelId = call.body?.speed === 'fast' ? `${plan.modelId} (fast)` : plan.modelId;
  const caller = callerKey(plan.caller);
  const key = compositeKey(account, modelId, caller);
  const breaker = breakers.of(account, modelId);
  // What a customer pays needs no money of the account's, and says nothing of it.
  const isOnAccount = payerOf(call.body) === 'self';
  let isProbe = false;
  let isOwnProbe = false;

  const outOfMoney = (isEntering = false): UpstreamUnavailableError | undefined => {
    const limit = isOnAccount ? breakers.spendLimit(account, caller, isEntering) : undefined;
    if (limit === undefined) return undefined;
    const until = new Date(limit.until).toISOString();
    return new UpstreamUnavailableError(
      `the account's spend limit is reached (${limit.code}); it ends at ${until}`,
      {
        reason: 'spend_limit',
        rule: limit.code,
        lane,
        retryAfterMs: limit.until - clock.wall(),
      },
    );
  };
  const shut = (retryAfterMs: number, whose = 'its') =>
    new UpstreamUnavailableError(`${modelId} is failing, and ${whose} calls are held back for the moment`, {
      reason: 'breaker_open',
      rule: modelId,
      lane,
      retryAfterMs,
    });
  const ownTrouble = (): UpstreamUnavailableError | undefined => {
    const passage = own.look(key);
    if (passage === undefined || passage.pass) return undefined;
    return shut(passage.retryAfterMs, "this caller's");
  };
  const failed = () => {
    breaker.failed(isProbe, caller);
    if (isOwnProbe || breaker.failsFor(caller)) {
      if (own.stateOf(key) !== 'open') breakers.ownMoved(account, modelId, 'open');
      own.open(key);
    }
  };
  const succeeded = () => {
    breaker.succeeded(isProbe);
    if (isOwnProbe && own.succeeded(key)) {
      breaker.forget(caller);
      breakers.ownMoved(account, modelId, 'closed');
    }
  };
  const released = () => {
    breaker.released(isProbe);
    if (isOwnProbe) own.released(key);
  };

  return {
    get isProbe() {
      return isProbe || isOwnProbe;
    },
    get breaker() {
      return breaker.state === 'closed' ? own.stateOf(key) : breaker.state;
    },
    look() {
      const passage = breaker.look(caller);
      return outOfMoney() ?? (passage.pass ? ownTrouble() : shut(passage.retryAfterMs));
    },
    enter() {
      const refusal = outOfMoney(true) ?? ownTrouble();
      if (refusal !== undefined) return refusal;
      const passage = breaker.enter(caller);
      if (!passage.pass) return shut(passage.retryAfterMs);
      isProbe = passage.isProbe;
      isOwnProbe = own.isOpen(key);
      if (isOwnProbe) {
        own.probe(key);
        breakers.ownMoved(account, modelId, 'half_open');
      }
      return undefined;
    },
    told(outcome, isEvidence = true) {
      if (outcome === 'ok') {
        models.answered(account, modelId, caller);
        if (isOnAccount) breakers.answered(account);
        return succeeded();
      }
      switch (outcome.kind) {
        case 'overloaded':
        case 'server':
        case 'connection':
        case 'timeout':
        case 'aborted':
          return isEvidence ? failed() : released();
        case 'foreign':
          return released();
        case 'spend_limit':
          breakers.spendLimitReached(
            account,
            {
              until: outcome.spendLimitUntil ?? clock.wall(),
              code: outcome.errorCode ?? 'spend_limit_reached',
            },
            caller,
          );
          return released();
        case 'not_found':
          if (call.kind === 'messages' && saysModel(outcome, plan.modelId))
            models.notFound(account, modelId, caller);
          return succeeded();
        case 'rate_limited':
        case 'congested':
        case 'ramp':
        case 'final':
          // The API works: it had an answer, if not the one that was hoped for.
          return succeeded();
      }
    },
  };
}

/** Whether a 404 is about the model: a file, a container or a skill that is gone has one too. */
export function saysModel({ message = '' }: Verdict, modelId: string): boolean {
  const text = message.toLowerCase();
  return (
    text.includes(modelId.toLowerCase()) || /^model\b|\bmodel\b.*\bnot (found|exist)|unknown model/.test(text)
  );
}
