import { compositeKey } from '../composite-key.ts';
import { remember } from '../remember.ts';

/** After an answer that says that there is no such endpoint nobody of the account asks for so long, in milliseconds. */
const ABSENT_MS = 60_000;
/** A caller whose prompt could not be counted does without for so long. */
const OWN_MS = 10_000;
/** So many callers in a row that got no count show that the endpoint does not work. */
const ENOUGH_CALLERS = 3;
const MAX_CALLERS = 1_024;

/**
 * Whom the API is not asked to count prompts for. Not every gateway has the endpoint: that it is not there concerns the
 * account. A prompt that it refuses, or takes long for, concerns its caller.
 */
export class CountCircuit {
  readonly #absentUntil = new Map<string, number>();
  readonly #ownUntil = new Map<string, number>();
  /** By account: callers that got no count since somebody did. */
  readonly #inVain = new Map<string, Set<string>>();

  isQuiet(account: string, caller: string, now: number): boolean {
    if (now < (this.#absentUntil.get(account) ?? 0)) return true;
    return this.#ownUntil.size > 0 && now < (this.#ownUntil.get(compositeKey(account, caller)) ?? 0);
  }

  counted(account: string): void {
    this.#inVain.delete(account);
  }

  /** `isAbsent`: the endpoint is not there. True where it goes quiet for the account. */
  failed(account: string, caller: string, isAbsent: boolean, now: number): boolean {
    remember(this.#ownUntil, compositeKey(account, caller), now + OWN_MS, MAX_CALLERS);
    const inVain = this.#inVain.get(account) ?? new Set<string>();
    inVain.add(caller);
    this.#inVain.set(account, inVain);
    if (!isAbsent && inVain.size < ENOUGH_CALLERS) return false;
    this.#absentUntil.set(account, now + ABSENT_MS);
    this.#inVain.delete(account);
    return true;
  }
}
