import { types } from 'node:util';
import type { Middleware } from '@anthropic-ai/sdk';

/** The parts of an SDK client that governing needs. Every client of the SDK has them: Anthropic, Bedrock, Vertex, Foundry. */
export interface GovernableClient {
  readonly apiKey?: string | null;
  readonly authToken?: string | null;
  readonly middleware?: readonly Middleware[];
  /** The client's tracing; absent in an SDK without spans of its own. */
  readonly openTelemetry?: unknown;
  /** `never`: each client has an options type of its own, of which a few fields are set here. */
  withOptions(options: never): this;
}

/** The first SDK with the `middleware` option. */
const FIRST_SDK = '0.101';
const FIRST_WRAP = 'govern first, then wrap: wrap(governor.govern(client))';

/** What a copy of a client is made with. */
interface Changes {
  readonly maxRetries?: number;
  readonly middleware: readonly Middleware[];
  readonly openTelemetry?: object;
}

/**
 * The client's copy with `changes`, in which `ours` is known to stand. `door` is the method that was called, for messages.
 * @throws TypeError naming the remedy for what cannot be copied, or whose copy would not be governed.
 */
export function governedCopy<T extends GovernableClient>(
  door: string,
  client: T,
  changes: Changes,
  ours: Middleware,
): T {
  checkGovernable(door, client);
  let copy: T;
  try {
    // The SDK hands its own default on as if the app had set it, and then no longer refuses a JSON call that would take too long.
    const timeout = isDefaultTimeout(client) ? { timeout: undefined } : {};
    copy = client.withOptions({ ...changes, ...timeout } as never);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new TypeError(
      `Headgate ${door}: the client's withOptions() fails (${error.message}); ${FIRST_WRAP}`,
      {
        cause: error,
      },
    );
  }
  const isCopy = typeof copy === 'object' && copy !== null && copy !== client && !types.isProxy(copy);
  if (!isCopy || copy.middleware?.includes(ours) !== true || sharesResources(client, copy)) {
    throw new TypeError(
      `Headgate ${door}: the copy that the client's withOptions() gives does not have the governor's middleware, so its calls would not be governed; if another library has wrapped the client, ${FIRST_WRAP}; if it is a class of your own, hand its options on to super(), or construct it with { maxRetries: 0, middleware: [governor.middleware] }`,
    );
  }
  // `timeout` is a public field, and may have been set since.
  const { timeout } = client as Timed;
  if (timeout !== undefined && (copy as Timed).timeout !== timeout) (copy as Timed).timeout = timeout;
  return copy;
}

/** @throws TypeError naming the remedy for a client that cannot be governed. */
export function checkGovernable(door: string, client: unknown): asserts client is GovernableClient {
  // Asked before anything of the client is read: some wrappers take each call of a method for one to trace.
  if (types.isProxy(client)) {
    throw new TypeError(
      `Headgate ${door}: the client is a Proxy: another library has wrapped it, and a governed copy would lose the wrapper or fail; ${FIRST_WRAP}`,
    );
  }
  if (typeof client !== 'object' || client === null || !('messages' in client || 'withOptions' in client)) {
    const received = client === null ? 'null' : typeof client;
    throw new TypeError(
      `Headgate ${door}: expected a client of @anthropic-ai/sdk, received ${received === 'object' ? 'an object that is none' : received}`,
    );
  }
  const { withOptions, middleware } = client as Partial<GovernableClient>;
  if (typeof withOptions !== 'function') {
    throw new TypeError(
      `Headgate ${door}: the client has no withOptions(): another library has wrapped it, and hides what governing needs; ${FIRST_WRAP}`,
    );
  }
  if (!Array.isArray(middleware)) {
    throw new TypeError(
      `Headgate ${door}: the client's SDK (${sdkOf(client)}) has no \`middleware\` option, so its calls cannot be governed; @anthropic-ai/sdk ${FIRST_SDK} is the first that has it`,
    );
  }
}

/**
 * What a client has and its copy has not: a method that another library has replaced, or an object that a class does not
 * hand on to its copies. Such a copy is governed, and does less than the client did.
 */
export function lostBy(client: object, copy: object): string | undefined {
  for (const path of [[], ['messages'], ['beta'], ['beta', 'messages']]) {
    const from = at(client, path);
    const to = at(copy, path);
    if (from === undefined || to === undefined) continue;
    // Not by `Object.keys`: what a test's spy has replaced is not enumerable. Nor is a getter read: it may throw, as
    // that of a platform's client for what the platform does not have.
    for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(from))) {
      const own = Object.getOwnPropertyDescriptor(to, key);
      if (own !== undefined && (own.get !== undefined || own.value !== undefined)) continue;
      const isReplaced = typeof value === 'function' && own === undefined;
      const isMissing = typeof value === 'object' && value !== null && (own !== undefined || !(key in to));
      if (isReplaced || isMissing) return [...path, key].join('.');
    }
  }
  return undefined;
}

/** What to do about it. */
export function remedyFor(lost: string): string {
  return `"${lost}" of the client would be missing from its governed copy; if another library or a test has put it there, ${FIRST_WRAP}; if it belongs to a class whose copies go without it, construct that class with { maxRetries: 0, middleware: [governor.middleware] } and name callers by governor.run()`;
}

interface Timed {
  timeout?: number;
  readonly _options?: { readonly timeout?: number | null };
  readonly constructor: { readonly DEFAULT_TIMEOUT?: number };
}

/** Whether the app has left the time-out to the SDK. The options are the SDK's own field: without it the number decides. */
function isDefaultTimeout(client: object): boolean {
  const { timeout, _options, constructor: made } = client as Timed;
  if (typeof _options === 'object' && _options !== null) return _options.timeout == null;
  return timeout === undefined || timeout === made.DEFAULT_TIMEOUT;
}

/** A copy that has its resources from the client calls by the client. */
function sharesResources(client: object, copy: object): boolean {
  const own = at(client, ['messages']);
  return own !== undefined && own === at(copy, ['messages']);
}

function at(client: object, path: readonly string[]): Record<string, unknown> | undefined {
  let found: unknown = client;
  for (const name of path) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : undefined;
}

/** The SDK by the name and version that it tells the API. */
function sdkOf(client: object): string {
  try {
    const agent: unknown = (client as { getUserAgent?(): unknown }).getUserAgent?.();
    if (typeof agent === 'string') return agent;
  } catch {
    // No client of the SDK's: its class says most.
  }
  return client.constructor?.name ?? 'of unknown name';
}
