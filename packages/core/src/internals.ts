import type { Scopes } from './caller/scopes.ts';
import type { Config } from './config/schema.ts';
import type { Logger, OnceLog } from './logger.ts';
import type { Governor } from './types.ts';
import { VERSION } from './version.ts';

/** What adapters and helpers need of a governor beyond its public face. */
export interface Internals {
  readonly scopes: Scopes;
  readonly once: OnceLog;
  readonly logger: Logger;
  currentConfig(): Config;
  /** A configuration could not even be read. */
  reloadFailed(error: unknown): void;
  /** What could not be read is again what it was before. */
  reloadMended(): void;
  /** Runs when the governor is closed. */
  onClose(fn: () => void): void;
}

/** Where a governor keeps them: by a name that every copy of the package in a process shares. */
const INTERNALS = Symbol.for('headgate.internals');
/** Counted up with every change of `Internals`, and of what it leads to, that another copy would stumble over. */
const CONTRACT = 1;

interface Marked {
  readonly [INTERNALS]?: {
    readonly contract: number;
    readonly version: string;
    readonly internals: Internals;
  };
}

/** @throws TypeError for what is no governor, or one of a copy of the package that this one cannot work with. */
export function internalsOf(governor: Governor): Internals {
  const found = (governor as Marked | undefined | null)?.[INTERNALS];
  if (found === undefined) throw new TypeError('Headgate: expected a governor made by createGovernor');
  if (found.contract !== CONTRACT) {
    throw new TypeError(
      `Headgate: the governor was made by another copy of @headgate/core, ${found.version}, and this is ${VERSION}; install one version for all, as npm ls @headgate/core shows`,
    );
  }
  return found.internals;
}

/** Lets `internalsOf` find them, whichever copy of the package asks. */
export function markGovernor(governor: Governor, internals: Internals): void {
  Object.defineProperty(governor, INTERNALS, { value: { contract: CONTRACT, version: VERSION, internals } });
}
