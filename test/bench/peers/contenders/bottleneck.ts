import Bottleneck from 'bottleneck';
import { type Contender, clientFor, retryAfterMs, send, waitOf } from '../contender.ts';
import { isUrgent, KNOWN, LIMITS } from '../scenario.ts';
import { PER_USER } from './per-user.ts';

/** Refills must be a multiple of this. */
const REFILL_MS = 250;

/**
 * A reservoir of output tokens that refills steadily as the account's does and is as deep (its documents: "reservoir
 * increase"), each call weighing the mean answer and settled by what it took; urgent calls first; in front of it a group
 * that lets no user have more than a fixed number of calls. The group is not chained but called around the shared
 * limiter, so that who has left by then takes nothing of it: it does not know of signals. What is refused all the same
 * goes again by the `failed` event.
 */
export const bottleneck: Contender = {
  name: 'bottleneck',
  packages: ['bottleneck'],
  how: `reservoir of output tokens refilled like the account's, weight of a call the mean answer and then settled, priorities, ${PER_USER} calls per user by a group in front, retries by \`failed\``,
  start(url) {
    const client = clientFor(url, 0);
    const weight = KNOWN.meanAnswerTokens;
    const shared = new Bottleneck({
      reservoir: KNOWN.burstTokens,
      reservoirIncreaseInterval: REFILL_MS,
      reservoirIncreaseAmount: (KNOWN.tokensPerSecond * REFILL_MS) / 1_000,
      reservoirIncreaseMaximum: KNOWN.burstTokens,
      minTime: Math.floor(60_000 / LIMITS.requestsPerMinute),
    });
    shared.on('failed', (error, { retryCount }) => (retryCount < 8 ? (retryAfterMs(error) ?? null) : null));
    const users = new Bottleneck.Group({ maxConcurrent: PER_USER });
    return (ask, signal) => {
      const checkWait = waitOf(ask);
      return users.key(ask.user).schedule(async () => {
        signal.throwIfAborted();
        checkWait();
        return shared.schedule({ weight, priority: isUrgent(ask) ? 4 : 9 }, async () => {
          let tokens = 0;
          try {
            checkWait();
            tokens = await send(client, ask, signal);
            return tokens;
          } finally {
            void shared.incrementReservoir(weight - tokens);
          }
        });
      });
    };
  },
};
