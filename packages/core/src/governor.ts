import cluster from 'node:cluster';
import { randomUUID } from 'node:crypto';
import type { Middleware } from '@anthropic-ai/sdk';
import { Accounts, DEFAULT_ACCOUNT, type Fleet } from './admission/accounts.ts';
import { Admission } from './admission/admission.ts';
import { Quotas } from './admission/quotas.ts';
import { Alarms } from './alarms.ts';
import { Breakers } from './attempts/breakers.ts';
import { CallerNotices } from './attempts/caller-notices.ts';
import { CountCircuit } from './attempts/count-circuit.ts';
import { createMiddleware } from './attempts/middleware.ts';
import { Models } from './attempts/models.ts';
import { OwnPauses } from './attempts/own-pauses.ts';
import type { Parts, Rules } from './attempts/parts.ts';
import { Patience } from './attempts/patience.ts';
import { Pressure } from './attempts/pressure.ts';
import { Rests } from './attempts/rests.ts';
import { RetryBudget } from './attempts/retry.ts';
import { openTopics } from './attempts/topics.ts';
import { BatchLanes } from './batch/lanes.ts';
import type { BatchClient } from './batch/types.ts';
import { NamedClient } from './caller/named-client.ts';
import { Scopes } from './caller/scopes.ts';
import { notingPlaces, tracedBy } from './caller/sdk-traces.ts';
import { checkGovernable, type GovernableClient, governedCopy, lostBy, remedyFor } from './client.ts';
import { systemClock } from './clock.ts';
import { changedPaths, listPaths } from './config/changes.ts';
import { findWarnings } from './config/doubts.ts';
import { PriceFile } from './config/follow-prices.ts';
import { namedModels } from './config/model-names.ts';
import { parseConfig } from './config/parse.ts';
import type { Config } from './config/schema.ts';
import { AbortedError, ConfigError } from './errors.ts';
import { Estimator } from './estimate/estimator.ts';
import { Prefixes } from './estimate/prefixes.ts';
import { checkConfigGiven, checkFetchOptions, checkGovernorOptions, checkRun } from './governor-options.ts';
import { governedFetch } from './http/governed-fetch.ts';
import { markGovernor } from './internals.ts';
import { OnceLog } from './logger.ts';
import { quotaRules } from './policy/budgets.ts';
import { compilePolicy } from './policy/policy.ts';
import { Slices } from './slices.ts';
import { memoryJournal } from './stores/memory-journal.ts';
import { SafeCounters } from './stores/safe.ts';
import { sqliteJournal } from './stores/sqlite-journal.ts';
import { isShared, type Store } from './stores/store.ts';
import { UsageBook } from './stores/usage-book.ts';
import { USAGE_BY } from './stores/usage-store.ts';
import { BatchTelemetry } from './telemetry/batch.ts';
import { readGauges } from './telemetry/gauges.ts';
import { quietly } from './telemetry/quietly.ts';
import { Recorder } from './telemetry/recorder.ts';
import { Telemetry } from './telemetry/telemetry.ts';
import type { AnyFunction, Governor, GovernorOptions } from './types.ts';
import { VERSION } from './version.ts';

const DRAIN_MS = 30_000;
/** As many governors open at once as an app may need for accounts and tests; more are a mistake. */
const MANY_GOVERNORS = 10;
let openGovernors = 0;

/**
 * Makes a governor. No I/O, but for the price file where the configuration names one. @throws ConfigError with every
 * problem of the configuration, or of that file, at once; TypeError for an option that does not exist, and for a
 * promise that was not awaited.
 */
export function createGovernor(options: GovernorOptions = {}): Governor {
  checkGovernorOptions(options);
  const config = parseConfig(options.config);
  const clock = options.clock ?? systemClock;
  const priceFile = new PriceFile(
    () => pricesChanged(),
    (error) => reloadFailed(error, 'prices'),
  );
  priceFile.prepare(config.prices.file)();
  const rulesOf = (next: Config): Rules => ({
    config: next,
    policy: compilePolicy(next, { filePrices: priceFile.prices, wall: () => clock.wall() }),
  });
  const rules = rulesOf(config);
  const namesOf = (of: Rules) => namedModels(of.config, of.policy.prices);
  const random = options.random ?? Math.random;
  const logger = options.logger ?? console;
  const alarms = new Alarms(clock);
  const slices = Slices.ofEventLoop();
  const estimator = new Estimator(() => clock.now());
  const once = new OnceLog(logger);
  const shared = isShared(options.store) ? options.store : undefined;
  const kept = isShared(options.store) ? undefined : options.store;
  const fleet: Fleet | undefined =
    shared === undefined
      ? undefined
      : {
          store: shared,
          process: randomUUID(),
          onMode: (bucket, mode, error) => storeMoved(bucket, mode, error),
          onShare: (share) => quotas.share(share),
          onForgotten: () =>
            once.warn(
              'HG_STORE_BACKLOG',
              'store',
              'the store is away, and more users came than are kept for it: what the first have used is forgotten, in their favour, until their windows end',
            ),
        };
  const accounts = new Accounts(config, { estimator, alarms, clock, random, slices, fleet });
  const storeFails = (error: unknown) => {
    quietly(() => telemetry.storeFailed());
    once.warn(
      'HG_MEMORY_ONLY',
      'store',
      `the store fails, counters and usage go on in memory until it can be written again: ${error instanceof Error ? error.message : String(error)}`,
    );
  };
  const counters = kept === undefined ? undefined : new SafeCounters(kept, alarms, clock, storeFails);
  const book = new UsageBook(kept?.usage, alarms, clock, storeFails);
  const quotas = new Quotas(quotaRules(config), config.timeZone, clock, counters, {
    isShared: shared !== undefined,
    maxKeys: config.maxKeys,
    onForgotten: () =>
      once.warn(
        'HG_QUOTA_KEYS',
        'quotas',
        'a quota has more users than are kept in memory, and those that have used least are forgotten, in their favour; give the governor a store, as sqliteStore({ path }), or raise `maxKeys`',
      ),
  });
  const admission = new Admission({ accounts, quotas, estimator, alarms, clock, slices, book });
  const prefixes = new Prefixes((tokens) => telemetry.metrics.add('cacheUnread', tokens, {}));
  const budget = new RetryBudget(config.retries.budget, clock.now(), () => accounts.processes);
  const breakers: Breakers = new Breakers(clock, random, (model, state) =>
    telemetry.breakerMoved(model, state),
  );
  const topics =
    fleet?.store.board === undefined
      ? undefined
      : openTopics({
          board: fleet.store.board,
          process: fleet.process,
          alarms,
          clock,
          breakers,
          estimator,
          accounts: () => accounts.names,
        });
  const telemetry: Telemetry = new Telemetry({
    config: config.telemetry,
    namedModels: namesOf(rules),
    version: VERSION,
    tracerProvider: options.tracerProvider,
    meterProvider: options.meterProvider,
    warn: (message) => once.warn('HG_OTEL_API', '', message),
    readGauges: () =>
      readGauges(
        admission.snapshot(),
        budget.remaining(clock.now()),
        breakers.snapshot().breakers.length,
        lanes.pending,
        budgetsOfAll(),
      ),
  });
  const parts: Parts = {
    clock,
    random,
    alarms,
    slices,
    rules,
    scopes: new Scopes(clock),
    admission,
    prefixes,
    pressure: new Pressure(admission, clock),
    budget,
    breakers,
    models: new Models(clock, once),
    telemetry,
    once,
    notices: new CallerNotices(once, telemetry.metrics),
    counting: new CountCircuit(),
    patience: new Patience(),
    ownPauses: new OwnPauses(),
    running: new Set(),
    rests: new Rests(alarms, clock, slices),
    batchLane: (account) => lanes.of(account),
  };
  const { scopes, running, rests } = parts;
  const lanes: BatchLanes = new BatchLanes({
    clock,
    random,
    alarms,
    scopes,
    admission,
    once,
    telemetry: new BatchTelemetry(telemetry),
    rules: () => parts.rules,
    makeJournal: () => {
      const path = parts.rules.config.batch.journal;
      if (options.journal !== undefined) return options.journal;
      if (path !== undefined) return sqliteJournal({ path });
      once.warn(
        'HG_MEMORY_ONLY',
        'batch',
        'the batch lane keeps its work in memory, and loses it with the process; give it a file, as batch: { journal: ./batches.sqlite }',
      );
      return memoryJournal();
    },
    govern: (client, account) =>
      governor.govern(client as unknown as GovernableClient, { account }) as unknown as BatchClient,
  });
  const middlewares = new Map<string, Middleware>();
  const onClose: (() => void)[] = [];
  let generation = 1;
  const problems: { configuration?: string | undefined; prices?: string | undefined } = {};
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

  const reloadFailed = (error: unknown, what: keyof typeof problems = 'configuration') => {
    const problem = error instanceof Error ? error.message : String(error);
    problems[what] = problem;
    telemetry.reloaded('refused');
    const said =
      what === 'prices'
        ? 'the price file was not taken over, the old prices stay'
        : 'the configuration was not taken over, the old one stays';
    // A logger that throws must not hide what is wrong with the configuration.
    quietly(() =>
      logger.error(`Headgate: ${said}: ${problem}`, {
        problems: error instanceof ConfigError ? error.problems : [],
      }),
    );
  };
  const reloadMended = () => {
    if (problems.configuration === undefined) return;
    problems.configuration = undefined;
    quietly(() => logger.info('Headgate: the configuration is again the one that is in force'));
  };
  const pricesChanged = () => {
    parts.rules = rulesOf(parts.rules.config);
    telemetry.configure(parts.rules.config.telemetry, namesOf(parts.rules));
    problems.prices = undefined;
    generation++;
    telemetry.reloaded('applied');
    quietly(() => logger.info(`Headgate: the price file was taken over: ${parts.rules.config.prices.file}`));
  };

  const governor: Governor = {
    govern(client, { account = DEFAULT_ACCOUNT } = {}) {
      const ours = middlewareOf(account);
      checkGovernable('govern()', client);
      const others = (client.middleware ?? []).filter((middleware) => !isOurs(middleware));
      // Refreshing a token after a 401 is a retry of the SDK's: a client with such credentials keeps that one.
      const canRefresh = client.apiKey == null && client.authToken == null;
      const changes = {
        maxRetries: canRefresh ? 1 : 0,
        middleware: [ours, ...others],
        ...tracedBy(client, notingPlaces),
      };
      const copy = governedCopy('govern()', client, changes, ours);
      const lost = lostBy(client, copy);
      if (lost !== undefined) throw new TypeError(`Headgate govern(): ${remedyFor(lost)}`);
      lanes.seen(client, account);
      return copy;
    },
    get middleware() {
      return middlewareOf(DEFAULT_ACCOUNT);
    },
    fetch(fetchOptions = {}) {
      checkFetchOptions(fetchOptions);
      const { account = DEFAULT_ACCOUNT, ...others } = fetchOptions;
      return governedFetch({ ...others, scopes, middleware: middlewareOf(account) });
    },
    run(caller, fn) {
      checkRun(fn);
      return scopes.runWhole(scopes.open(caller), fn);
    },
    with(caller, client) {
      checkGovernable('with()', client);
      const governed = client.middleware?.some(isOurs) ? client : governor.govern(client);
      const chain = [...(governed.middleware ?? [])];
      const named = new NamedClient(scopes, caller, (made, now) => parts.notices.changed(made, now));
      // Right before ours: of two callers named one after the other, the later one is the inner scope.
      chain.splice(chain.findIndex(isOurs), 0, named.middleware);
      const traced = tracedBy(governed, (provider) => named.tracerProvider(provider));
      const copy = governedCopy('with()', governed, { middleware: chain, ...traced }, named.middleware);
      const lost = lostBy(governed, copy);
      if (lost !== undefined) once.warn('HG_COPY_LACKS', lost, `with(): ${remedyFor(lost)}`);
      return copy;
    },
    bind: <F extends AnyFunction>(first: object | F, second?: F): F =>
      second === undefined ? scopes.bind(first as F) : scopes.bind(second, first),
    update(input) {
      let next: Config;
      let takePrices: () => void;
      checkConfigGiven('update', input);
      try {
        next = parseConfig(input);
        takePrices = priceFile.prepare(next.prices.file);
      } catch (error) {
        reloadFailed(error);
        throw error;
      }
      // Nothing of the following can fail: the new rules hold for all, or would not have got here.
      const changed = changedPaths(parts.rules.config, next);
      takePrices();
      parts.rules = rulesOf(next);
      accounts.configure(next);
      quotas.configure(quotaRules(next), next.timeZone, next.maxKeys);
      budget.configure(next.retries.budget);
      telemetry.configure(next.telemetry, namesOf(parts.rules));
      breakers.liftSpendLimits();
      generation++;
      problems.configuration = undefined;
      problems.prices = undefined;
      telemetry.reloaded('applied');
      if (changed.length > 0) {
        quietly(() =>
          logger.info(`Headgate: the configuration was taken over; changed: ${listPaths(changed)}`, {
            changed,
          }),
        );
      }
      warn(next);
    },
    batches(client, { account = DEFAULT_ACCOUNT } = {}) {
      middlewareOf(account);
      checkGovernable('batches()', client);
      lanes.seen(client, account);
      return lanes.of(account);
    },
    budgets: (of = {}) => admission.budgets(of),
    usage({ by, since = 0 }) {
      const from = since instanceof Date ? since.getTime() : since;
      if (!USAGE_BY.includes(by)) {
        throw new TypeError(
          `Headgate usage: expected by to be one of ${USAGE_BY.join(', ')}, received ${String(by)}`,
        );
      }
      if (!Number.isFinite(from)) {
        throw new TypeError(
          `Headgate usage: expected since to be a date, or milliseconds of the epoch, received ${String(since)}`,
        );
      }
      return book.report(by, from);
    },
    record(stream) {
      const { hashKey } = parts.rules.config.telemetry;
      const recorder = new Recorder(stream, {
        clock,
        hashKey,
        expect: (plan, call) => admission.expect(plan, call),
        goesByBatch: (lane) => parts.rules.config.lanes[lane]?.via === 'batch',
        onFailed: (error) =>
          once.warn('HG_RECORDING', '', `a recording has ended, since its stream failed: ${String(error)}`),
      });
      return telemetry.record(recorder);
    },
    reset(what = { breaker: true, cooldown: true }) {
      if (what.breaker) breakers.reset();
      if (what.cooldown) {
        admission.endPauses();
        parts.ownPauses.end();
      }
    },
    snapshot: () => ({
      version: VERSION,
      config: { generation, problem: problems.configuration ?? problems.prices },
      ...admission.snapshot(),
      ...breakers.snapshot(),
      ...parts.models.snapshot(),
      retryBudget: budget.remaining(clock.now()),
      usage: book.totals,
      budgets: budgetsOfAll(),
      batches: lanes.snapshot(),
      warnings: once.warnings,
      isClosed: closing !== undefined,
    }),
    close({ drainMs = DRAIN_MS } = {}) {
      closing ??= drain(drainMs);
      return closing;
    },
  };

  /** Budgets that are few by nature: of everybody together, and of each account. */
  function budgetsOfAll() {
    const all = admission.budgets({}).map((each) => ({ ...each, account: undefined }));
    const byAccount = accounts.names.flatMap((account) =>
      admission
        .budgets({ account })
        .filter(({ per }) => per === 'account')
        .map((each) => ({ ...each, account })),
    );
    return [...all, ...byAccount];
  }

  function warn(checked: Config): void {
    for (const { code, path, message, received } of findWarnings(checked, priceFile.prices)) {
      once.warn(code, path, `${path}: ${message} (received ${received})`);
    }
    const isCalendar = quotaRules(checked).some((quota) =>
      [quota.requests, quota.inputTokens, quota.outputTokens, quota.usd].some(
        (rate) => rate?.per === 'day' || rate?.per === 'month',
      ),
    );
    if (isCalendar && counters === undefined && shared === undefined) {
      once.warn(
        'HG_MEMORY_ONLY',
        '',
        'quotas of days or months begin anew with the process; give it a store, as sqliteStore({ path })',
      );
    }
  }

  function storeMoved(bucket: string, mode: 'shared' | 'degraded', error: unknown): void {
    const because = error instanceof Error ? `: ${error.message}` : '';
    quietly(() => telemetry.storeMoved(mode));
    // A logger that throws must not stop the line to the store.
    quietly(() => {
      if (mode === 'shared') logger.info(`Headgate: the store is back, "${bucket}" is shared again`);
      else
        logger.warn(
          `Headgate: the store does not answer, "${bucket}" goes on with a share of the limits${because}`,
        );
    });
  }

  async function askDoubts(store: Pick<Store, 'doubts'>): Promise<void> {
    for (const { code, message } of (await store.doubts?.()) ?? []) once.warn(code, 'store', message);
  }

  async function drain(drainMs: number): Promise<void> {
    openGovernors--;
    const refused = admission.close();
    rests.close();
    lanes.stopTaking();
    const timer = alarms.set(clock.now() + drainMs, () => {
      void slices.each([...running], (attempt) =>
        attempt.abort(new AbortedError('the governor was closed', { reason: 'closed' })),
      );
    });
    await admission.idle();
    await refused;
    timer.cancel();
    telemetry.stopRecordings();
    priceFile.close();
    for (const fn of onClose) fn();
    await lanes.close();
    await book.close();
    await admission.hangUp();
    await topics?.close();
    counters?.close();
    // One that cannot be closed must not keep a service from ending.
    await shared?.close().catch(() => {});
    telemetry.metrics.stop();
  }

  markGovernor(governor, {
    scopes,
    once,
    logger,
    currentConfig: () => parts.rules.config,
    reloadFailed: (error) => reloadFailed(error),
    reloadMended,
    onClose: (fn) => void onClose.push(fn),
  });
  telemetry.metrics.start();
  // What cannot be asked now is no doubt: that a store is not there is told by those who need it.
  const store = shared ?? kept;
  if (store !== undefined) askDoubts(store).catch(() => {});
  warn(config);
  if (cluster.isWorker && shared === undefined) {
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
