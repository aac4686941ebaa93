import { AsyncLocalStorage } from 'node:async_hooks';

/** Runs a function in the context that was fixed. */
export type Enter = <T>(fn: () => T) => T;

type Method = (...args: unknown[]) => unknown;
type Members = Record<PropertyKey, unknown>;

/** What implements a stream of Node's: its reader, or its writer, starts these. */
const NODE_STREAM_METHODS = ['_read', '_write', '_writev', '_transform', '_flush', '_final', '_destroy'];
const ITERATOR_METHODS = ['next', 'return', 'throw'];
/** The SDK's tool runner runs its tools there, as well as between its turns. */
const RUNNER_METHODS = ['generateToolResponse'];

/** Read once: to find them by the names of globals costs every `run`. */
const { getPrototypeOf } = Object;
const PROMISE = Promise.prototype;

/** What was bound already: the first scope stays. */
const bound = new WeakSet<object>();

/**
 * Binds what starts only when it is read, subscribed to or awaited: it starts in `enter`, whoever does so. The object
 * stays the same one, with methods of its own before those of its class. What has started already is left as it is.
 * A plain promise is followed by another, which binds what it comes to.
 */
export function bindLazy<T extends object>(value: T, enter: Enter): T {
  if (isPlainPromise(value)) return value.then((late) => bindValue(late, enter)) as unknown as T;
  const members = value as Members;
  if (!mayBeLazy(members) || bound.has(value) || !Object.isExtensible(value)) return value;
  if (isFunction(members._read) || isFunction(members._write)) wrapEach(members, NODE_STREAM_METHODS, enter);
  else if (value instanceof ReadableStream) bindReadable(members, enter);
  else if (value instanceof WritableStream)
    wrapResult(members, 'getWriter', ['write', 'close', 'abort'], enter);
  else if (isFunction(members.next) && (Symbol.iterator in value || Symbol.asyncIterator in value)) {
    wrapEach(members, ITERATOR_METHODS, enter);
  } else bindOther(members, enter);
  return value;
}

/** Whether there is anything to bind. Most values are plain data: those must cost little, and no place in a set. */
function mayBeLazy(members: Members): boolean {
  return (
    members.then !== undefined ||
    members.next !== undefined ||
    members[Symbol.asyncIterator] !== undefined ||
    members.subscribe !== undefined ||
    members.readable !== undefined ||
    members.getReader !== undefined ||
    members.getWriter !== undefined ||
    members._read !== undefined ||
    members._write !== undefined
  );
}

/** A promise of the language's own, as an async function gives: what it waits for has started already. */
export function isPlainPromise(value: unknown): value is Promise<unknown> {
  return typeof value === 'object' && value !== null && getPrototypeOf(value) === PROMISE;
}

/** As `bindLazy`, for whatever a function has returned. */
export function bindValue<T>(value: T, enter: Enter): T {
  return typeof value === 'object' && value !== null ? bindLazy(value, enter) : value;
}

function bindOther(members: Members, enter: Enter): void {
  if (isFunction(members[Symbol.asyncIterator])) {
    wrapResult(members, Symbol.asyncIterator, ITERATOR_METHODS, enter);
    wrapEach(members, RUNNER_METHODS, enter);
  }
  if (isFunction(members.then)) wrapThen(members, enter);
  // An observable of RxJS or of the proposal: subscribing starts it.
  if (isFunction(members.subscribe) && isFunction(members.pipe)) wrapEach(members, ['subscribe'], enter);
  if (members.readable instanceof ReadableStream && members.writable instanceof WritableStream) {
    bindLazy(members.readable, enter);
    bindLazy(members.writable, enter);
  }
}

/** A stream of the web's asks its source where it is read, and again where the source has answered. */
function bindReadable(members: Members, enter: Enter): void {
  wrapResult(members, 'getReader', ['read', 'cancel'], enter);
  wrapResult(members, 'values', ITERATOR_METHODS, enter);
  wrapResult(members, Symbol.asyncIterator, ITERATOR_METHODS, enter);
  wrapEach(members, ['pipeTo', 'cancel'], enter);
  for (const name of ['tee', 'pipeThrough']) {
    wrap(members, name, (own) => (args) => {
      const streams = enter(() => own(args));
      for (const stream of [streams].flat()) bindValue(stream, enter);
      return streams;
    });
  }
}

/** What follows a lazy promise is of those who wait for it, and not of the scope in which it starts. */
function wrapThen(members: Members, enter: Enter): void {
  wrap(members, 'then', (own) => ([onValue, onError]) => {
    const follow = isFunction(onValue) ? AsyncLocalStorage.bind(onValue) : undefined;
    const onLate = follow === undefined ? onValue : (late: unknown) => follow(bindValue(late, enter));
    return enter(() => own([onLate, isFunction(onError) ? AsyncLocalStorage.bind(onError) : onError]));
  });
}

function wrapEach(members: Members, names: readonly PropertyKey[], enter: Enter): void {
  for (const name of names) wrap(members, name, (own) => (args) => enter(() => own(args)));
}

/** `name` gives an object of which `methods` are bound. */
function wrapResult(members: Members, name: PropertyKey, methods: readonly string[], enter: Enter): void {
  wrap(members, name, (own) => (args) => {
    const result = own(args);
    if (typeof result === 'object' && result !== null && result !== members && !bound.has(result)) {
      wrapEach(result as Members, methods, enter);
    }
    return result;
  });
}

function wrap(
  members: Members,
  name: PropertyKey,
  make: (own: (args: unknown[]) => unknown) => (args: unknown[]) => unknown,
): void {
  const method = members[name];
  if (!isFunction(method)) return;
  const wrapped = make((args) => Reflect.apply(method, members, args));
  bound.add(members);
  Object.defineProperty(members, name, {
    value: (...args: unknown[]) => wrapped(args),
    configurable: true,
    writable: true,
  });
}

const isFunction = (value: unknown): value is Method => typeof value === 'function';
