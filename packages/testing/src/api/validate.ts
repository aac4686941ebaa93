import { type ApiFailure, failure } from './errors.ts';
import { field, isObject, listOf } from './json.ts';
import { findModel } from './models.ts';
import type { MessageRequest, ModelSpec, ReceivedRequest } from './options.ts';

const VERSIONS = ['2023-01-01', '2023-06-01', '2026-10-21'] as const;
const CURRENT_VERSION = '2026-10-21';
const MAX_BREAKPOINTS = 4;

export interface Access {
  readonly keys: readonly string[] | undefined;
  readonly requireVersion: boolean;
}

/** Checks key and version of any request. */
export function checkAccess(request: ReceivedRequest, access: Access): ApiFailure | undefined {
  const bearer = /^Bearer\s+(.+)$/i.exec(request.headers.authorization ?? '')?.[1];
  const key = (bearer ?? request.headers['x-api-key'] ?? '').trim();
  if (key === '')
    return failure(401, 'Authentication is required: set the Authorization or x-api-key header.');
  if (access.keys !== undefined && !access.keys.includes(key)) {
    return failure(401, bearer === undefined ? 'invalid x-api-key' : 'Invalid bearer token');
  }
  const version = request.headers['anthropic-version'];
  if (version === undefined) {
    return access.requireVersion ? failure(400, 'anthropic-version: header is required') : undefined;
  }
  const isKnown = VERSIONS.some((each) => each === version);
  return isKnown ? undefined : failure(400, `anthropic-version: "${version}" is not a valid version`);
}

export type Checked =
  | { readonly request: MessageRequest; readonly model: ModelSpec }
  | { readonly failure: ApiFailure };

/** Checks the body of a message, or of a `count_tokens`, which has no `max_tokens`. */
export function checkMessage(
  received: ReceivedRequest,
  models: readonly ModelSpec[],
  kind: 'message' | 'count',
): Checked {
  const body = received.body;
  if (!isObject(body)) {
    return invalid('The request body is not valid JSON: expected an object.');
  }
  const modelId = body.model;
  const messages = body.messages;
  if (modelId === undefined) return invalid('model: Field required');
  if (typeof modelId !== 'string') return invalid('model: Input should be a valid string');
  if (messages === undefined) return invalid('messages: Field required');
  if (!Array.isArray(messages)) return invalid('messages: Input should be a valid list');
  if (messages.length === 0) return invalid('messages: at least one message is required');

  const model = findModel(models, modelId);
  if (model === undefined || model.lifecycle === 'retired') {
    return { failure: failure(404, `model: ${modelId}`) };
  }
  const maxTokens = kind === 'count' ? 1 : body.max_tokens;
  if (maxTokens === undefined) return invalid('max_tokens: Field required');
  if (typeof maxTokens !== 'number' || !Number.isInteger(maxTokens)) {
    return invalid('max_tokens: Input should be a valid integer');
  }
  if (maxTokens < 1) return invalid('max_tokens: Input should be greater than or equal to 1');
  if (maxTokens > model.maxTokens) {
    return invalid(
      `max_tokens: ${maxTokens} > ${model.maxTokens}, which is the maximum allowed number of output tokens for ${modelId}`,
    );
  }
  const problem =
    checkTurns(messages) ??
    (kind === 'message' ? checkThinking(body, maxTokens) : undefined) ??
    checkVersionRules(body, received.headers['anthropic-version']) ??
    checkBreakpoints(body);
  if (problem !== undefined) return invalid(problem);
  return { request: { ...body, model: modelId, max_tokens: maxTokens, messages }, model };
}

function checkTurns(messages: readonly unknown[]): string | undefined {
  for (const [index, message] of messages.entries()) {
    const role = field(message, 'role');
    if (role === undefined) return `messages.${index}.role: Field required`;
    if (role !== 'user' && role !== 'assistant' && role !== 'system') {
      return `messages.${index}.role: Input should be 'user' or 'assistant'`;
    }
    const content = field(message, 'content');
    if (content === undefined) return `messages.${index}.content: Field required`;
    if (typeof content !== 'string' && !Array.isArray(content)) {
      return `messages.${index}.content: Input should be a valid list`;
    }
    const isLast = index === messages.length - 1;
    if (content.length === 0 && !(isLast && role === 'assistant')) {
      return `messages.${index}: all messages must have non-empty content`;
    }
  }
  return undefined;
}

function checkThinking(body: unknown, maxTokens: number): string | undefined {
  const thinking = field(body, 'thinking');
  if (field(thinking, 'type') !== 'enabled') return undefined;
  const budget = field(thinking, 'budget_tokens');
  if (typeof budget !== 'number') return 'thinking.enabled.budget_tokens: Field required';
  if (budget < 1_024) return 'thinking.enabled.budget_tokens: Input should be greater than or equal to 1024';
  if (budget >= maxTokens) return '`max_tokens` must be greater than `thinking.budget_tokens`.';
  return undefined;
}

/** Rules that came with version 2026-10-21. */
function checkVersionRules(body: unknown, version: string | undefined): string | undefined {
  if (version !== CURRENT_VERSION) return undefined;
  for (const name of ['temperature', 'top_p', 'top_k']) {
    if (field(body, name) !== undefined) return `${name}: Extra inputs are not permitted`;
  }
  for (const [index, message] of listOf(field(body, 'messages')).entries()) {
    const blocks = listOf(field(message, 'content'));
    const role = field(message, 'role');
    const hasDocument = blocks.some((block) => field(block, 'type') === 'document');
    if (role === 'assistant' && hasDocument) {
      return `messages.${index}.content: document blocks are not permitted in assistant messages`;
    }
    const isCited = blocks.some(
      (block) => field(block, 'type') === 'text' && field(block, 'citations') != null,
    );
    if (role === 'user' && isCited)
      return `messages.${index}.content.citations: Extra inputs are not permitted`;
  }
  return undefined;
}

function checkBreakpoints(body: unknown): string | undefined {
  const blocks = [
    ...listOf(field(body, 'tools')),
    ...listOf(field(body, 'system')),
    ...listOf(field(body, 'messages')).flatMap((message) => listOf(field(message, 'content'))),
  ];
  const marks = blocks.map((block) => field(block, 'cache_control')).filter(isObject);
  const automatic = isObject(field(body, 'cache_control')) ? 1 : 0;
  if (marks.length + automatic > MAX_BREAKPOINTS) {
    return `A maximum of ${MAX_BREAKPOINTS} blocks with cache_control may be provided. Found ${marks.length + automatic}.`;
  }
  let isShort = false;
  for (const mark of marks) {
    if (mark.ttl === '1h' && isShort) {
      return "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block";
    }
    isShort ||= mark.ttl !== '1h';
  }
  return undefined;
}

function invalid(message: string): Checked {
  return { failure: failure(400, message) };
}
