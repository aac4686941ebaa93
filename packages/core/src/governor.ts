import cluster from 'node:cluster';
import type { Middleware } from '@anthropic-ai/sdk';
import type { MeterProvider, TracerProvider } from '@opentelemetry/api';
import { Accounts, DEFAULT_ACCOUNT } from './admission/accounts.ts';
import { Admission } from './admission/admission.ts';
import { Quotas } from './admission/quotas.ts';
import { Alarms } from './alarms.ts';
import { Breakers } from './attempts/breaker.ts';
import { createMiddleware } from './attempts/middleware.ts';
import type { Parts } from './attempts/parts.ts';
import { RetryBudget } from './attempts/retry.ts';
import { type CallerSource, Scopes } from './caller/scope.ts';
import { type Clock, type Random, systemClock } from './clock.ts';
import { findWarnings } from './config/checks.ts';
import { parseConfig } from './config/parse.ts';
import type { Config, ConfigInput } from './config/schema.ts';
import { AbortedError } from './errors.ts';
import { Estimator } from './estimate/estimator.ts';
import { type Logger, OnceLog } from './logger.ts';
import { compilePolicy } from './policy/policy.ts';
import type { CounterStore } from './stores/counters.ts';
import { SafeCounters } from './stores/safe.ts';
import { readGauges } from './telemetry/gauges.ts';
import { Telemetry } from './telemetry/telemetry.ts';
import { VERSION } from './version.ts';

export interface GovernorOptions {
  /** Limits, lanes, quotas, caps. Left out: limits are learned from response headers, and there are no quotas. */
  readonly config?: ConfigInput;
  /** Keeps the counters of day and month quotas beyond the life of the process. Default: memory, with a warning. */
  readonly store?: CounterStore;
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

/** The parts of an SDK client that governing needs. Every client of the SDK has them: Anthropic, Bedrock, Vertex, Foundry. */
export interface GovernableClient {
  readonly apiKey?: string | null;
  readonly authToken?: string | null;
  readonly middleware?: readonly Middleware[];
  // biome-ignore lint/suspicious/noExplicitAny: each client's own options type, of which two fields are set here.
  withOptions(options: any): this;
}

export interface Governor {
  /**
   * The same client, governed: a copy whose calls pass this governor, with the SDK's own retries off.
   * `account` names the entry of `accounts` whose limits it draws on. @throws TypeError for one that does not exist.
   */
  govern<T extends GovernableClient>(client: T, options?: { account?: string }): T;
  /** For `new Anthropic({ maxRetries: 0, middleware: [governor.middleware] })`. */
  readonly middleware: Middleware;
  /** Runs `fn` as this caller: every governed call that starts in it, however deep, is the caller's. */
  run<T>(caller: CallerSource, fn: () => T): T;
  /** The client, governed, with an explicit caller for every call made through it. */
  with<T extends GovernableClient>(caller: CallerSource, client: T): T;
  /** `fn`, running in the scope that an adapter opened for `req`: for callbacks that have lost their context. */
  bind<A extends unknown[], R>(req: object, fn: (...args: A) => R): (...args: A) => R;
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
  /** Limits, levels, lanes and queues as plain JSON; cheap enough to poll. */
  snapshot(): Snapshot;
  /** Stops admitting, refuses what waits, and lets what runs finish for `drainMs` (default 30,000). Idempotent. */
  close(options?: { drainMs?: number }): Promise<void>;
}

export type Snapshot = ReturnType<Admission['snapshot']> &
  ReturnType<Breakers['snapshot']> & {
    readonly version: string;
    /** `generation` counts the configurations taken over; `problem` is why the last one was not. */
    readonly config: { readonly generation: number; readonly problem: string | undefined };
    readonly retryBudget: number;
    /** Named checks that have something to say, each once. */
    readonly warnings: OnceLog['warnings'];
    readonly isClosed: boolean;
  };

const DRAIN_MS = 30_000;
/** As many governors open at once as an app may need for accounts and tests; more are a mistake. */
const MANY_GOVERNORS = 10;
let openGovernors = 0;

/** What adapters and helpers need of a governor beyond its public face. */
export interface Internals {
  readonly scopes: Scopes;
  readonly once: OnceLog;
  currentConfig(): Config;
  /** A configuration could not even be read. */
  reloadFailed(error: unknown): void;
  /** Runs when the governor is closed. */
  onClose(fn: () => void): void;
}

const internals = new WeakMap<Governor, Internals>();

export function internalsOf(governor: Governor): Internals {
  const found = internals.get(governor);
  if (found === undefined) throw new TypeError('Headgate: expected a governor made by createGovernor');
  return found;
}

/** Makes a governor. No I/O. @throws ConfigError with every problem of the configuration at once. */
export function createGovernor(options: GovernorOptions = {}): Governor {
  const config = parseConfig(options.config);
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const logger = options.logger ?? console;
  const alarms = new Alarms(clock);
  const estimator = new Estimator();
  const accounts = new Accounts(config, { estimator, alarms, clock, random });
  const once = new OnceLog(logger);
  const counters =
    options.store === undefined
      ? undefined
      : new SafeCounters(options.store, alarms, clock, (error) =>
          once.warn(
            'HG_MEMORY_ONLY',
            'store',
            `the store fails, counters go on in memory alone: ${String(error)}`,
          ),
        );
  const quotas = new Quotas(config.quotas, config.timeZone, clock, counters);
  const admission = new Admission({ accounts, quotas, estimator, clock });
  const budget = new RetryBudget(config.retries.budget, clock.now());
  const breakers: Breakers = new Breakers(clock, random, (model, state) =>
    telemetry.breakerMoved(model, state),
  );
  const telemetry: Telemetry = new Telemetry({
    config: config.telemetry,
    version: VERSION,
    tracerProvider: options.tracerProvider,
    meterProvider: options.meterProvider,
    readGauges: () =>
      readGauges(admission.snapshot(), budget.remaining(clock.now()), breakers.snapshot().breakers.length),
  });
  const parts: Parts = {
    clock,
    random,
    alarms,
    rules: { config, policy: compilePolicy(config) },
    scopes: new Scopes(clock),
    admission,
    budget,
    breakers,
    telemetry,
    once,
    running: new Set(),
  };
  const { scopes, running } = parts;
  const middlewares = new Map<string, Middleware>();
  const onClose: (() => void)[] = [];
  let generation = 1;
  let problem: string | undefined;
  let closing: Promise<void> | undefined;

  const middlewareOf = (account: string): Middleware => {
    if (!accounts.has(account)) {
      throw new TypeError(
        `Headgate: no account "${account}" in the configuration; there are: ${accounts.names.join(', ')}`,
      );
    }
    let middleware = middlewares.get(account);
    if (middleware === undefined) {
      middleware = createMiddleware(parts, account);
      middlewares.set(account, middleware);
    }
    return middleware;
  };
  const isOurs = (middleware: Middleware) => [...middlewares.values()].includes(middleware);

  const reloadFailed = (error: unknown) => {
    problem = error instanceof Error ? error.message : String(error);
    telemetry.reloaded('refused');
    logger.error(`Headgate: the configuration was not taken over, the old one stays: ${problem}`);
  };

  const governor: Governor = {
    govern(client, { account = DEFAULT_ACCOUNT } = {}) {
      const others = (client.middleware ?? []).filter((middleware) => !isOurs(middleware));
      // Refreshing a token after a 401 is a retry of the SDK's: a client with such credentials keeps that one.
      const canRefresh = client.apiKey == null && client.authToken == null;
      return client.withOptions({
        maxRetries: canRefresh ? 1 : 0,
        middleware: [middlewareOf(account), ...others],
      });
    },
    get middleware() {
      return middlewareOf(DEFAULT_ACCOUNT);
    },
    run: (caller, fn) => scopes.run(scopes.open(caller), fn),
    with(caller, client) {
      const governed = client.middleware?.some(isOurs) ? client : governor.govern(client);
      const chain = [...(governed.middleware ?? [])];
      const enter: Middleware = (request, next) => scopes.run(scopes.open(caller), () => next(request));
      // Right before ours: of two callers named one after the other, the later one is the inner scope.
      chain.splice(chain.findIndex(isOurs), 0, enter);
      return governed.withOptions({ middleware: chain });
    },
    bind(req, fn) {
      return (...args) => {
        const scope = scopes.of(req);
        return scope === undefined ? fn(...args) : scopes.run(scope, () => fn(...args));
      };
    },
    update(input) {
      let next: Config;
      try {
        next = parseConfig(input);
      } catch (error) {
        reloadFailed(error);
        throw error;
      }
      // Nothing of the following can fail: the new rules hold for all, or would not have got here.
      parts.rules = { config: next, policy: compilePolicy(next) };
      accounts.configure(next);
      quotas.configure(next.quotas, next.timeZone);
      budget.configure(next.retries.budget);
      telemetry.configure(next.telemetry);
      breakers.liftSpendLimits();
      generation++;
      problem = undefined;
      telemetry.reloaded('applied');
      warn(next);
    },
    reset(what = { breaker: true, cooldown: true }) {
      if (what.breaker) breakers.reset();
      if (what.cooldown) admission.endPauses();
    },
    snapshot: () => ({
      version: VERSION,
      config: { generation, problem },
      ...admission.snapshot(),
      ...breakers.snapshot(),
      retryBudget: budget.remaining(clock.now()),
      warnings: once.warnings,
      isClosed: closing !== undefined,
    }),
    close({ drainMs = DRAIN_MS } = {}) {
      closing ??= drain(drainMs);
      return closing;
    },
  };

  function warn(checked: Config): void {
    for (const { code, path, message, received } of findWarnings(checked)) {
      once.warn(code, path, `${path}: ${message} (received ${received})`);
    }
    const isCalendar = checked.quotas.some((quota) =>
      [quota.requests, quota.inputTokens, quota.outputTokens, quota.usd].some(
        (rate) => rate?.per === 'day' || rate?.per === 'month',
      ),
    );
    if (isCalendar && counters === undefined) {
      once.warn(
        'HG_MEMORY_ONLY',
        '',
        'quotas of days or months begin anew with the process; give it a store, as sqliteStore({ path })',
      );
    }
  }

  async function drain(drainMs: number): Promise<void> {
    openGovernors--;
    admission.close();
    const timer = alarms.set(clock.now() + drainMs, () => {
      for (const attempt of running)
        attempt.abort(new AbortedError('the governor was closed', { reason: 'closed' }));
    });
    await admission.idle();
    timer.cancel();
    for (const fn of onClose) fn();
    counters?.close();
    telemetry.metrics.stop();
  }

  internals.set(governor, {
    scopes,
    once,
    currentConfig: () => parts.rules.config,
    reloadFailed,
    onClose: (fn) => void onClose.push(fn),
  });
  telemetry.metrics.start();
  warn(config);
  if (cluster.isWorker) {
    once.warn(
      'HG_CLUSTER_MEMORY',
      '',
      'this is a worker of a cluster: its limits are its own, and every worker has all of them',
    );
  }
  if (++openGovernors > MANY_GOVERNORS) {
    once.warn(
      'HG_GOVERNOR_PER_REQUEST',
      '',
      `${openGovernors} governors are open: make one when the app starts, not one for each request`,
    );
  }
  return governor;
}
