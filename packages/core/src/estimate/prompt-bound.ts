import { isRecord } from '../json.ts';
import type { MessageBody } from '../request/read.ts';
import { jsonLength } from './content.ts';
import { loadedTools } from './tools.ts';

/** No token is taken to hold more characters than this, blanks and repetitions left out. English has four, code three. */
const MOST_CHARS_PER_TOKEN = 16;
/** A count of the API's own is an estimate too, as its documentation says: it is trusted to within a tenth. */
const COUNTED = 0.9;

/**
 * What a prompt has for certain: a call may be refused for good by this alone, since what is estimated or learned may be
 * wrong. Media, and what the API may take out of the prompt, count as nothing. Worked out when it is first asked for.
 */
export class PromptBound {
  readonly #body: MessageBody | undefined;
  readonly #mayBeCached: boolean;
  readonly #counted: number;
  #tokens: number | undefined;

  /** `counted`: tokens as the API has counted them. `mayBeCached`: what the cache gives is free of the input limit. */
  constructor(body: MessageBody | undefined, mayBeCached = false, counted = 0) {
    this.#body = body;
    this.#mayBeCached = mayBeCached;
    this.#counted = counted;
  }

  /** Tokens that the model reads at the least. */
  get promptTokens(): number {
    this.#tokens ??= Math.max(
      Math.floor(COUNTED * this.#counted),
      this.#body === undefined ? 0 : leastOf(this.#body),
    );
    return this.#tokens;
  }

  /** Input tokens that are charged at the least: of a prompt that the cache may give, none. */
  get chargedTokens(): number {
    return this.#mayBeCached ? 0 : this.promptTokens;
  }
}

function leastOf(body: MessageBody): number {
  // What the server takes out of the context, or puts a summary in place of, nobody here can tell for certain.
  if (body.context_management !== undefined && body.context_management !== null) return 0;
  let chars = charsOf(body.system);
  if (Array.isArray(body.messages)) {
    // A summary stands for all that is before it.
    const isSummed = jsonHas(body.messages, 'compaction');
    for (const message of body.messages)
      if (isRecord(message) && !isSummed) chars += charsOf(message.content);
  }
  for (const tool of loadedTools(body)) chars += jsonLength(tool) / 2;
  return Math.floor(chars / MOST_CHARS_PER_TOKEN);
}

const jsonHas = (messages: readonly unknown[], type: string): boolean =>
  messages.some(
    (message) =>
      isRecord(message) &&
      Array.isArray(message.content) &&
      message.content.some((block) => isRecord(block) && block.type === type),
  );

function charsOf(content: unknown): number {
  if (typeof content === 'string') return solid(content);
  if (!Array.isArray(content)) return 0;
  let chars = 0;
  for (const block of content)
    if (isRecord(block) && block.type === 'text' && typeof block.text === 'string')
      chars += solid(block.text);
  return chars;
}

/** Characters that are neither blank nor the same as the one before: a run of those may be one token, however long. */
function solid(text: string): number {
  let chars = 0;
  let before = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 32 && code !== before) chars++;
    before = code;
  }
  return chars;
}
