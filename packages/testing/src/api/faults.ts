import { matchesGlob } from './glob.ts';
import type { ReceivedRequest } from './options.ts';
import type { Headers } from './rate-limit-headers.ts';

interface FaultRule {
  /** How many requests it hits. @default 1; Infinity until it is removed */
  readonly times?: number;
  /** Chance that a matching request is hit, 0 to 1. A miss does not count towards `times`. @default 1 */
  readonly probability?: number;
  /** Glob over the path. @default '/v1/messages' */
  readonly path?: string;
  readonly when?: (request: ReceivedRequest) => boolean;
}

/** An answer instead of the real one. The buckets of tokens are not touched. */
export interface StatusFault extends FaultRule {
  readonly kind: 'status';
  readonly status: number;
  /** `error.type`. @default the type that belongs to the status */
  readonly type?: string;
  readonly message?: string;
  /** `error.details.error_code` */
  readonly errorCode?: string;
  /** Added to the usual headers, for instance `retry-after`, `retry-after-ms`, `x-should-retry`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Replaces the JSON body. `empty`: none at all. `html`: a proxy's error page. */
  readonly body?: string | object;
}

/** A TCP reset. A JSON answer is cut in half for `mid-stream`. */
export interface ResetFault extends FaultRule {
  readonly kind: 'reset';
  readonly at: 'before-headers' | 'after-headers' | 'mid-stream';
  /** For `mid-stream`: after that many events, pings included. A shorter stream is not hit. @default 4 */
  readonly afterEvents?: number;
}

/**
 * Silence. The request is admitted and the model writes meanwhile: only the delivery halts. A JSON answer comes whole: for
 * `mid-stream` its headers are late too.
 */
export interface StallFault extends FaultRule {
  readonly kind: 'stall';
  readonly at: 'before-headers' | 'after-headers' | 'mid-stream';
  readonly ms: number;
  /** For `mid-stream`: after that many events, pings included. A shorter stream is not hit. @default 4 */
  readonly afterEvents?: number;
}

/** `event: error` after HTTP 200. A JSON answer becomes the status that belongs to the type. */
export interface StreamErrorFault extends FaultRule {
  readonly kind: 'stream-error';
  readonly type: string;
  readonly message?: string;
  /** Pings included. A shorter stream is not hit. @default 4 */
  readonly afterEvents?: number;
}

/** A stream that ends in good order without `message_stop`. A JSON answer ends in its middle. */
export interface TruncateFault extends FaultRule {
  readonly kind: 'truncate';
  /** Pings included. A shorter stream is not hit. @default 4 */
  readonly afterEvents?: number;
}

/** Rate-limit headers that are missing, old or senseless. The answer itself is the real one. */
export interface HeadersFault extends FaultRule {
  readonly kind: 'headers';
  readonly set?: Readonly<Record<string, string>>;
  /** Globs over header names. */
  readonly remove?: readonly string[];
  /** `stale` repeats the first ones that bucket ever sent. `nonsense` replaces every value. */
  readonly mangle?: 'stale' | 'nonsense' | ((headers: Headers) => Headers);
}

/**
 * A usage that says something else than what was produced: iterations of an advisor, of a summary or of a fallback, another
 * geography or speed, numbers that cannot be. The answer itself is the real one, and so is the ledger.
 */
export interface UsageFault extends FaultRule {
  readonly kind: 'usage';
  /** Fields that take the place of the real ones, or all of them made from the real ones. */
  readonly usage: UsageFields | ((usage: UsageFields) => UsageFields);
  /** The model that the answer names. @default the one that was asked */
  readonly model?: string;
}

export type UsageFields = Readonly<Record<string, unknown>>;

/** An event of a stream that is longer than a reader may expect, before the answer's end. JSON answers have none. */
export interface LongEventFault extends FaultRule {
  readonly kind: 'long-event';
  readonly bytes: number;
}

/** 529 for everyone. */
export interface OverloadFault extends FaultRule {
  readonly kind: 'overload';
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * A batch endpoint does what it is asked, and its answer never comes: the connection is reset, or stays silent until the
 * client gives up. Who sent it cannot know what became of it.
 */
export interface UnansweredFault extends FaultRule {
  readonly kind: 'unanswered';
  /** @default 'reset' */
  readonly how?: 'reset' | 'silence';
}

/** Lines of a batch's results as they should not be: changed, or left out (undefined). The path is that of the results. */
export interface ResultsFault extends FaultRule {
  readonly kind: 'results';
  readonly line: (line: string, customId: string) => string | undefined;
}

export type Fault =
  | UnansweredFault
  | ResultsFault
  | StatusFault
  | ResetFault
  | StallFault
  | StreamErrorFault
  | TruncateFault
  | HeadersFault
  | UsageFault
  | LongEventFault
  | OverloadFault;

/** The fault that decides how a request ends. Headers, usages, long events and a stall before them combine with it. */
export type EndingFault = Exclude<Fault, HeadersFault | ResultsFault | UsageFault | LongEventFault>;

/** What is to go wrong with one request. */
export interface FaultSet {
  readonly headers: readonly HeadersFault[];
  readonly stallMs: number;
  readonly results: readonly ResultsFault[];
  readonly usages: readonly UsageFault[];
  readonly longEvents: readonly LongEventFault[];
  readonly ending: EndingFault | undefined;
}

export interface FaultScript {
  inject(fault: Fault): () => void;
  pick(request: ReceivedRequest): FaultSet;
  clear(): void;
}

/** Those that any number of can hit one request. */
const COMBINING: ReadonlySet<Fault['kind']> = new Set(['headers', 'results', 'usage', 'long-event']);

const DEFAULT_PATH: Partial<Record<Fault['kind'], string>> = {
  unanswered: '/v1/messages/batches',
  results: '/v1/messages/batches/*/results',
};

export function createFaultScript(random: () => number): FaultScript {
  const armed = new Map<Fault, number>();

  function hits(fault: Fault, left: number, request: ReceivedRequest): boolean {
    if (!matchesGlob(fault.path ?? DEFAULT_PATH[fault.kind] ?? '/v1/messages', request.path)) return false;
    if (fault.when !== undefined && !fault.when(request)) return false;
    if (fault.probability !== undefined && random() >= fault.probability) return false;
    if (left <= 1) armed.delete(fault);
    else armed.set(fault, left - 1);
    return true;
  }

  return {
    inject(fault) {
      // A copy, so that the same object can be armed twice.
      const own = { ...fault };
      armed.set(own, own.times ?? 1);
      return () => {
        armed.delete(own);
      };
    },
    pick(request) {
      const headers: HeadersFault[] = [];
      const results: ResultsFault[] = [];
      const usages: UsageFault[] = [];
      const longEvents: LongEventFault[] = [];
      let stallMs = 0;
      let ending: EndingFault | undefined;
      for (const [fault, left] of [...armed]) {
        const isEnding = !COMBINING.has(fault.kind) && !isEarlyStall(fault);
        if (isEnding && ending !== undefined) continue;
        if (!hits(fault, left, request)) continue;
        if (fault.kind === 'headers') headers.push(fault);
        else if (fault.kind === 'results') results.push(fault);
        else if (fault.kind === 'usage') usages.push(fault);
        else if (fault.kind === 'long-event') longEvents.push(fault);
        else if (isEarlyStall(fault)) stallMs += fault.ms;
        else ending = fault;
      }
      return { headers, stallMs, results, usages, longEvents, ending };
    },
    clear() {
      armed.clear();
    },
  };
}

function isEarlyStall(fault: Fault): fault is StallFault {
  return fault.kind === 'stall' && fault.at === 'before-headers';
}

/** What the answer says it used, by the faults that concern it. */
export function bendUsage(usage: UsageFields, faults: readonly UsageFault[]): UsageFields {
  let bent = usage;
  for (const fault of faults)
    bent = typeof fault.usage === 'function' ? fault.usage(bent) : { ...bent, ...fault.usage };
  return bent;
}

/** Applies header faults to the headers of a rate-limited answer. `first` is what the bucket sent at first. */
export function bendHeaders(headers: Headers, faults: readonly HeadersFault[], first: Headers): Headers {
  let bent = headers;
  for (const fault of faults) {
    if (fault.mangle === 'stale') bent = { ...bent, ...first };
    else if (fault.mangle === 'nonsense') bent = replaceLimits(bent);
    else if (fault.mangle !== undefined) bent = fault.mangle({ ...bent });
    const kept = Object.entries(bent).filter(([name]) => !isRemoved(fault, name));
    bent = { ...Object.fromEntries(kept), ...fault.set };
  }
  return bent;
}

function isRemoved(fault: HeadersFault, name: string): boolean {
  return fault.remove?.some((glob) => matchesGlob(glob, name)) === true;
}

const NONSENSE = ['soon', '-1', 'NaN', '1e999', ''] as const;

function replaceLimits(headers: Headers): Headers {
  const entries = Object.entries(headers).map(([name, value], index): [string, string] => {
    const isLimit = name.startsWith('anthropic-ratelimit-') || name === 'retry-after';
    return [name, isLimit ? (NONSENSE[index % NONSENSE.length] ?? '') : value];
  });
  return Object.fromEntries(entries);
}
