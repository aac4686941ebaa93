import PQueue from 'p-queue';
import { type Contender, clientFor, send, waitOf } from '../contender.ts';
import { isUrgent, KNOWN, LIMITS } from '../scenario.ts';
import { PER_USER, perUser } from './per-user.ts';

/**
 * It counts calls and not tokens, so its two bounds are those that follow from the mean answer: as many at once as use up
 * the limit of output, and as many a second as the limit of requests allows (by a sliding window, as its readme advises
 * for APIs). Urgent calls first, a queue for each user in front, and the SDK's own two retries for what is refused.
 */
export const pQueue: Contender = {
  name: 'p-queue',
  packages: ['p-queue'],
  how: `\`concurrency: ${KNOWN.concurrency}\` (what the mean answer uses the limit up with), \`intervalCap\` by the limit of requests in a strict window, \`priority\`, ${PER_USER} running calls per user by a queue each, \`maxRetries: 2\``,
  start(url) {
    const client = clientFor(url);
    const shared = new PQueue({
      concurrency: KNOWN.concurrency,
      interval: 1_000,
      intervalCap: LIMITS.requestsPerMinute / 60,
      strict: true,
    });
    const own = perUser(() => new PQueue({ concurrency: PER_USER }));
    return (ask, signal) => {
      const checkWait = waitOf(ask);
      const start = () => {
        checkWait();
        return send(client, ask, signal);
      };
      const enter = () => {
        checkWait();
        return shared.add(start, { priority: isUrgent(ask) ? 1 : 0, signal });
      };
      return own(ask.user).add(enter, { signal });
    };
  },
};
