import { boundedName } from '../bounded-name.ts';
import type { WindowUnit } from '../config/units.ts';
import { checkKeys, type KnownKeys } from '../known-keys.ts';

/** Who is asking, and how the answer is wanted. Every field is optional: what is left out has a default. */
export interface Caller {
  /** Whom quotas and fairness are counted by. Left out: `anonymous`. */
  readonly user?: string | undefined;
  /** The user's organization, where the app has such. */
  readonly tenant?: string | undefined;
  /** Plan or class of the user, as `free`; bounded in number, since it labels metrics. */
  readonly tier?: string | undefined;
  /** Priority class; left out: the configuration's `defaultLane`. */
  readonly lane?: string | undefined;
  /** What the call is for, as `/chat`; adapters fill in the route of the request. */
  readonly route?: string | undefined;
  /** Milliseconds from entry into the scope, over queue, attempts and the whole stream. Left out: `timeouts.total`. */
  readonly deadlineMs?: number | undefined;
  /** Ceiling on `max_tokens` for this scope: what asks for more is clamped. An inner scope can lower it, never raise it. */
  readonly maxTokens?: number | undefined;
  /** False: never another model than the one asked for, whatever routes and fallbacks say. */
  readonly fallback?: boolean | undefined;
  /** What becomes of a running answer when its reader leaves; left out: the configuration's `hangUp`. */
  readonly hangUp?: 'abort' | 'drain' | undefined;
  /** Aborts this caller's queued and running calls. */
  readonly signal?: AbortSignal | undefined;
  /** Copied to spans as `headgate.label.*`; never to metrics. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** How one quota of the caller's own stands: for headers that tell it. */
export interface Standing {
  readonly rule: string;
  readonly name: 'requests' | 'inputTokens' | 'outputTokens';
  readonly quota: number;
  readonly window: WindowUnit;
  readonly remaining: number;
  /** Milliseconds until all of it is back. */
  readonly resetMs: number;
}

/** The name under which calls without a user are counted. */
export const ANONYMOUS = 'anonymous';

const CALLER_KEYS: KnownKeys<Caller> = {
  user: true,
  tenant: true,
  tier: true,
  lane: true,
  route: true,
  deadlineMs: true,
  maxTokens: true,
  fallback: true,
  hangUp: true,
  signal: true,
  labels: true,
};

/** @throws TypeError for a key that no caller has: a deadline or a lane that is misspelt must not be silently off. */
export function checkCallerKeys(caller: Caller): void {
  checkKeys('caller', caller, CALLER_KEYS);
}

const TEXT_FIELDS = ['user', 'tenant', 'tier', 'lane', 'route'] as const;
type TextField = (typeof TEXT_FIELDS)[number];

/** A caller whose names are of bounded length. */
export interface NormalCaller extends Caller {
  /** Names that were too long, whole: patterns of rules are matched against them, and nothing else sees them. */
  readonly whole?: Readonly<Partial<Record<TextField, string>>>;
}

/**
 * The caller as the governor keeps it: text fields are text of bounded length.
 * @throws TypeError naming the field and its type, since a wrong identity must not pass as `anonymous`, and for a key
 * that no caller has.
 */
export function normalizeCaller(caller: Caller): NormalCaller {
  if (typeof caller !== 'object' || caller === null) {
    throw new TypeError(
      `Headgate caller: expected an object such as { user: 'ada' }, received ${typeof caller}`,
    );
  }
  checkCallerKeys(caller);
  const clean: Record<string, unknown> = { ...caller };
  const whole: Partial<Record<TextField, string>> = {};
  for (const field of TEXT_FIELDS) {
    const value: unknown = clean[field];
    if (value === undefined || value === null) delete clean[field];
    else if (typeof value === 'number' || typeof value === 'bigint') clean[field] = String(value);
    else if (typeof value !== 'string') {
      throw new TypeError(`Headgate caller.${field}: expected text or a number, received ${typeof value}`);
    } else if (value === '') delete clean[field];
    else {
      const name = boundedName(value);
      if (name === value) continue;
      clean[field] = name;
      whole[field] = value;
    }
  }
  if (Object.keys(whole).length > 0) clean.whole = whole;
  const { deadlineMs, maxTokens } = caller;
  if (deadlineMs !== undefined && !(typeof deadlineMs === 'number' && deadlineMs > 0)) {
    throw new TypeError(
      `Headgate caller.deadlineMs: expected milliseconds above 0, received ${String(deadlineMs)}`,
    );
  }
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && maxTokens > 0)) {
    throw new TypeError(
      `Headgate caller.maxTokens: expected a whole number above 0, received ${String(maxTokens)}`,
    );
  }
  return clean as NormalCaller;
}

/** Whether `caller` names another user or tenant than `around` does: the two are different callers. */
export function contradicts(caller: Caller, around: Caller | undefined): boolean {
  if (around === undefined) return false;
  return (['user', 'tenant'] as const).some(
    (field) => caller[field] !== undefined && around[field] !== undefined && caller[field] !== around[field],
  );
}
