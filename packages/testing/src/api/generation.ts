import type { Clock } from '@headgate/core';
import type { Charge, Production } from './account.ts';
import type { OpenEntry } from './ledger.ts';

/**
 * A model writing one answer, evenly from its first token to its last. It writes whether or not the client
 * reads; a client that goes away, or a fault, ends it. Nothing runs meanwhile: what has been written is a
 * matter of the time at which somebody asks.
 */
export interface Generation {
  readonly firstTokenAt: number;
  readonly endAt: number;
  /** Whole tokens written at `clock.now()`. */
  produced(): number;
  /** The end, by completion or before it. Only the first call counts. */
  end(): void;
  /** The same, because the client is gone. */
  disconnect(): void;
}

export function startGeneration(
  clock: Clock,
  plan: Production,
  charge: Charge | undefined,
  entry: OpenEntry,
): Generation {
  const { firstTokenAt, endAt, outputTokens } = plan;
  let isEnded = false;
  charge?.schedule(clock.now(), plan);

  function producedAt(now: number): number {
    if (now < firstTokenAt) return 0;
    if (now >= endAt) return outputTokens;
    return Math.floor((outputTokens * (now - firstTokenAt)) / (endAt - firstTokenAt));
  }

  const generation: Generation = {
    firstTokenAt,
    endAt,
    produced() {
      if (isEnded) return entry.outputTokens;
      const now = clock.now();
      entry.outputTokens = producedAt(now);
      if (now >= firstTokenAt) entry.firstTokenAt = firstTokenAt;
      return entry.outputTokens;
    },
    end() {
      if (isEnded) return;
      const now = clock.now();
      generation.produced();
      isEnded = true;
      entry.endedAt = Math.min(now, endAt);
      charge?.stop(now, entry.outputTokens);
    },
    disconnect() {
      generation.end();
      entry.disconnected = true;
      entry.generatedTokens = entry.outputTokens;
    },
  };
  return generation;
}
