/** Where Headgate writes its few lines. `console` fits, and so do most loggers. */
export interface Logger {
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** Things said once each, in bounded number: the hundredth new one says that no more will be said. */
export class OnceLog {
  readonly #logger: Logger;
  readonly #said = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  warn(key: string, message: string, fields?: Record<string, unknown>): void {
    if (this.#said.has(key) || this.#said.size >= 100) return;
    this.#said.add(key);
    // A logger that throws must not fail the call that had something to say.
    try {
      this.#logger.warn(message, fields);
    } catch {}
  }

  /** What has been said, for the snapshot. */
  get keys(): string[] {
    return [...this.#said];
  }
}
