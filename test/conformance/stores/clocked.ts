import { type Clock, memoryStore, type Store } from '@headgate/core';
import type { Redis } from 'ioredis';
import { script } from '../../../packages/redis/src/lua/script.ts';
import { storeOf } from '../../../packages/redis/src/store.ts';
import { START } from './commands.ts';

/** The time of a store, set by hand. */
export class SetClock {
  at = START;

  memory(): Store {
    const now = () => this.at;
    return memoryStore({ clock: { now, wall: now, after: () => ({ cancel() {} }) } as Clock });
  }

  /** The script that is run in earnest, on this clock instead of Redis's own. */
  redis(client: Redis, prefix: string): Store {
    return storeOf({ client, prefix, timeoutMs: 5_000 }, script('local now = tonumber(ARGV[4])'), () => [
      this.at,
    ]);
  }
}
