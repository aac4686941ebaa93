import { isRecord } from '../json.ts';
import { documentTokens, imageTokens, type Media } from './media.ts';
import { isDefined } from './tools.ts';

/**
 * What the prompt of a request consists of, by kinds that cost tokens differently. What the request carries and the
 * prompt does not have is left out: tools that are loaded later, tool results that the API clears, all before a summary.
 */
export interface InputFeatures {
  /** Characters of ASCII text. */
  ascii: number;
  /** Other UTF-16 units: CJK, emoji, accented letters. */
  wide: number;
  /** Characters of JSON: tool schemas, tool inputs. */
  json: number;
  /** Tokens of images and documents that are sent along, by their own rules. */
  media: number;
  /** The same of those that lie elsewhere: their size is a guess. */
  remote: number;
  messages: number;
  tools: number;
}

/** Strings longer than this are measured by samples: at most this many characters are looked at. */
const SAMPLE = 16_384;
/** What is no ASCII. */
const WIDE = /[\u0080-\uffff]/;
/** JSON nested deeper than this is no longer looked at. */
const MAX_DEPTH = 64;
/** Characters that hold as much text as one character of it does encrypted, in base64. */
const ENCRYPTED = 0.75;

export const noFeatures = (): InputFeatures => ({
  ascii: 0,
  wide: 0,
  json: 0,
  media: 0,
  remote: 0,
  messages: 0,
  tools: 0,
});

/** Blocks that the API takes out of the prompt before the model sees it. */
export type Cleared = ReadonlySet<unknown>;

/** Adds a system prompt, or what a message says: without its first `cut` blocks, and without what is cleared. */
export function addContent(
  content: unknown,
  features: InputFeatures,
  cut = 0,
  cleared: Cleared | undefined = undefined,
): void {
  if (typeof content === 'string') addText(content, features);
  else if (Array.isArray(content))
    for (let at = cut; at < content.length; at++)
      if (isRecord(content[at])) addBlock(content[at], features, 0, cleared);
}

function addBlock(
  block: Record<string, unknown>,
  features: InputFeatures,
  depth: number,
  cleared: Cleared | undefined,
): void {
  if (cleared?.has(block) === true) return;
  switch (block.type) {
    case 'text':
    case 'compaction': {
      const text = block.text ?? block.content;
      if (typeof text === 'string') addText(text, features);
      break;
    }
    case 'image':
      addMedia(imageTokens(block.source), features);
      break;
    case 'document':
      addDocument(block.source, features, depth);
      break;
    case 'tool_result':
      if (typeof block.content === 'string') addText(block.content, features);
      else addValue(block.content, features, depth);
      break;
    case 'tool_use':
    case 'server_tool_use':
    case 'mcp_tool_use':
      features.json += jsonLength({ name: block.name, input: block.input });
      break;
    case 'thinking':
      if (typeof block.thinking === 'string') addText(block.thinking, features);
      break;
    case 'redacted_thinking':
      if (typeof block.data === 'string') features.ascii += block.data.length * ENCRYPTED;
      break;
    // A tool that is only named stands among `tools`; files of a container are no part of the prompt.
    case 'tool_reference':
    case 'tool_removal':
    case 'container_upload':
      break;
    case 'tool_addition':
      addTool(block.tool, features);
      break;
    default:
      addFields(block, features, depth);
  }
}

function addTool(tool: unknown, features: InputFeatures): void {
  if (isRecord(tool) && isDefined(tool)) features.json += jsonLength(tool.definition);
}

/** A block of whatever kind: media in it count as media, and what is encrypted as the text that it is. */
function addFields(block: Record<string, unknown>, features: InputFeatures, depth: number): void {
  for (const [name, value] of Object.entries(block)) {
    if (name === 'cache_control' || name === 'signature' || name === 'encrypted_index') continue;
    if (name === 'encrypted_content' && typeof value === 'string') features.ascii += value.length * ENCRYPTED;
    else if (typeof value === 'object') addValue(value, features, depth);
    else features.json += name.length + String(value).length + 6;
  }
}

function addValue(value: unknown, features: InputFeatures, depth: number): void {
  if (depth >= MAX_DEPTH) return;
  if (Array.isArray(value)) for (const each of value) addValue(each, features, depth + 1);
  else if (isRecord(value)) addBlock(value, features, depth + 1, undefined);
  else if (value !== null && value !== undefined) features.json += String(value).length + 3;
}

function addDocument(source: unknown, features: InputFeatures, depth: number): void {
  if (!isRecord(source)) return;
  if (source.type === 'text' && typeof source.data === 'string') addText(source.data, features);
  else if (source.type === 'content') {
    if (typeof source.content === 'string') addText(source.content, features);
    else addValue(source.content, features, depth);
  } else addMedia(documentTokens(source), features);
}

function addMedia({ tokens, isRemote }: Media, features: InputFeatures): void {
  if (isRemote) features.remote += tokens;
  else features.media += tokens;
}

function addText(text: string, features: InputFeatures): void {
  let wide = 0;
  let seen = 0;
  // Evenly spaced windows, so that a long prompt costs no more to look at than a short one.
  const windows = text.length <= SAMPLE ? 1 : 16;
  const size = Math.min(text.length, SAMPLE) / windows;
  for (let window = 0; window < windows; window++) {
    const from = Math.floor((window * text.length) / windows);
    const to = Math.min(text.length, Math.floor(from + size));
    seen += to - from;
    // Most text is ASCII throughout, which is found out faster than counted.
    if (!WIDE.test(windows === 1 ? text : text.slice(from, to))) continue;
    for (let at = from; at < to; at++) if (text.charCodeAt(at) > 127) wide++;
  }
  const all = seen === 0 ? 0 : Math.round((wide / seen) * text.length);
  features.wide += all;
  features.ascii += text.length - all;
}

/** Length of a value as JSON; nothing of one that is nested too deep to be written. */
export function jsonLength(value: unknown): number {
  try {
    return JSON.stringify(value)?.length ?? 0;
  } catch {
    return 0;
  }
}
