import { boundedName } from '../bounded-name.ts';
import { placeOfCall } from '../caller/place.ts';
import type { ResolvedCaller, Scope } from '../caller/scope.ts';
import { hashOfName } from '../hash.ts';
import type { OnceLog, Place } from '../logger.ts';
import { remember } from '../remember.ts';
import type { Call } from '../request/read.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { ATTRIBUTES as A } from '../telemetry/names.ts';
import type { CallerDoubt } from '../telemetry/values.ts';

const PAGE = 'caller-and-context.md';
/** End-user ids of which it is remembered whose they were. */
const MAX_KNOWN_IDS = 1_000;
/** Ids that are made to say nothing to the API: with a UUID, or a run of sixteen digits of a hash. */
const OPAQUE = /[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{16}|[\w-]{40}|[{]/i;

/**
 * Signs that a call is made in the scope of another caller, or in none. Each is counted with every call, and told once
 * for each place: a line of the app in development, a route in production. No user is named.
 */
export class CallerNotices {
  readonly #once: OnceLog;
  readonly #metrics: Metrics;
  /** By the hash of an end-user id: the hash of the user who was first seen with it. */
  readonly #userOfId = new Map<string, string>();

  constructor(once: OnceLog, metrics: Metrics) {
    this.#once = once;
    this.#metrics = metrics;
  }

  /** A client of `governor.with` is used in another scope than it was made in. */
  changed(made: Scope, now: Scope | undefined): void {
    this.#count('scope_changed');
    const from = nameOf(made);
    const to = now === undefined ? 'no scope' : nameOf(now);
    this.#once.warn(
      'HG_SCOPE_CHANGED',
      `${from} > ${to}`,
      () =>
        `a client of governor.with() was made in ${from} and called in ${to}: its calls stay with the caller it was made for. What runs the tasks of one request in the context of another does so with other calls too: see ${PAGE}`,
      placeOfCall,
    );
  }

  /** A call of `scope`, whose caller is known by now. */
  look(call: Call, scope: Scope | undefined, caller: ResolvedCaller | undefined): void {
    if (call.kind !== 'messages') return;
    if (scope === undefined || caller === undefined) this.#outside();
    else {
      if (scope.isOver) this.#over(scope);
      if (this.#isAnothers(call, caller)) this.#differs(scope);
    }
  }

  #outside(): void {
    const place = placeOfCall();
    this.#once.warn(
      'HG_NO_SCOPE',
      place?.line ?? '',
      () =>
        `a call was made outside every caller scope: it counts as the user "anonymous". Use governor.run, governor.with or governor.bind; unknownCaller: refuse finds such calls in development: see ${PAGE}`,
      () => place,
    );
  }

  #over(scope: Scope): void {
    this.#count('scope_over');
    const place = placeOfCall();
    this.#once.warn(
      'HG_SCOPE_OVER',
      place?.line ?? nameOf(scope),
      () =>
        `a call was made in ${nameOf(scope)} after the response had been sent: either work that goes on, or a worker or a queue that was started there and now runs the tasks of others: see ${PAGE}`,
      () => place,
    );
  }

  #differs(scope: Scope): void {
    this.#count('user_differs');
    const place = placeOfCall();
    this.#once.warn(
      'HG_USER_DIFFERS',
      place?.line ?? nameOf(scope),
      () =>
        `a call in ${nameOf(scope)} names another user in metadata.user_id than its scope has: it may run in the context of another request: see ${PAGE}`,
      () => place,
    );
  }

  /** Whether the end-user id is another's: one in the clear that differs, or a made-up one that another user has had. */
  #isAnothers({ body }: Call, { user }: ResolvedCaller): boolean {
    const id = (body?.metadata as { user_id?: unknown } | undefined | null)?.user_id;
    if (typeof id !== 'string' || id === '' || user === undefined || boundedName(id) === user) return false;
    if (!OPAQUE.test(id)) return true;
    const key = hashOfName(id);
    const now = hashOfName(user);
    const first = this.#userOfId.get(key) ?? now;
    remember(this.#userOfId, key, first, MAX_KNOWN_IDS);
    return first !== now;
  }

  #count(doubt: CallerDoubt): void {
    this.#metrics.add('callerDoubts', 1, { [A.callerDoubt]: doubt });
  }
}

const nameOf = ({ route }: Scope): string =>
  route === undefined ? 'a scope without a route' : `the scope of "${route}"`;

/** Where a call was made, to be said in a message; nothing in production. */
export const saidPlace = (place: Place | undefined): string =>
  place === undefined ? '' : `, at ${place.line}`;
