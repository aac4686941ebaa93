import type { Middleware } from '@anthropic-ai/sdk';
import type { MeterProvider, TracerProvider } from '@opentelemetry/api';
import { Accounts, DEFAULT_ACCOUNT } from './admission/accounts.ts';
import { Admission } from './admission/admission.ts';
import { Quotas } from './admission/quotas.ts';
import { Alarms } from './alarms.ts';
import { createMiddleware } from './attempts/middleware.ts';
import type { Parts } from './attempts/parts.ts';
import { RetryBudget } from './attempts/retry.ts';
import { type CallerSource, type Scope, Scopes } from './caller/scope.ts';
import { type Clock, type Random, systemClock } from './clock.ts';
import { parseConfig } from './config/parse.ts';
import type { ConfigInput } from './config/schema.ts';
import { AbortedError } from './errors.ts';
import { Estimator } from './estimate/estimator.ts';
import { type Logger, OnceLog } from './logger.ts';
import { compilePolicy } from './policy/policy.ts';
import { readGauges } from './telemetry/gauges.ts';
import { Telemetry } from './telemetry/telemetry.ts';
import { VERSION } from './version.ts';

export interface GovernorOptions {
  /** Limits, lanes, quotas, caps. Left out: limits are learned from response headers, and there are no quotas. */
  readonly config?: ConfigInput;
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
  /** Limits, levels, lanes and queues as plain JSON; cheap enough to poll. */
  snapshot(): Snapshot;
  /** Stops admitting, refuses what waits, and lets what runs finish for `drainMs` (default 30,000). Idempotent. */
  close(options?: { drainMs?: number }): Promise<void>;
}

export type Snapshot = ReturnType<Admission['snapshot']> & {
  readonly version: string;
  readonly retryBudget: number;
  readonly warnings: readonly string[];
  readonly isClosed: boolean;
};

const DRAIN_MS = 30_000;

/** What adapters need of a governor beyond its public face. */
const scopesOf = new WeakMap<Governor, Scopes>();

export function internalScopes(governor: Governor): Scopes {
  const scopes = scopesOf.get(governor);
  if (scopes === undefined) throw new TypeError('Headgate: expected a governor made by createGovernor');
  return scopes;
}

/** Makes a governor. No I/O. @throws ConfigError with every problem of the configuration at once. */
export function createGovernor(options: GovernorOptions = {}): Governor {
  const config = parseConfig(options.config);
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const alarms = new Alarms(clock);
  const estimator = new Estimator();
  const accounts = new Accounts(config, { estimator, alarms, clock, random });
  const quotas = new Quotas(config.quotas, config.timeZone, clock);
  const admission = new Admission({ accounts, quotas, estimator, clock });
  const budget = new RetryBudget(config.retries.budget, clock.now());
  const scopes = new Scopes(clock);
  const once = new OnceLog(options.logger ?? console);
  const telemetry = new Telemetry({
    config: config.telemetry,
    version: VERSION,
    tracerProvider: options.tracerProvider,
    meterProvider: options.meterProvider,
    readGauges: () => readGauges(admission.snapshot(), budget.remaining(clock.now())),
  });
  const running: Parts['running'] = new Set();
  const policy = compilePolicy(config);
  const parts: Parts = {
    clock,
    random,
    alarms,
    config,
    scopes,
    policy,
    admission,
    budget,
    telemetry,
    once,
    running,
  };
  const middlewares = new Map<string, Middleware>();
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
      const enter: Middleware = (request, next) => scopes.run(scopes.open(caller), () => next(request));
      return governed.withOptions({
        middleware: [enter, ...(governed.middleware ?? [])],
      });
    },
    bind(req, fn) {
      return (...args) => {
        const scope: Scope | undefined = scopes.of(req);
        return scope === undefined ? fn(...args) : scopes.run(scope, () => fn(...args));
      };
    },
    snapshot: () => ({
      version: VERSION,
      ...admission.snapshot(),
      retryBudget: budget.remaining(clock.now()),
      warnings: once.keys,
      isClosed: closing !== undefined,
    }),
    close({ drainMs = DRAIN_MS } = {}) {
      closing ??= drain(drainMs);
      return closing;
    },
  };

  async function drain(drainMs: number): Promise<void> {
    admission.close();
    const timer = alarms.set(clock.now() + drainMs, () => {
      for (const attempt of running)
        attempt.abort(new AbortedError('the governor was closed', { reason: 'closed' }));
    });
    await admission.idle();
    timer.cancel();
    telemetry.metrics.stop();
  }

  telemetry.metrics.start();
  scopesOf.set(governor, scopes);
  return governor;
}
