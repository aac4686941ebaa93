import { type Answer, planAnswer } from './answer.ts';
import type { Config } from './config.ts';
import { errorBody, statusOf } from './errors.ts';
import { field } from './json.ts';
import type { OpenEntry } from './ledger.ts';
import { messageBody } from './message-script.ts';
import { automaticTtl } from './messages.ts';
import type { BatchItemResult, MessageRequest, ModelSpec, OutputPlan } from './options.ts';
import type { CacheSplit, PromptCache } from './prompt-cache.ts';
import { createId, createRandom, hashText } from './random.ts';
import { countInput } from './tokens.ts';
import { checkMessage } from './validate.ts';

/** One request of a batch, as it was sent. */
export interface BatchRequest {
  readonly customId: string;
  readonly params: unknown;
}

/** What became of one request: decided when its batch ends, and the same however often it is read. */
interface Settled {
  readonly result: BatchItemResult;
  readonly made?: Made;
}

interface Made {
  readonly request: MessageRequest;
  readonly model: ModelSpec;
  readonly wanted: number | OutputPlan;
  readonly split: CacheSplit;
  readonly messageId: string;
  readonly seed: number;
}

export interface Batch {
  readonly id: string;
  readonly createdAt: number;
  readonly requests: readonly BatchRequest[];
  readonly version: string | undefined;
  readonly seed: number;
  /** Of the clock's `now()`: when its last request would be done, and when it expires. */
  readonly doneAt: number;
  readonly expiresAt: number;
  canceledAt: number | undefined;
  settled: Settled[] | undefined;
}

/** The batches of one organization. Nothing runs: what has become of a batch is a matter of when somebody asks. */
export interface BatchBook {
  create(requests: readonly BatchRequest[], version: string | undefined): Batch;
  get(id: string): Batch | undefined;
  /** Newest first. */
  all(): Batch[];
  cancel(batch: Batch): void;
  delete(batch: Batch): void;
  isEnded(batch: Batch): boolean;
  describe(batch: Batch, origin: string): object;
  /** The results, a line each, in an order of their own. Undefined when there are none (any more). */
  lines(batch: Batch): Generator<{ customId: string; line: string }> | undefined;
  /** Requests of batches that have not ended. */
  readonly queued: number;
  /** Writes what has ended into the ledger. */
  refresh(): void;
  clear(): void;
}

export interface BatchParts {
  readonly config: Config;
  readonly cache: PromptCache;
  readonly newId: (prefix: string) => string;
  readonly record: (entry: OpenEntry) => void;
}

export function createBatches({ config, cache, newId, record }: BatchParts): BatchBook {
  const { clock } = config;
  const batches = new Map<string, Batch>();

  const endOf = (batch: Batch) => {
    const canceled =
      batch.canceledAt === undefined ? Number.POSITIVE_INFINITY : batch.canceledAt + config.batches.cancelMs;
    return Math.min(batch.doneAt, batch.expiresAt, canceled);
  };
  const isEnded = (batch: Batch) => {
    if (clock.now() < endOf(batch)) return false;
    batch.settled ??= settle(batch);
    return true;
  };
  const isGone = (batch: Batch) => clock.now() >= endOf(batch) + config.batches.resultsKeptMs;

  function settle(batch: Batch): Settled[] {
    const random = createRandom(batch.seed);
    const start = batch.createdAt;
    return batch.requests.map(({ customId, params }) => {
      const seed = hashText(`${batch.id} ${customId}`);
      const finishedAt = start + random() * (batch.doneAt - start);
      const decided = decide(batch, customId, params, finishedAt, seed);
      record(entryOf(batch, customId, params, decided, Math.min(finishedAt, endOf(batch))));
      return decided;
    });
  }

  function decide(
    batch: Batch,
    customId: string,
    params: unknown,
    finishedAt: number,
    seed: number,
  ): Settled {
    const received = {
      method: 'POST',
      path: '/v1/messages',
      query: '',
      headers: batch.version === undefined ? {} : { 'anthropic-version': batch.version },
      body: params,
      at: finishedAt,
    };
    const checked = checkMessage(received, config.models, 'message');
    if ('failure' in checked) {
      const { type, message } = checked.failure;
      return { result: { type, message } };
    }
    const { request, model } = checked;
    if (field(params, 'stream') === true) {
      return { result: { type: 'invalid_request_error', message: 'stream: not supported in batches' } };
    }
    if (finishedAt > endOf(batch)) {
      return { result: batch.canceledAt === undefined ? 'expired' : 'canceled' };
    }
    const random = createRandom(seed);
    const result = config.batches.result(customId, request, random);
    if (result !== 'succeeded') return { result };
    const count = countInput(request, model);
    if (count.total > model.maxInputTokens) {
      const message = `prompt is too long: ${count.total} tokens > ${model.maxInputTokens} maximum`;
      return { result: { type: 'invalid_request_error', message } };
    }
    const lookup = cache.look(count, automaticTtl(request), model, finishedAt);
    lookup.commit(finishedAt);
    const wanted = config.output(request, random);
    return {
      result,
      made: { request, model, wanted, split: lookup.split, messageId: newId('msg'), seed },
    };
  }

  function answerOf({ request, model, wanted, seed }: Made): Answer {
    const random = createRandom(seed);
    return planAnswer(request, model, wanted, (prefix) => createId(prefix, random));
  }

  function entryOf(
    batch: Batch,
    customId: string,
    params: unknown,
    { result, made }: Settled,
    at: number,
  ): OpenEntry {
    const answer = made === undefined ? undefined : answerOf(made);
    const split = made?.split ?? { uncached: 0, read: 0, created5m: 0, created1h: 0 };
    const input = split.uncached + split.created5m + split.created1h;
    const userId = field(field(params, 'metadata'), 'user_id');
    const model = field(params, 'model');
    const maxTokens = field(params, 'max_tokens');
    return {
      at: clock.wall() - clock.now() + at,
      arrivedAt: at,
      requestId: made?.messageId ?? '',
      path: '/v1/messages',
      model: typeof model === 'string' ? model : '',
      // Batches draw on no bucket of the interactive limits.
      bucket: undefined,
      userId: typeof userId === 'string' ? userId : undefined,
      batchId: batch.id,
      customId,
      stream: false,
      outcome: made === undefined ? (typeof result === 'object' ? 'invalid' : 'refused') : 'admitted',
      status: made === undefined ? (typeof result === 'object' ? statusOf(result.type) : 0) : 200,
      errorType: typeof result === 'object' ? result.type : made === undefined ? String(result) : undefined,
      errorCode: undefined,
      refusedBy: undefined,
      retryAfterSeconds: undefined,
      estimatedInputTokens: 0,
      inputTokens: input,
      cacheRead: split.read,
      cacheCreation: split.created5m + split.created1h,
      cacheCreation1h: split.created1h,
      outputTokens: answer?.outputTokens ?? 0,
      maxTokens: typeof maxTokens === 'number' ? maxTokens : 0,
      firstTokenAt: made === undefined ? undefined : at,
      endedAt: at,
      disconnected: false,
      generatedTokens: undefined,
    };
  }

  function lineOf(customId: string, { result, made }: Settled): string {
    if (made !== undefined) {
      const facts = {
        id: made.messageId,
        model: made.model.id,
        split: made.split,
        answer: answerOf(made),
        serviceTier: 'batch' as const,
      };
      return JSON.stringify({
        custom_id: customId,
        result: { type: 'succeeded', message: messageBody(facts) },
      });
    }
    if (typeof result === 'string') return JSON.stringify({ custom_id: customId, result: { type: result } });
    const { type, message = type } = result;
    const error = errorBody(
      { status: statusOf(type), type, message },
      createId('req', createRandom(hashText(customId))),
    );
    return JSON.stringify({ custom_id: customId, result: { type: 'errored', error } });
  }

  function counts(batch: Batch): Record<string, number> {
    const sums = { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
    if (!isEnded(batch)) return { ...sums, processing: batch.requests.length };
    for (const { result, made } of batch.settled ?? []) {
      if (made !== undefined) sums.succeeded += 1;
      else if (typeof result === 'object') sums.errored += 1;
      else if (result === 'canceled') sums.canceled += 1;
      else sums.expired += 1;
    }
    return sums;
  }

  /** The process's calendar time of a moment of its clock. */
  const instant = (at: number) => new Date(clock.wall() - clock.now() + at).toISOString();

  return {
    create(requests, version) {
      const id = newId('msgbatch');
      const seed = hashText(id) ^ config.seed;
      const now = clock.now();
      const batch: Batch = {
        id,
        createdAt: now,
        requests,
        version,
        seed,
        doneAt: now + Math.max(0, config.batches.durationMs(createRandom(seed))),
        expiresAt: now + config.batches.expiresAfterMs,
        canceledAt: undefined,
        settled: undefined,
      };
      batches.set(id, batch);
      return batch;
    },
    get: (id) => batches.get(id),
    all: () => [...batches.values()].reverse(),
    cancel(batch) {
      if (!isEnded(batch)) batch.canceledAt ??= clock.now();
    },
    delete(batch) {
      batches.delete(batch.id);
    },
    isEnded,
    describe(batch, origin) {
      const ended = isEnded(batch);
      const hasResults = ended && !isGone(batch);
      return {
        id: batch.id,
        type: 'message_batch',
        processing_status: ended ? 'ended' : batch.canceledAt === undefined ? 'in_progress' : 'canceling',
        request_counts: counts(batch),
        created_at: instant(batch.createdAt),
        expires_at: instant(batch.expiresAt),
        ended_at: ended ? instant(endOf(batch)) : null,
        cancel_initiated_at: batch.canceledAt === undefined ? null : instant(batch.canceledAt),
        archived_at: isGone(batch) ? instant(endOf(batch) + config.batches.resultsKeptMs) : null,
        results_url: hasResults ? `${origin}/v1/messages/batches/${batch.id}/results` : null,
      };
    },
    lines(batch) {
      if (!isEnded(batch) || isGone(batch)) return undefined;
      const settled = batch.settled ?? [];
      const order = shuffled(settled.length, createRandom(batch.seed ^ 0x9e3779b1));
      return (function* () {
        for (const index of order) {
          const request = batch.requests[index];
          const one = settled[index];
          if (request !== undefined && one !== undefined)
            yield { customId: request.customId, line: lineOf(request.customId, one) };
        }
      })();
    },
    get queued() {
      let sum = 0;
      for (const batch of batches.values()) if (!isEnded(batch)) sum += batch.requests.length;
      return sum;
    },
    refresh() {
      for (const batch of batches.values()) isEnded(batch);
    },
    clear() {
      batches.clear();
    },
  };
}

/** The numbers below `size`, in an order that follows from the seed. */
function shuffled(size: number, random: () => number): number[] {
  const order = Array.from({ length: size }, (_, index) => index);
  for (let last = size - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other] ?? 0, order[last] ?? 0];
  }
  return order;
}
