import { field, isObject, listOf, textOf } from './json.ts';
import { imageTokens, pdfTokens } from './media.ts';
import type { ModelSpec } from './options.ts';

/** One cacheable piece of a request, in the order in which the API reads it: tools, system, messages. */
export interface Segment {
  readonly tokens: number;
  readonly block: unknown;
  /** Set where a cache breakpoint ends. */
  readonly ttl?: '5m' | '1h';
}

export interface InputCount {
  readonly total: number;
  readonly segments: readonly Segment[];
}

const PER_REQUEST = 5;
const PER_MESSAGE = 6;
const PER_TOOL = 11;

/**
 * Counts a request's input tokens as this API's own tokenizer does. On purpose it is not the estimate of
 * any client: words, digits, marks and scripts each count in their own way, and every text has a small
 * bias of its own, so that an estimator has something to learn and something it cannot.
 */
export function countInput(request: unknown, model: ModelSpec): InputCount {
  const segments: Segment[] = [];
  const tools = listOf(field(request, 'tools'));
  const overhead = tools.length === 0 ? 0 : toolOverhead(request, model);
  tools.forEach((tool, index) => {
    const schema = JSON.stringify(withoutCache(tool)) ?? '';
    const tokens = PER_TOOL + countText(schema, model) + (index === 0 ? overhead : 0);
    segments.push(segment(tool, tokens));
  });

  const system = field(request, 'system');
  if (typeof system === 'string') segments.push(segment(system, countText(system, model)));
  for (const block of listOf(system)) segments.push(segment(block, countBlock(block, model)));

  let extra = PER_REQUEST;
  for (const message of listOf(field(request, 'messages'))) {
    extra += PER_MESSAGE;
    const content = field(message, 'content');
    if (typeof content === 'string') segments.push(segment(message, countText(content, model)));
    for (const block of listOf(content)) segments.push(segment(block, countBlock(block, model)));
  }
  const total = segments.reduce((sum, each) => sum + each.tokens, extra);
  return { total, segments };
}

/** Tokens of one content block of any kind. A block that is not known counts as its JSON. */
function countBlock(block: unknown, model: ModelSpec): number {
  switch (field(block, 'type')) {
    case 'text':
      return countText(textOf(field(block, 'text')), model);
    case 'image':
      return imageTokens(field(block, 'source'), model.imageMaxTokens ?? 1_600);
    case 'document':
      return countDocument(field(block, 'source'), model);
    case 'tool_use':
      return 14 + countText(JSON.stringify(field(block, 'input') ?? {}), model);
    case 'tool_result':
      return 9 + countContent(field(block, 'content'), model);
    case 'thinking':
    case 'redacted_thinking':
      // Thinking of earlier turns is dropped from the context.
      return 0;
    default:
      return countText(JSON.stringify(withoutCache(block)) ?? '', model);
  }
}

function countContent(content: unknown, model: ModelSpec): number {
  if (typeof content === 'string') return countText(content, model);
  return listOf(content).reduce<number>((sum, block) => sum + countBlock(block, model), 0);
}

function countDocument(source: unknown, model: ModelSpec): number {
  switch (field(source, 'type')) {
    case 'base64':
      return pdfTokens(textOf(field(source, 'data')), model.tokenFactor ?? 1);
    case 'text':
      return countText(textOf(field(source, 'data')), model);
    case 'content':
      return countContent(field(source, 'content'), model);
    default:
      return 2_500;
  }
}

function toolOverhead(request: unknown, model: ModelSpec): number {
  const choice = field(field(request, 'tool_choice'), 'type');
  const overhead = model.toolOverhead ?? { auto: 346, forced: 313 };
  return choice === 'any' || choice === 'tool' ? overhead.forced : overhead.auto;
}

function segment(block: unknown, tokens: number): Segment {
  const control = field(block, 'cache_control');
  if (!isObject(control)) return { block, tokens };
  return { block, tokens, ttl: control.ttl === '1h' ? '1h' : '5m' };
}

/** The block as the cache and the counter see it: the mark itself is no content. */
export function withoutCache(block: unknown): unknown {
  if (!isObject(block) || block.cache_control === undefined) return block;
  const { cache_control: _, ...rest } = block;
  return rest;
}

const SPACE = 0;
const LETTER = 1;
const DIGIT = 2;
const MARK = 3;
const FOREIGN = 4;
const WIDE = 5;

/** How many characters of a run make one token, by kind of character. */
const RUN_LENGTH = [Number.POSITIVE_INFINITY, 6.2, 3, 1.7, 2.4, 0.9] as const;

/** Tokens of a text: at least 1 unless it is empty. */
export function countText(text: string, model: ModelSpec): number {
  if (text === '') return 0;
  let tokens = 0;
  let runKind = -1;
  let runLength = 0;
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    hash = Math.imul(hash ^ code, 0x01000193);
    const kind = kindOf(code);
    if (kind === runKind) {
      runLength += 1;
      continue;
    }
    tokens += runTokens(runKind, runLength);
    runKind = kind;
    runLength = 1;
  }
  tokens += runTokens(runKind, runLength);
  // ±3 %: the same text is always counted the same.
  const bias = 1 + (((hash >>> 0) % 61) - 30) / 1_000;
  return Math.max(1, Math.round(tokens * bias * (model.tokenFactor ?? 1)));
}

function runTokens(kind: number, length: number): number {
  // A single space belongs to the word after it; longer gaps (indentation) are tokens of their own.
  if (kind === SPACE) return length > 1 ? 1 : 0;
  const size = RUN_LENGTH[kind];
  return size === undefined || length === 0 ? 0 : Math.ceil(length / size);
}

function kindOf(code: number): number {
  if (code <= 32) return SPACE;
  if (code < 128) {
    if ((code >= 97 && code <= 122) || (code >= 65 && code <= 90)) return LETTER;
    return code >= 48 && code <= 57 ? DIGIT : MARK;
  }
  // CJK, Hangul, and both halves of a character beyond the basic plane, which covers emoji.
  return code >= 0x2e80 ? WIDE : FOREIGN;
}
