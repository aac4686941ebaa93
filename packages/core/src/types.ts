import type { Writable } from 'node:stream';
import type { Middleware } from '@anthropic-ai/sdk';
import type { MeterProvider, TracerProvider } from '@opentelemetry/api';
import type { Admission, BudgetSubject, NamedStanding } from './admission/admission.ts';
import type { Breakers } from './attempts/breakers.ts';
import type { Models } from './attempts/models.ts';
import type { BatchLanes } from './batch/lanes.ts';
import type { BatchClient, BatchLane } from './batch/types.ts';
import type { CallerSource } from './caller/scope.ts';
import type { GovernableClient } from './client.ts';
import type { Clock, Random } from './clock.ts';
import type { ConfigInput } from './config/schema.ts';
import type { FetchOptions } from './http/governed-fetch.ts';
import type { Logger, OnceLog } from './logger.ts';
import type { BatchJournal } from './stores/batch-journal.ts';
import type { CounterStore } from './stores/counters.ts';
import type { Store } from './stores/store.ts';
import type { UsageReport } from './stores/usage-book.ts';
import type { UsageBy, UsageSums } from './stores/usage-store.ts';
import type { Recording } from './telemetry/recorder.ts';

export interface GovernorOptions {
  /** Limits, lanes, quotas, caps. Left out: limits are learned from response headers, and there are no quotas. */
  readonly config?: ConfigInput;
  /**
   * Keeps the counters of day and month quotas beyond the life of the process (`sqliteStore`), or every limit of all
   * processes that share an account (`redisStore` of `@headgate/redis`). It is closed with the governor. Default: memory,
   * with a warning.
   */
  readonly store?: CounterStore | Store;
  /** Keeps the work of the batch lane. Default: the file that `batch.journal` names; without one memory, with a warning. */
  readonly journal?: BatchJournal;
  /** Default: the process's own. */
  readonly clock?: Clock;
  /** Default: `Math.random`. */
  readonly random?: Random;
  /** Default: the one registered with the OpenTelemetry API; without one, spans are no-ops. */
  readonly tracerProvider?: TracerProvider;
  /** Default: the one registered with the OpenTelemetry API; without one, metrics are no-ops. */
  readonly meterProvider?: MeterProvider;
  /** Default: `console`. */
  readonly logger?: Logger;
}

/** Any function, whatever it takes. */
export type AnyFunction = (...args: never[]) => unknown;

export interface Governor {
  /**
   * The same client, governed: a copy whose calls pass this governor, with the SDK's own retries off.
   * `account` names the entry of `accounts` whose limits it draws on. @throws TypeError for one that does not exist, and
   * for a client that cannot be governed: one that another library has wrapped, or of an SDK without `middleware`.
   */
  govern<T extends GovernableClient>(client: T, options?: { account?: string }): T;
  /** For `new Anthropic({ maxRetries: 0, middleware: [governor.middleware] })`. */
  readonly middleware: Middleware;
  /**
   * A `fetch` for any library that speaks the Messages API: `createAnthropic({ fetch: governor.fetch() })`. Its calls go
   * through the same chain as those of a governed client; what is no call of the API passes. @throws TypeError for an
   * account that does not exist.
   */
  fetch(options?: FetchOptions): typeof globalThis.fetch;
  /**
   * Runs `fn` as this caller: every governed call that starts in it, however deep, is the caller's. So is what `fn`
   * returns and what starts only when it is read: a tool runner, a generator, a stream, a lazy promise. Inside another
   * scope it overrides the fields that it names. @throws TypeError for a key that no caller has, and for no function.
   */
  run<T>(caller: CallerSource, fn: () => T): T;
  /**
   * The client, governed, with an explicit caller for every call made through it. Its calls stay in the scope and the
   * trace in which the client was made, wherever they run. A caller that names another user or tenant than that scope
   * replaces the whole of it: also its deadline, its signals and its trace. @throws TypeError
   * as `govern`.
   */
  with<T extends GovernableClient>(caller: CallerSource, client: T): T;
  /**
   * `fn`, fixed to the scope and the trace of now, whoever calls it later: for queues, pools, loaders, emitters. Keeps
   * `this`, arguments, name and length; a generator that it returns is fixed too. @throws TypeError for no function.
   */
  bind<F extends AnyFunction>(fn: F): F;
  /** As `bind(fn)`, in the scope that an adapter opened for `req`: for callbacks whose context is lost already. */
  bind<F extends AnyFunction>(req: object, fn: F): F;
  /**
   * Another configuration from now on, whole or not at all: counters, holds and queues live on, a call under way keeps
   * to the rules it began with. @throws ConfigError, and everything stays as it was.
   */
  update(config: ConfigInput): void;
  /**
   * An operator's hand: closes every breaker and lifts spend limits (`breaker`), ends the pauses that 429s have set
   * (`cooldown`). With nothing named, both.
   */
  reset(what?: { breaker?: boolean; cooldown?: boolean }): void;
  /**
   * The batch lane of an account: requests that can wait, sent through the Message Batches API at half the price and
   * outside the interactive limits. Takes up what the journal has from before, so call it when the app starts.
   * @throws TypeError for a client without Message Batches, or an account that does not exist.
   */
  batches(client: GovernableClient & BatchClient, options?: { account?: string }): BatchLane;
  /**
   * How budgets stand, and when they are used up at the present pace: those for all, and of the user, tenant or account
   * that is named.
   */
  budgets(of?: BudgetSubject): readonly NamedStanding[];
  /**
   * Tokens and money of the calls so far, by user, tenant, route, model, lane or account, the dearest first; to the hour,
   * since `since` (a date, or milliseconds of the epoch; default: all that is known). Kept in the store, for 92 days;
   * without one, in memory while it fits.
   */
  usage(what: { by: UsageBy; since?: Date | number }): Promise<UsageReport>;
  /**
   * Writes the shape of every call from now on to `stream`, as the lines of a trace that `headgate plan` plays: time,
   * tokens, model, lane, tier, route, and hashed users and tenants (`telemetry.hashKey`, or else a key of this recording
   * alone). Nothing of what was said, and no key. Ends when what it returns is called, or with the governor; the stream
   * stays open, it is yours. A slow stream loses lines, a failed one all that follow: counted, and never at a call's
   * expense. @throws TypeError for what cannot be written to.
   */
  record(stream: Writable): Recording;
  /** Limits, levels, lanes and queues as plain JSON; cheap enough to poll. */
  snapshot(): Snapshot;
  /** Stops admitting, refuses what waits, and lets what runs finish for `drainMs` (default 30,000). Idempotent. */
  close(options?: { drainMs?: number }): Promise<void>;
}

export type Snapshot = ReturnType<Admission['snapshot']> &
  ReturnType<Breakers['snapshot']> &
  ReturnType<Models['snapshot']> & {
    readonly version: string;
    /** `generation` counts the configurations taken over; `problem` is why the last one was not. */
    readonly config: { readonly generation: number; readonly problem: string | undefined };
    readonly retryBudget: number;
    /** The batch lanes in use: requests waiting and in processing, batches that run, batches in doubt. */
    readonly batches: ReturnType<BatchLanes['snapshot']>;
    /** Budgets for all, and by account, with the forecast of their end. */
    readonly budgets: readonly (NamedStanding & { readonly account: string | undefined })[];
    /** Tokens and money since the governor was made. */
    readonly usage: UsageSums;
    /** Named checks that have something to say, each once. */
    readonly warnings: OnceLog['warnings'];
    readonly isClosed: boolean;
  };
