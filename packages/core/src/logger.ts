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

/** Where in the app something happened: the line to name, and the lines around it. */
export interface Place {
  /** As `handler (file:///app/chat.ts:12:9)`. */
  readonly line: string;
  readonly stack: string;
}

/** Warnings kept of one code: past so many it has nothing new to say, and leaves room to the others. */
const MAX_OF_CODE = 25;

/** Warnings, said once each, in bounded number, each with the code of its check. */
export class OnceLog {
  readonly #logger: Logger;
  readonly #said = new Map<string, { readonly code: CheckCode; readonly message: string }>();
  readonly #ofCode = new Map<CheckCode, number>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** `text` may be made only when it is said; `placeOf` finds the line of the app that it is about. */
  warn(code: CheckCode, key: string, text: string | (() => string), placeOf?: () => Place | undefined): void {
    const full = `${code} ${key}`;
    const count = this.#ofCode.get(code) ?? 0;
    if (this.#said.has(full) || count >= MAX_OF_CODE) return;
    const place = placeOf?.();
    const message = `${typeof text === 'string' ? text : text()}${place === undefined ? '' : ` (at ${place.line})`}`;
    this.#said.set(full, { code, message });
    this.#ofCode.set(code, count + 1);
    const where = place === undefined ? {} : { stack: place.stack };
    // A logger that throws must not fail the call that had something to say.
    try {
      this.#logger.warn(`Headgate: ${message} [${code}]`, { code, ...where, ...logFields() });
    } catch {}
  }

  /** What has been said, for the snapshot. */
  get warnings(): { readonly code: CheckCode; readonly message: string }[] {
    return [...this.#said.values()];
  }
}
