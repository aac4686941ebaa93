import type { Clock } from '@headgate/core';
import type { Fault } from './faults.ts';
import type { Ledger } from './ledger.ts';

/** The three things the API counts per minute and per bucket. */
export type Dimension = 'requests' | 'inputTokens' | 'outputTokens';

/** One upstream bucket. A number left out means: this dimension is not limited, and has no headers. */
export interface BucketLimits {
  readonly name: string;
  /** Globs over model ids. The first bucket with a match takes the request. */
  readonly models: readonly string[];
  readonly requestsPerMinute?: number;
  readonly inputTokensPerMinute?: number;
  readonly outputTokensPerMinute?: number;
  /**
   * Depth of the bucket, as seconds of refill. 60 lets a full minute go at once, 1 enforces per second.
   * Not documented by Anthropic; a bucket of requests always holds at least one.
   * @default 6
   */
  readonly burstSeconds?: number;
  /** `realtime` debits output tokens as they are produced; `reserve-max` takes `max_tokens` up front. @default 'realtime' */
  readonly outputCharging?: 'realtime' | 'reserve-max';
  /** Whether tokens read from the prompt cache count as input, as they did for some retired models. @default false */
  readonly cacheReadsCount?: boolean;
}

/** What the API knows of a model. */
export interface ModelSpec {
  readonly id: string;
  readonly aliases?: readonly string[];
  readonly displayName?: string;
  readonly line?: string;
  readonly lifecycle?: 'active' | 'deprecated' | 'retired';
  /** Ceiling of `max_tokens`. */
  readonly maxTokens: number;
  /** Context window, in tokens. */
  readonly maxInputTokens: number;
  /** Tokens per text, relative to the older tokenizer. @default 1 */
  readonly tokenFactor?: number;
  /** A shorter prefix is silently not cached. In tokens. @default 1024 */
  readonly cacheMinTokens?: number;
  /** Tokens that the presence of tools adds, by kind of `tool_choice`. */
  readonly toolOverhead?: { readonly auto: number; readonly forced: number };
  /** The most that one image costs, in tokens. @default 1600 */
  readonly imageMaxTokens?: number;
  readonly createdAt?: string;
  readonly deprecatedAt?: string;
  readonly retiresAt?: string;
}

/** The body of `POST /v1/messages`, as far as the API looks at it. */
export interface MessageRequest {
  readonly model: string;
  readonly max_tokens: number;
  readonly messages: readonly unknown[];
  readonly stream?: boolean;
  readonly [field: string]: unknown;
}

/** What the model will write, for tests that need more than a number of tokens. */
export interface OutputPlan {
  /** All output tokens, thinking included. Left out: as many as `text` takes. */
  readonly tokens?: number;
  readonly text?: string;
  readonly thinkingTokens?: number;
  readonly toolUse?: { readonly name: string; readonly input: unknown };
}

/** `when(request)` of a fault, and `received` of the API, see this. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The parsed JSON, or the text when it is none. */
  readonly body: unknown;
  /** `clock.now()` at the end of the body. */
  readonly at: number;
}

export interface Latency {
  /** From the end of the request's body to the first token. @default 300 */
  readonly timeToFirstTokenMs?: number | ((random: () => number) => number);
  /** @default 80 */
  readonly tokensPerSecond?: number | ((random: () => number) => number);
  /** A stream's tokens are written in groups, this far apart. @default 100 */
  readonly flushMs?: number;
}

/**
 * How the bytes of a stream are cut into chunks: the same events, whatever the cut. `events` writes each on its
 * own; those of one moment may still reach the reader together.
 */
export type Chunking =
  | 'events'
  | 'bytes'
  | 'split-utf8'
  | 'many-per-chunk'
  | ((bytes: Uint8Array, random: () => number) => Uint8Array[]);

/** What becomes of one request of a batch. */
export type BatchItemResult =
  | 'succeeded'
  | 'canceled'
  | 'expired'
  | { readonly type: string; readonly message?: string };

export interface BatchOptions {
  /** Limit of all batch endpoints together, a bucket of its own by the name `batch`. @default 1000 */
  readonly requestsPerMinute?: number;
  /** Requests that may be in processing, over all batches. @default 200000 */
  readonly maxQueued?: number;
  /** @default 100000 */
  readonly maxPerBatch?: number;
  /** Bytes of the body of one batch. @default 256 MiB */
  readonly maxBytes?: number;
  /** From the acceptance of a batch to the end of its last request. Each ends somewhere within it. @default 60000 */
  readonly durationMs?: number | ((random: () => number) => number);
  /** Whatever is not done by then expires. @default 24 hours */
  readonly expiresAfterMs?: number;
  /** From the wish to cancel to the end. Until then requests still finish. @default 1000 */
  readonly cancelMs?: number;
  /** After this the results are gone. @default 29 days */
  readonly resultsKeptMs?: number;
  /** What becomes of a request that is valid and has its time. An object is an error's `type`. @default succeeded */
  readonly result?: (customId: string, params: MessageRequest, random: () => number) => BatchItemResult;
}

export interface ClaudeApiOptions {
  /** @default 0, a free port */
  readonly port?: number;
  /** Output lengths, ids and noise follow from it. @default 1 */
  readonly seed?: number;
  /** Limits, latencies and cache lifetimes run on it. @default the process's own clock */
  readonly clock?: Clock;
  /** @default one generous bucket per class of models */
  readonly limits?: readonly BucketLimits[];
  /** Limit of `count_tokens`, a bucket of its own by the name `token_count`. @default 4000 */
  readonly countTokensPerMinute?: number;
  /** The Message Batches endpoints. */
  readonly batches?: BatchOptions;
  readonly models?: readonly ModelSpec[];
  /** How much the model writes; cut at `max_tokens`. @default lognormal, mean about 200 tokens */
  readonly output?: (request: MessageRequest, random: () => number) => number | OutputPlan;
  readonly latency?: Latency;
  /** Accepted API keys. @default any that is not empty */
  readonly keys?: readonly string[];
  readonly chunking?: Chunking;
  readonly newline?: '\n' | '\r\n';
  /** Whether a request without `anthropic-version` is refused. @default true */
  readonly requireVersion?: boolean;
  /** Streams carry an event of a type that no client knows. @default false */
  readonly unknownEvents?: boolean;
  /** How far the estimate charged on arrival may be from the real count, as a share of it. @default 0.1 */
  readonly estimateError?: number;
  /** Whether a refused or failed request still takes one from the bucket of requests. Undocumented upstream. @default false */
  readonly refusedConsume?: boolean;
  /** Generations in flight beyond this many are answered 529. @default unlimited */
  readonly capacity?: number;
  /**
   * Generations in flight beyond this many are answered 429 with plenty left in every bucket and no `retry-after`, as a
   * limit of concurrent connections may. The real API's answer to that is not documented. @default unlimited
   */
  readonly concurrent?: number;
  /** Ledger entries kept; totals go on counting. @default 100000 */
  readonly ledgerSize?: number;
  /** Requests kept in `received`. @default 1000 */
  readonly receivedSize?: number;
}

/** True levels, at this moment. `undefined` for a dimension without a limit. */
export interface Levels {
  readonly requests: number | undefined;
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
}

/** A Claude API on loopback. */
export interface ClaudeApi extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, for the SDK's `baseURL`. */
  readonly url: string;
  /** What really happened: tests compare a client's own numbers with it. */
  readonly ledger: Ledger;
  /** Requests as they came in, oldest first, at most `receivedSize`. */
  readonly received: readonly ReceivedRequest[];
  /** Arms a fault; the returned function removes it. Earlier faults are asked first. */
  inject(fault: Fault): () => void;
  /** A change of tier that nobody is told of. Levels stay, capped at the new depth. Throws for an unknown bucket. */
  setLimits(name: string, limits: Partial<Omit<BucketLimits, 'name'>>): void;
  /** Another consumer of the same account takes from a bucket. Throws for an unknown bucket. */
  drain(name: string, dimension: Dimension, amount: number): void;
  /** Throws for an unknown bucket. */
  level(name: string): Levels;
  openConnections(): number;
  /** Forgets ledger, `received`, cache and faults, and fills every bucket. */
  reset(): void;
  /** Cuts every connection, stops every timer. Idempotent. */
  close(): Promise<void>;
}
