import { setTimeout } from 'node:timers/promises';
import { type Contender, clientFor, retryAfterMs, send } from '../contender.ts';

const ATTEMPTS = 8;
const MAX_DELAY_MS = 16_000;

/**
 * The loop that most guides show: exponential backoff with jitter, never less than `retry-after`. Eight attempts and 16 s
 * at most, since callers here wait for 20: fewer gave up too early, longer pauses came back too late.
 */
export const retryLoop: Contender = {
  name: 'retry loop',
  packages: [],
  how: 'by hand: exponential backoff with jitter, never less than `retry-after`, 8 attempts; SDK retries off',
  start(url) {
    const client = clientFor(url, 0);
    return async (ask, signal) => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await send(client, ask, signal);
        } catch (error) {
          const asked = retryAfterMs(error);
          if (asked === undefined || attempt === ATTEMPTS) throw error;
          const backoff = Math.min(MAX_DELAY_MS, 500 * 2 ** attempt) * (0.5 + Math.random() / 2);
          await setTimeout(Math.max(asked, backoff), undefined, { signal });
        }
      }
    };
  },
};
