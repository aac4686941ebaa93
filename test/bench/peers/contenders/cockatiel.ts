import { bulkhead, DelegateBackoff, handleWhen, retry, wrap } from 'cockatiel';
import { type Contender, clientFor, retryAfterMs, send, waitOf } from '../contender.ts';
import { KNOWN } from '../scenario.ts';
import { PER_USER, perUser } from './per-user.ts';

/** As many as may come in the whole run. */
const QUEUE = 5_000;

/**
 * A bulkhead of as many calls as use up the limit of output, with a queue; one of fewer calls in front for each user;
 * around both a retry that waits what the API asks for, so that nobody waits with a place in his hand. It has no rates
 * and no priorities.
 */
export const cockatiel: Contender = {
  name: 'cockatiel',
  packages: ['cockatiel'],
  how: `\`bulkhead(${KNOWN.concurrency}, queue)\` (what the mean answer uses the limit up with), ${PER_USER} running calls per user by a bulkhead each, \`retry\` of 8 attempts by \`retry-after\`; no rates, no priorities; SDK retries off`,
  start(url) {
    const client = clientFor(url, 0);
    const shared = bulkhead(KNOWN.concurrency, QUEUE);
    const policyOf = perUser(() => {
      const again = retry(
        handleWhen((error) => retryAfterMs(error) !== undefined),
        {
          maxAttempts: 8,
          backoff: new DelegateBackoff(({ result }) =>
            'error' in result ? (retryAfterMs(result.error) ?? 1_000) + 500 * Math.random() : 1_000,
          ),
        },
      );
      return wrap(again, bulkhead(PER_USER, QUEUE), shared);
    });
    return (ask, signal) => {
      const checkWait = waitOf(ask);
      const start = () => {
        checkWait();
        return send(client, ask, signal);
      };
      return policyOf(ask.user).execute(start, signal);
    };
  },
};
