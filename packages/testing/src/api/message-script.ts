import type { Answer, AnswerBlock } from './answer.ts';
import { bendUsage, type UsageFault } from './faults.ts';
import type { CacheSplit } from './prompt-cache.ts';
import type { SseEvent } from './sse.ts';

export interface MessageFacts {
  readonly id: string;
  readonly model: string;
  readonly split: CacheSplit;
  readonly answer: Answer;
  /** @default 'standard' */
  readonly serviceTier?: 'standard' | 'batch';
  readonly speed?: 'fast';
  /** Where the inference ran. @default 'global' */
  readonly geography?: string;
  /** What the usage says in place of the truth. */
  readonly usages?: readonly UsageFault[];
  /** Bytes of each event that stands before the end of a stream. */
  readonly longEvents?: readonly number[];
}

/** The whole answer as one JSON body. */
export function messageBody(facts: MessageFacts): object {
  const { answer } = facts;
  return {
    ...emptyMessage(facts),
    content: answer.blocks.map(finishedBlock),
    stop_reason: answer.stopReason,
    usage: bendUsage(usage(facts, answer.outputTokens, answer.thinkingTokens), facts.usages ?? []),
  };
}

/** Writes the same answer as events, as far as tokens have been produced. */
export interface MessageScript {
  /** `message_start`. Its `output_tokens` is a small number that later counts replace. */
  start(): SseEvent[];
  /** Events that become due once `produced` tokens exist in all. */
  advance(produced: number): SseEvent[];
  /** `message_delta` with cumulative usage, and `message_stop`. */
  finish(): SseEvent[];
}

export function createMessageScript(facts: MessageFacts): MessageScript {
  const { answer } = facts;
  let block = 0;
  /** Tokens before the current block. */
  let before = 0;
  let isOpen = false;
  /** Characters of the current block already sent. */
  let sent = 0;
  let hasPinged = false;

  return {
    start() {
      const message = { ...emptyMessage(facts), usage: startUsage(facts) };
      return [{ type: 'message_start', data: { type: 'message_start', message } }];
    },
    advance(produced) {
      const events: SseEvent[] = [];
      for (let current = answer.blocks[block]; current !== undefined; current = answer.blocks[block]) {
        if (produced <= before) break;
        if (!isOpen) {
          events.push(event('content_block_start', { index: block, content_block: startedBlock(current) }));
          isOpen = true;
          sent = 0;
          if (!hasPinged) events.push({ type: 'ping', data: { type: 'ping' } });
          hasPinged = true;
        }
        const own = Math.min(current.tokens, produced - before);
        const upTo =
          own === current.tokens
            ? current.text.length
            : Math.floor((current.text.length * own) / current.tokens);
        if (upTo > sent) {
          const text = current.text.slice(sent, upTo).join('');
          events.push(event('content_block_delta', { index: block, delta: textDelta(current, text) }));
          sent = upTo;
        }
        if (own < current.tokens) break;
        if (current.kind === 'thinking') {
          const delta = { type: 'signature_delta', signature: current.signature };
          events.push(event('content_block_delta', { index: block, delta }));
        }
        events.push(event('content_block_stop', { index: block }));
        isOpen = false;
        before += current.tokens;
        block += 1;
      }
      return events;
    },
    finish() {
      const { split } = facts;
      const total = {
        input_tokens: split.uncached,
        cache_creation_input_tokens: split.created5m + split.created1h,
        cache_read_input_tokens: split.read,
        output_tokens: answer.outputTokens,
        output_tokens_details: thinkingDetails(answer.thinkingTokens),
        server_tool_use: null,
      };
      const delta = {
        stop_reason: answer.stopReason,
        stop_sequence: null,
        stop_details: null,
        container: null,
      };
      const longEvents = (facts.longEvents ?? []).map((bytes) =>
        event('filler', { text: 'x'.repeat(bytes) }),
      );
      return [
        ...longEvents,
        event('message_delta', { delta, usage: bendUsage(total, facts.usages ?? []) }),
        event('message_stop', {}),
      ];
    },
  };
}

function event(type: string, fields: object): SseEvent {
  return { type, data: { type, ...fields } };
}

function emptyMessage(facts: MessageFacts): object {
  return {
    id: facts.id,
    type: 'message',
    role: 'assistant',
    model: facts.model,
    content: [],
    container: null,
    diagnostics: null,
    stop_reason: null,
    stop_sequence: null,
    stop_details: null,
  };
}

/** What a stream says of its usage at its start: nothing yet of what is only known at its end. */
function startUsage(facts: MessageFacts): object {
  const { output_tokens, iterations, server_tool_use, ...known } = bendUsage(
    usage(facts, 1, undefined),
    facts.usages ?? [],
  );
  return { ...known, output_tokens: 1, server_tool_use: null };
}

function usage(
  facts: MessageFacts,
  outputTokens: number,
  thinkingTokens: number | undefined,
): Record<string, unknown> {
  const { split } = facts;
  return {
    input_tokens: split.uncached,
    cache_creation_input_tokens: split.created5m + split.created1h,
    cache_read_input_tokens: split.read,
    cache_creation: {
      ephemeral_5m_input_tokens: split.created5m,
      ephemeral_1h_input_tokens: split.created1h,
    },
    output_tokens: outputTokens,
    output_tokens_details: thinkingDetails(thinkingTokens ?? 0),
    server_tool_use: null,
    service_tier: facts.serviceTier ?? 'standard',
    inference_geo: facts.geography ?? 'global',
    speed: facts.speed ?? null,
  };
}

function thinkingDetails(tokens: number): object | null {
  return tokens > 0 ? { thinking_tokens: tokens } : null;
}

function startedBlock(block: AnswerBlock): object {
  switch (block.kind) {
    case 'thinking':
      return { type: 'thinking', thinking: '', signature: '' };
    case 'text':
      return { type: 'text', text: '' };
    case 'tool_use':
      return { type: 'tool_use', id: block.id, name: block.name, input: {} };
  }
}

function finishedBlock(block: AnswerBlock): object {
  const text = block.text.join('');
  switch (block.kind) {
    case 'thinking':
      return { type: 'thinking', thinking: text, signature: block.signature };
    case 'text':
      return { type: 'text', text };
    case 'tool_use':
      return { type: 'tool_use', id: block.id, name: block.name, input: inputOf(text) };
  }
}

/** A tool's input that `max_tokens` cut off is no JSON any more: the API then shows what it can, here nothing. */
function inputOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function textDelta(block: AnswerBlock, text: string): object {
  switch (block.kind) {
    case 'thinking':
      return { type: 'thinking_delta', thinking: text };
    case 'text':
      return { type: 'text_delta', text };
    case 'tool_use':
      return { type: 'input_json_delta', partial_json: text };
  }
}
