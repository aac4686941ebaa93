import { type ConfigInput, createGovernor } from '@headgate/core';
import { type Call, type Contender, clientFor, send } from '../contender.ts';
import { isUrgent, LIMITS, MAX_WAIT } from '../scenario.ts';
import { PER_USER } from './per-user.ts';

/**
 * The account's limits as everybody here has them, and two lanes as in the README. Nobody tells it how long answers are,
 * how fast they come, or how much a user may have.
 */
export const headgate: Contender = {
  name: 'Headgate',
  packages: ['@headgate/core'],
  how: "the account's limits, two lanes; no quotas; not told how long answers are or how many may run",
  start: (url) => governed(url, {}),
};

/** The same with the bound for each user that the limiters here have. */
export const headgatePerUser: Contender = {
  name: 'Headgate, per user',
  packages: ['@headgate/core'],
  how: `the same, with ${PER_USER} running calls per user by a quota that waits`,
  start: (url) =>
    governed(url, {
      quotas: [{ name: 'running', per: 'user', concurrency: PER_USER, onExceed: 'wait' }],
    }),
};

function governed(url: string, config: ConfigInput): Call {
  const { burstSeconds, name, models, ...limits } = LIMITS;
  const governor = createGovernor({
    config: {
      ...config,
      account: [{ name, models: [...models], ...limits, burst: burstSeconds / 60 }],
      lanes: {
        interactive: { weight: 8, guarantee: 0.5, maxWait: `${MAX_WAIT}s` },
        background: { weight: 1, guarantee: 0.05, maxWait: '10m', maxQueuedPerUser: 1_000 },
      },
    },
  });
  const client = governor.govern(clientFor(url));
  return (ask, signal) =>
    governor.run({ user: ask.user, lane: isUrgent(ask) ? 'interactive' : 'background' }, () =>
      send(client, ask, signal),
    );
}
