import { isRecord, text } from '../json.ts';
import type { Beyond } from './bounds.ts';
import { billOf, type Charge, type Terms } from './charges.ts';
import { SseParser } from './sse.ts';
import { foldUsage, NO_USAGE, tellsInput, tellsOutput, totalInput, type Usage } from './usage.ts';

/** What has been read of a response so far. */
export interface Reading {
  /** What is billed, as far as it is known; undefined until the API has told the input it charges. */
  readonly charges: readonly Charge[] | undefined;
  /** What of the usage no answer to the call can have. */
  readonly beyond: readonly Beyond[];
  /** Input of the prompt itself, before any tool of the API's added to it; undefined where nothing tells it apart. */
  readonly promptTokens: number | undefined;
  /** False where tools that run at the API may have added to that number, and the answer does not show it. */
  readonly isPromptSure: boolean;
  /** Output tokens: as told, or as many as the characters delivered must have taken. */
  readonly outputTokens: number;
  /** True once the answer has come to its end. */
  readonly isComplete: boolean;
  /** A stream that has shown nothing yet of what it is producing: thinking that is not displayed. */
  readonly isHidden: boolean;
  readonly stopReason: string | undefined;
  readonly messageId: string | undefined;
  readonly model: string | undefined;
  /** `error.type` of an error inside the stream. */
  readonly errorType: string | undefined;
}

/** Reads along with a response. It never throws: what it does not understand it passes over. */
export interface Reader {
  push(bytes: Uint8Array): void;
  /** The body has come to its end. */
  end(): void;
  readonly reading: Reading;
  /** Output tokens so far, without the rest of the reading: asked for with every chunk. */
  readonly outputTokens: number;
  readonly isInputKnown: boolean;
  /** The answer has produced so many output tokens at the least, whatever it has shown. */
  produced(outputTokens: number): void;
}

/** Characters of text per token, until a stream's own end says better; low, so that a hang-up is not undercharged. */
const CHARS_PER_TOKEN = 3.2;
/** A JSON answer larger than this is passed on unread. */
const MAX_JSON = 32 * 1024 * 1024;

class Message {
  readonly #terms: Terms | undefined;
  usage: Usage;
  promptTokens: number | undefined;
  isPromptSure = true;
  isInputKnown = false;
  /** The end of the answer has told its output. */
  isOutputFinal = false;
  isHidden = true;
  floor = 0;
  isComplete = false;
  stopReason: string | undefined;
  messageId: string | undefined;
  model: string | undefined;
  errorType: string | undefined;
  chars = 0;
  /** The API has gone on by itself, with a longer prompt each time. */
  hasServerSteps = false;

  constructor(terms: Terms | undefined) {
    this.#terms = terms;
    const { speed = NO_USAGE.speed, geography } = terms ?? {};
    this.usage = { ...NO_USAGE, speed, geography };
  }

  read(message: unknown): void {
    if (!isRecord(message)) return;
    this.messageId = text(message.id) ?? this.messageId;
    this.model = text(message.model) ?? this.model;
    this.stopReason = text(message.stop_reason) ?? this.stopReason;
    this.hasServerSteps = hasServerSteps(message);
    this.readUsage(message.usage);
  }

  readUsage(raw: unknown): void {
    if (!isRecord(raw)) return;
    this.usage = foldUsage(this.usage, raw);
    if (tellsInput(raw)) this.isInputKnown = true;
    this.isOutputFinal = tellsOutput(raw);
  }

  get #shown(): number {
    return Math.max(this.floor, Math.ceil(this.chars / CHARS_PER_TOKEN));
  }

  get outputTokens(): number {
    const { output = 0, rounds = 1 } = this.#terms?.bounds() ?? {};
    return Math.max(Math.min(this.usage.outputTokens, output * rounds), this.#shown);
  }

  get reading(): Reading {
    const { promptTokens, isPromptSure, isComplete, isHidden, stopReason, messageId, model, errorType } =
      this;
    // Told at the end; until then what was delivered is the better witness.
    const isTold = isComplete && this.isOutputFinal;
    const told = isTold ? this.usage.outputTokens : Math.max(this.usage.outputTokens, this.#shown);
    const bill =
      this.isInputKnown && this.#terms !== undefined
        ? billOf({ ...this.usage, outputTokens: told }, this.#terms, this.#shown)
        : undefined;
    return {
      charges: bill?.charges,
      beyond: bill?.beyond ?? [],
      promptTokens,
      isPromptSure,
      outputTokens: isTold ? Math.min(told, this.outputTokens) : this.outputTokens,
      isComplete,
      isHidden,
      stopReason,
      messageId,
      model,
      errorType,
    };
  }
}

/** Reads a message stream, event by event. */
export function streamReader(terms: Terms): Reader {
  const parser = new SseParser();
  const message = new Message(terms);
  return {
    push(bytes) {
      for (const { event, data } of parser.push(bytes)) readEvent(message, event, data);
    },
    end() {
      for (const { event, data } of parser.end()) readEvent(message, event, data);
    },
    get reading() {
      return message.reading;
    },
    get outputTokens() {
      return message.outputTokens;
    },
    get isInputKnown() {
      return message.isInputKnown;
    },
    produced(outputTokens) {
      message.floor = Math.max(message.floor, outputTokens);
    },
  };
}

function readEvent(message: Message, event: string, data: string): void {
  if (event === 'ping' || data === '') return;
  let content: unknown;
  try {
    content = JSON.parse(data);
  } catch {
    return;
  }
  if (!isRecord(content)) return;
  switch (content.type) {
    case 'message_start':
      message.read(content.message);
      if (message.isInputKnown) message.promptTokens = totalInput(message.usage);
      break;
    case 'content_block_start':
      message.isHidden = isRecord(content.content_block) && THINKING.has(text(content.content_block.type));
      break;
    case 'content_block_delta':
      if (isRecord(content.delta)) message.chars += deltaLength(content.delta);
      if (isRecord(content.delta) && deltaLength(content.delta) > 0) message.isHidden = false;
      break;
    case 'message_delta':
      if (isRecord(content.delta)) message.stopReason = text(content.delta.stop_reason) ?? message.stopReason;
      message.readUsage(content.usage);
      break;
    case 'message_stop':
      message.isComplete = true;
      break;
    case 'error':
      message.errorType = (isRecord(content.error) ? text(content.error.type) : undefined) ?? 'api_error';
      break;
    default:
  }
}

const THINKING: ReadonlySet<string | undefined> = new Set(['thinking', 'redacted_thinking']);

function deltaLength(delta: Record<string, unknown>): number {
  for (const field of ['text', 'partial_json', 'thinking']) {
    const value = delta[field];
    if (typeof value === 'string') return value.length;
  }
  return 0;
}

/** Reads a JSON message, whole, at its end. */
export function jsonReader(terms: Terms): Reader {
  const message = new Message(terms);
  let chunks: Uint8Array[] = [];
  let size = 0;
  return {
    push(bytes) {
      size += bytes.byteLength;
      if (size <= MAX_JSON) chunks.push(bytes);
      else chunks = [];
    },
    end() {
      if (size > MAX_JSON) {
        // Too long to be read is not broken: its reader has all of it.
        message.isComplete = true;
        return;
      }
      try {
        const whole: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
        message.read(whole);
        message.chars = contentLength(whole);
        message.isHidden = false;
        message.isComplete = true;
        readPrompt(message, terms);
      } catch {
        // Not JSON: the SDK will say so to its caller.
      }
      chunks = [];
    },
    get reading() {
      return message.reading;
    },
    get outputTokens() {
      return message.outputTokens;
    },
    get isInputKnown() {
      return message.isInputKnown;
    },
    produced(outputTokens) {
      message.floor = Math.max(message.floor, outputTokens);
    },
  };
}

/** Whether tools of the API's own have run: by their number, or by the blocks that they leave in the answer. */
function hasServerSteps({ usage, content }: Record<string, unknown>): boolean {
  const counts =
    isRecord(usage) && isRecord(usage.server_tool_use) ? Object.values(usage.server_tool_use) : [];
  if (counts.some((count) => typeof count === 'number' && count > 0)) return true;
  return (
    Array.isArray(content) &&
    content.some(
      (block) => isRecord(block) && (block.type === 'server_tool_use' || block.type === 'mcp_tool_use'),
    )
  );
}

/** Characters of an answer's content. */
function contentLength(message: unknown): number {
  const content = isRecord(message) && Array.isArray(message.content) ? message.content : [];
  return content.filter(isRecord).reduce((sum, block) => {
    const input = block.input === undefined ? 0 : JSON.stringify(block.input).length;
    return sum + deltaLength(block) + input;
  }, 0);
}

/** A whole message tells the prompt by its first iteration, or by its sum where no tool of the API's has added to it. */
function readPrompt(message: Message, terms: Terms): void {
  const { usage, isInputKnown, hasServerSteps } = message;
  const first = usage.iterations.find(({ type }) => type === 'message');
  if (first !== undefined) message.promptTokens = totalInput(first);
  else if (isInputKnown && !hasServerSteps) {
    message.promptTokens = totalInput(usage);
    message.isPromptSure = !terms.bounds().mayAddInput;
  }
}

/** Reads nothing: for what generates nothing. */
export const blindReader: Reader = {
  push() {},
  end() {},
  produced() {},
  reading: new Message(undefined).reading,
  outputTokens: 0,
  isInputKnown: false,
};
