import { type Charge, isRefusal, type Refusal } from './account.ts';
import { type Answer, planAnswer } from './answer.ts';
import { deliverJson, deliverStream } from './delivery.ts';
import { failure } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { bendHeaders, type FaultSet } from './faults.ts';
import { startGeneration } from './generation.ts';
import { field } from './json.ts';
import type { OpenEntry } from './ledger.ts';
import type { MessageRequest, ModelSpec } from './options.ts';
import type { Organization } from './organization.ts';
import type { CacheLookup } from './prompt-cache.ts';
import { createRandom, hashText } from './random.ts';
import type { Headers } from './rate-limit-headers.ts';
import { countInput } from './tokens.ts';

/** `POST /v1/messages`: count, ask the bucket, plan the answer, write it. */
export async function answerMessage(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry,
  request: MessageRequest,
  model: ModelSpec,
  faults: FaultSet,
): Promise<void> {
  const { config, clock } = organization;
  const bodyHash = hashText(JSON.stringify(request));
  const random = organization.randomFor(bodyHash);
  const count = countInput(request, model);
  if (count.total > model.maxInputTokens) {
    refuseLength(exchange, entry, count.total, model);
    return;
  }

  const arrivedAt = clock.now();
  entry.arrivedAt = arrivedAt;
  const lookup = organization.cache.look(count, automaticTtl(request), model, arrivedAt);
  const account = organization.accountFor(model.id, request.model);
  const countsReads = account?.limits.cacheReadsCount === true;
  const input = lookup.split.uncached + lookup.split.created5m + lookup.split.created1h;
  const charged = input + (countsReads ? lookup.split.read : 0);
  const estimate = estimateInput(charged, bodyHash ^ config.seed, config.estimateError);
  entry.estimatedInputTokens = estimate;

  if (organization.running.size >= config.capacity) {
    failEntry(entry, 'refused', 529, 'overloaded_error');
    exchange.fail(failure(529, 'Overloaded'));
    return;
  }
  if (organization.running.size >= config.concurrent) {
    failEntry(entry, 'refused', 429, 'rate_limit_error');
    const message = 'Number of concurrent connections has exceeded your rate limit. Please try again later.';
    exchange.fail(failure(429, message), limitHeaders(organization, entry, faults));
    return;
  }
  const decision = account?.admit(arrivedAt, { inputTokens: estimate, maxTokens: request.max_tokens });
  if (decision !== undefined && isRefusal(decision)) {
    if (config.refusedConsume) account?.take(arrivedAt, 'requests', 1);
    refuse(organization, exchange, entry, decision, faults);
    return;
  }

  const answer = planAnswer(request, model, config.output(request, random), organization.newId);
  fillEntry(entry, lookup, charged);
  const generation = begin(organization, exchange, entry, decision, answer, charged, random);
  const headers = limitHeaders(organization, entry, faults);
  const isFast = field(request, 'speed') === 'fast';
  const geography = field(request, 'inference_geo');
  const facts = {
    id: organization.newId('msg'),
    model: faults.usages.find((fault) => fault.model !== undefined)?.model ?? model.id,
    split: lookup.split,
    answer,
    ...(isFast ? { speed: 'fast' as const } : {}),
    ...(typeof geography === 'string' ? { geography } : {}),
    usages: faults.usages,
    longEvents: faults.longEvents.map(({ bytes }) => bytes),
  };
  const deliver = request.stream === true ? deliverStream : deliverJson;
  try {
    await deliver({
      organization,
      exchange,
      entry,
      generation,
      facts,
      headers,
      faults,
      random,
      commit: lookup.commit,
    });
  } finally {
    generation.end();
    organization.running.delete(entry);
  }
}

function begin(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry,
  charge: Charge | undefined,
  answer: Answer,
  inputTokens: number,
  random: () => number,
) {
  const { clock, config } = organization;
  const firstTokenAt = clock.now() + Math.max(0, config.timeToFirstTokenMs(random));
  const tokensPerMs = Math.max(Number.MIN_VALUE, config.tokensPerSecond(random)) / 1_000;
  const endAt = firstTokenAt + answer.outputTokens / tokensPerMs;
  const plan = { inputTokens, firstTokenAt, endAt, outputTokens: answer.outputTokens };
  const generation = startGeneration(clock, plan, charge, entry);
  organization.running.set(entry, generation);
  exchange.onDisconnect(() => generation.disconnect());
  return generation;
}

function fillEntry(entry: OpenEntry, lookup: CacheLookup, charged: number): void {
  entry.outcome = 'admitted';
  entry.status = 200;
  entry.inputTokens = charged;
  entry.cacheRead = lookup.split.read;
  entry.cacheCreation = lookup.split.created5m + lookup.split.created1h;
  entry.cacheCreation1h = lookup.split.created1h;
}

function refuse(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry,
  refusal: Refusal,
  faults: FaultSet,
): void {
  failEntry(entry, 'refused', 429, 'rate_limit_error');
  entry.refusedBy = refusal.dimension;
  entry.retryAfterSeconds = refusal.retryAfterSeconds;
  const headers = limitHeaders(organization, entry, faults, retryAfter(refusal));
  exchange.fail(failure(429, refusalMessage(refusal, entry.model)), headers);
}

export function retryAfter(refusal: Refusal): Headers {
  // A request larger than a whole minute's limit never fits: no wait is promised.
  return refusal.retryAfterSeconds === undefined ? {} : { 'retry-after': String(refusal.retryAfterSeconds) };
}

/** What the dimension is called in the message of a 429. */
const UNIT = { requests: 'requests', inputTokens: 'input tokens', outputTokens: 'output tokens' } as const;

export function refusalMessage(refusal: Refusal, model: string): string {
  const limit = refusal.limitPerMinute.toLocaleString('en-US');
  return (
    `This request would exceed your organization's rate limit of ${limit} ${UNIT[refusal.dimension]} per minute ` +
    `(model: ${model}). For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response ` +
    'headers for current usage. Please reduce the prompt length or the maximum tokens requested, or try again later.'
  );
}

/** The bucket's headers, bent by the faults that concern them. */
export function limitHeaders(
  organization: Organization,
  entry: OpenEntry,
  faults: FaultSet,
  more: Headers = {},
): Headers {
  if (entry.bucket === undefined) return bendHeaders(more, faults.headers, {});
  const { now, first } = organization.limitHeaders(organization.account(entry.bucket));
  return bendHeaders({ ...now, ...more }, faults.headers, first);
}

export function failEntry(
  entry: OpenEntry,
  outcome: OpenEntry['outcome'],
  status: number,
  type: string,
): void {
  entry.outcome = outcome;
  entry.status = status;
  entry.errorType = type;
}

function refuseLength(exchange: Exchange, entry: OpenEntry, tokens: number, model: ModelSpec): void {
  failEntry(entry, 'invalid', 400, 'invalid_request_error');
  exchange.fail(failure(400, `prompt is too long: ${tokens} tokens > ${model.maxInputTokens} maximum`));
}

export function automaticTtl(request: MessageRequest): '5m' | '1h' | undefined {
  const control = field(request, 'cache_control');
  if (control === undefined || control === null) return undefined;
  return field(control, 'ttl') === '1h' ? '1h' : '5m';
}

/** The charge on arrival: near the real count, off by a share that depends on the text alone. */
function estimateInput(tokens: number, seed: number, error: number): number {
  const share = createRandom(seed ^ 0x27d4eb2f)() * 2 - 1;
  return Math.max(1, Math.round(tokens * (1 + share * error)));
}
