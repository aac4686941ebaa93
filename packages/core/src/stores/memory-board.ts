import type { Clock } from '../clock.ts';
import { MAX_NOTICES } from '../notice.ts';
import { remember } from '../remember.ts';
import type { Board, OnNotice } from './board.ts';

interface Posted {
  readonly notice: string;
  readonly at: number;
  readonly until: number;
}

/** A notice board inside one process. */
export function memoryBoard(clock: Clock): Board {
  const topics = new Map<string, Map<string, Posted>>();
  const watchers = new Map<string, Set<OnNotice>>();

  return {
    async post(topic, process, notice, ttlMs) {
      const now = clock.now();
      const posted = topics.get(topic) ?? new Map<string, Posted>();
      topics.set(topic, posted);
      for (const [other, { until }] of posted) if (until <= now) posted.delete(other);
      // Set anew, so that the oldest stands first.
      remember(posted, process, { notice, at: now, until: now + ttlMs }, MAX_NOTICES);
      // Not before whoever posts has done what it is doing.
      await undefined;
      for (const tell of [...(watchers.get(topic) ?? [])]) tell(process, notice, 0);
    },
    watch(topic, onNotice) {
      const set = watchers.get(topic) ?? new Set();
      watchers.set(topic, set);
      set.add(onNotice);
      const now = clock.now();
      const up = [...(topics.get(topic) ?? [])].filter(([, { until }]) => until > now);
      queueMicrotask(() => {
        if (!set.has(onNotice)) return;
        for (const [process, { notice, at }] of up) onNotice(process, notice, now - at);
      });
      return () => void set.delete(onNotice);
    },
  };
}
