import { configKeys } from './config/keys.ts';
import type { FetchOptions } from './http/governed-fetch.ts';
import { checkOptions, type KnownKeys } from './known-keys.ts';
import type { GovernorOptions } from './types.ts';

const OPTIONS: KnownKeys<GovernorOptions> = {
  config: true,
  store: true,
  journal: true,
  clock: true,
  random: true,
  tracerProvider: true,
  meterProvider: true,
  logger: true,
};

/** @throws TypeError for options that would be silently off: unknown ones, and promises that nobody has awaited. */
export function checkGovernorOptions(options: GovernorOptions): void {
  if (isPromise(options)) throw notAwaited('createGovernor', 'createGovernor(await …)');
  const ofConfig = Object.keys(options ?? {}).find(
    (key) => !Object.hasOwn(OPTIONS, key) && configKeys().includes(key),
  );
  if (ofConfig !== undefined) {
    throw new TypeError(
      `Headgate createGovernor: "${ofConfig}" belongs into the configuration, as createGovernor({ config: { ${ofConfig}: … } })`,
    );
  }
  checkOptions('createGovernor', options, OPTIONS);
  checkConfigGiven('createGovernor', options.config);
  for (const name of ['store', 'journal'] as const) {
    if (isPromise(options[name])) throw notAwaited(`createGovernor: ${name}`, `${name}: await …`);
  }
}

/** @throws TypeError for what is no function to run. */
export function checkRun(fn: unknown): void {
  if (typeof fn === 'function') return;
  throw new TypeError(
    `Headgate run: expected a caller and a function, as governor.run({ user: 'ada' }, () => …), received ${typeof fn} for the function`,
  );
}

const FETCH_OPTIONS: KnownKeys<FetchOptions> = { account: true, fetch: true, caller: true, refusals: true };

/** @throws TypeError for an option of `governor.fetch` that does not exist or cannot be what it is. */
export function checkFetchOptions(options: FetchOptions): void {
  checkOptions('fetch()', options, FETCH_OPTIONS);
  const { fetch, refusals } = options;
  if (fetch !== undefined && typeof fetch !== 'function') {
    throw new TypeError(`Headgate fetch(): expected fetch to be a function, received ${typeof fetch}`);
  }
  if (refusals !== undefined && refusals !== 'throw' && refusals !== 'respond') {
    throw new TypeError(
      `Headgate fetch(): expected refusals to be throw or respond, received ${String(refusals)}`,
    );
  }
}

/** @throws TypeError for a configuration that was not awaited: as an empty one, it would limit nothing. */
export function checkConfigGiven(thing: string, config: unknown): void {
  if (isPromise(config)) throw notAwaited(`${thing}: config`, 'await loadConfig(path)');
}

function notAwaited(thing: string, remedy: string): TypeError {
  return new TypeError(`Headgate ${thing}: received a promise; await it first, as ${remedy}`);
}

function isPromise(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}
