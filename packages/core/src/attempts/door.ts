import { UpstreamUnavailableError } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
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
  told(outcome: 'ok' | Verdict): void;
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
  const { lane, modelId } = plan;
  const breaker = breakers.of(account, modelId);
  let isProbe = false;

  const outOfMoney = (): UpstreamUnavailableError | undefined => {
    const limit = breakers.spendLimit(account);
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
  const shut = (retryAfterMs: number) =>
    new UpstreamUnavailableError(`${modelId} is failing, and its calls are held back for the moment`, {
      reason: 'breaker_open',
      rule: modelId,
      lane,
      retryAfterMs,
    });

  return {
    get isProbe() {
      return isProbe;
    },
    get breaker() {
      return breaker.state === 'closed' ? undefined : breaker.state;
    },
    look() {
      const passage = breaker.look();
      return outOfMoney() ?? (passage.pass ? undefined : shut(passage.retryAfterMs));
    },
    enter() {
      const broke = outOfMoney();
      if (broke !== undefined) return broke;
      const passage = breaker.enter();
      if (!passage.pass) return shut(passage.retryAfterMs);
      isProbe = passage.isProbe;
      return undefined;
    },
    told(outcome) {
      if (outcome === 'ok') {
        models.answered(account, modelId);
        return breaker.succeeded(isProbe);
      }
      switch (outcome.kind) {
        case 'overloaded':
        case 'server':
        case 'connection':
        case 'timeout':
          return breaker.failed(isProbe);
        case 'aborted':
          return breaker.released(isProbe);
        case 'spend_limit':
          breakers.spendLimitReached(account, {
            until: outcome.spendLimitUntil ?? clock.wall(),
            code: outcome.errorCode ?? 'spend_limit_reached',
          });
          return breaker.released(isProbe);
        case 'not_found':
          if (call.kind === 'messages') models.notFound(account, modelId);
          return breaker.succeeded(isProbe);
        case 'rate_limited':
        case 'congested':
        case 'ramp':
        case 'final':
          // The API works: it had an answer, if not the one that was hoped for.
          return breaker.succeeded(isProbe);
      }
    },
  };
}
