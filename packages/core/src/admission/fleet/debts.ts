import { compositeKey } from '../../composite-key.ts';

/**
 * What calls of users that wait have cost more than they were charged, or less: the next of them pays it, so that nothing
 * is lost of what was charged too much. Bounded by the calls that wait: a user with none has no debt here.
 */
export class Debts {
  readonly #debts = new Map<string, number>();

  of(lane: string, flowKey: string): number {
    return this.#debts.get(keyOf(lane, flowKey)) ?? 0;
  }

  set(lane: string, flowKey: string, debt: number): void {
    this.#debts.set(keyOf(lane, flowKey), debt);
  }

  forget(lane: string, flowKey: string): void {
    this.#debts.delete(keyOf(lane, flowKey));
  }
}

const keyOf = (lane: string, flowKey: string): string => `${compositeKey(lane)}\n${flowKey}`;
