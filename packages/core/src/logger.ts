import type { CheckCode } from './config/codes.ts';
import { logFields } from './log-fields.ts';

/**
 * Where Headgate writes its few lines: named checks, each once, and configurations that are refused. `console` fits. The
 * message is for people; `fields` has the `code` of the check and the trace in which it was met.
 */
export interface Logger {
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** Warnings kept: past so many nothing is said any more. */
const MAX_SAID = 100;

/** Warnings, said once each, in bounded number, each with the code of its check. */
export class OnceLog {
  readonly #logger: Logger;
  readonly #said = new Map<string, { readonly code: CheckCode; readonly message: string }>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  warn(code: CheckCode, key: string, message: string): void {
    const full = `${code} ${key}`;
    if (this.#said.has(full) || this.#said.size >= MAX_SAID) return;
    this.#said.set(full, { code, message });
    // A logger that throws must not fail the call that had something to say.
    try {
      this.#logger.warn(`Headgate: ${message} [${code}]`, { code, ...logFields() });
    } catch {}
  }

  /** What has been said, for the snapshot. */
  get warnings(): { readonly code: CheckCode; readonly message: string }[] {
    return [...this.#said.values()];
  }
}
