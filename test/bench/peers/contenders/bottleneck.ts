import Bottleneck from 'bottleneck';
import { type Contender, clientFor, retryAfterMs, send } from '../contender.ts';
import { isUrgent, KNOWN, LIMITS } from '../scenario.ts';
import { PER_USER } from './per-user.ts';

/** Refills must be a multiple of this. */
const REFILL_MS = 250;

/**
 * A reservoir of output tokens that refills steadily as the account's does and is as deep (its documents: "reservoir
 * increase"), each call weighing the mean answer and settled by what it took; urgent calls first; in front of it a group
 * that lets no user have more than a fixed number of calls running, chained to the shared limiter as the documents have
 * it for "per user and in all". What is refused all the same goes again by the `failed` event.
 */
export const bottleneck: Contender = {
  name: 'bottleneck',
  packages: ['bottleneck'],
  how: `reservoir of output tokens refilled like the account's, weight of a call the mean answer and then settled, priorities, ${PER_USER} running calls per user by a chained group, retries by \`failed\``,
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
    // It counts running calls by their weight.
    const users = new Bottleneck.Group({ maxConcurrent: PER_USER * weight });
    users.on('created', (limiter) => limiter.chain(shared));
    return (ask, signal) =>
      users.key(ask.user).schedule({ weight, priority: isUrgent(ask) ? 4 : 9 }, async () => {
        signal.throwIfAborted();
        const tokens = await send(client, ask, signal);
        void shared.incrementReservoir(weight - tokens);
        return tokens;
      });
  },
};
