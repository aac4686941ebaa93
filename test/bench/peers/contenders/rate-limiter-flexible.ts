import { RateLimiterMemory, RateLimiterQueue } from 'rate-limiter-flexible';
import { type Contender, clientFor, send } from '../contender.ts';
import { isUrgent, KNOWN, MAX_WAIT } from '../scenario.ts';

/** The key that its queue counts under. */
const KEY = 'limiter';
/** A user's share of the limit: what an ordinary one never needs. */
const USER_SHARE = 0.2;

/**
 * Its queue over a limiter of output tokens: points of one second, so that its fixed windows pace like the account's
 * bucket. A call takes the mean answer; what it took more or less is made good by `penalty` and `reward`. In front a
 * queue per user of a fifth of the limit. Who has waited too long is left out, by the queue's own deadlines. It has no priorities.
 * The SDK's own two retries for what is refused.
 */
export const rateLimiterFlexible: Contender = {
  name: 'rate-limiter-flexible',
  packages: ['rate-limiter-flexible'],
  how: '`RateLimiterQueue` over output tokens a second, a call the mean answer and then settled by `penalty` and `reward`; a fifth of the limit per user by a queue in front; deadlines in both; no priorities; `maxRetries: 2`',
  start(url) {
    const client = clientFor(url);
    const limiter = new RateLimiterMemory({ points: KNOWN.tokensPerSecond, duration: 1 });
    const shared = new RateLimiterQueue(limiter);
    const users = new RateLimiterQueue(
      new RateLimiterMemory({ points: KNOWN.tokensPerSecond * USER_SHARE, duration: 1 }),
    );
    return async (ask, signal) => {
      const taken = KNOWN.meanAnswerTokens;
      // In whole seconds; 0 is none.
      const deadline = isUrgent(ask) ? Math.floor(Date.now() / 1_000) + MAX_WAIT : 0;
      await users.removeTokens(taken, ask.user, deadline);
      await shared.removeTokens(taken, KEY, deadline);
      let tokens = 0;
      try {
        tokens = await send(client, ask, signal);
        return tokens;
      } finally {
        if (tokens > taken) await limiter.penalty(KEY, tokens - taken);
        else if (tokens < taken) await limiter.reward(KEY, taken - tokens);
      }
    };
  },
};
