import { type Contender, clientFor, send } from '../contender.ts';

/** The SDK as it comes: two retries, each after what `retry-after` says, or half a second to eight with jitter. */
export const sdk: Contender = {
  name: 'SDK',
  packages: ['@anthropic-ai/sdk'],
  how: 'as it comes: `maxRetries: 2`',
  start(url) {
    const client = clientFor(url);
    return (ask, signal) => send(client, ask, signal);
  },
};

/** What is tried first when two are not enough. */
export const sdkPatient: Contender = {
  name: 'SDK, 10 retries',
  packages: ['@anthropic-ai/sdk'],
  how: '`maxRetries: 10`',
  start(url) {
    const client = clientFor(url, 10);
    return (ask, signal) => send(client, ask, signal);
  },
};
