import { isRecord } from '../json.ts';
import type { MessageBody } from '../request/read.ts';

/**
 * What the input of a request consists of, by kinds that cost tokens differently. Base64 is never counted as
 * text: that is the largest error an estimate can make.
 */
export interface InputFeatures {
  /** Characters of ASCII text. */
  ascii: number;
  /** Other UTF-16 units: CJK, emoji, accented letters. */
  wide: number;
  /** Characters of JSON: tool schemas, tool inputs. */
  json: number;
  /** Tokens of images and documents, by their own rules. */
  media: number;
  messages: number;
  tools: number;
}

/** Strings longer than this are measured by samples: at most this many characters are looked at. */
const SAMPLE = 16_384;
/** What is no ASCII. */
const WIDE = /[\u0080-\uffff]/;
/** An image whose size cannot be told, at the usual ceiling of one image. */
const UNKNOWN_IMAGE_TOKENS = 1_600;
const MAX_IMAGE_TOKENS = 4_800;
/** Longest edge before the API scales an image down, in pixels. */
const MAX_IMAGE_EDGE = 1_568;
/** A PDF page: its text and its picture. The usual page is about 50 kB. */
const PDF_PAGE_TOKENS = 2_400;
const PDF_PAGE_BYTES = 50_000;

/** Start values; what an account really counts is learned (see `learn.ts`). */
const CHARS_PER_TOKEN = {
  older: { ascii: 3.8, wide: 1.1, json: 3 },
  newer: { ascii: 2.9, wide: 0.9, json: 2.3 },
};
const TOKENS_PER_MESSAGE = 4;
/** The system prompt that the API adds when there are tools. */
const TOOLS_PREAMBLE_TOKENS = 490;

/** Pure. Cost is linear in the request, with long texts sampled. */
export function readFeatures(body: MessageBody): InputFeatures {
  const features: InputFeatures = {
    ascii: 0,
    wide: 0,
    json: 0,
    media: 0,
    messages: 0,
    tools: 0,
  };
  addContent(body.system, features);
  if (Array.isArray(body.messages)) {
    features.messages = body.messages.length;
    for (const message of body.messages) {
      if (isRecord(message)) addContent(message.content, features);
    }
  }
  if (Array.isArray(body.tools)) {
    features.tools = body.tools.length;
    features.json += jsonLength(body.tools);
  }
  return features;
}

/** Tokens, before any learned correction. */
export function countTokens(features: InputFeatures, tokenizer: 'older' | 'newer'): number {
  const per = CHARS_PER_TOKEN[tokenizer];
  return Math.ceil(
    features.ascii / per.ascii +
      features.wide / per.wide +
      features.json / per.json +
      features.media +
      features.messages * TOKENS_PER_MESSAGE +
      (features.tools > 0 ? TOOLS_PREAMBLE_TOKENS : 0),
  );
}

function addContent(content: unknown, features: InputFeatures): void {
  if (typeof content === 'string') addText(content, features);
  else if (Array.isArray(content))
    for (const block of content) if (isRecord(block)) addBlock(block, features);
}

function addBlock(block: Record<string, unknown>, features: InputFeatures): void {
  switch (block.type) {
    case 'text':
      if (typeof block.text === 'string') addText(block.text, features);
      break;
    case 'image':
      features.media += imageTokens(block.source);
      break;
    case 'document':
      addDocument(block.source, features);
      break;
    case 'tool_result':
      addContent(block.content, features);
      break;
    case 'thinking':
      if (typeof block.thinking === 'string') addText(block.thinking, features);
      break;
    default:
      features.json += jsonLength(block);
  }
}

function addDocument(source: unknown, features: InputFeatures): void {
  if (!isRecord(source)) return;
  if (source.type === 'text' && typeof source.data === 'string') addText(source.data, features);
  else if (source.type === 'content') addContent(source.content, features);
  else {
    const bytes = typeof source.data === 'string' ? source.data.length * 0.75 : PDF_PAGE_BYTES;
    features.media += Math.max(1, Math.round(bytes / PDF_PAGE_BYTES)) * PDF_PAGE_TOKENS;
  }
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

function jsonLength(value: unknown): number {
  return JSON.stringify(value)?.length ?? 0;
}

function imageTokens(source: unknown): number {
  if (!isRecord(source) || source.type !== 'base64' || typeof source.data !== 'string')
    return UNKNOWN_IMAGE_TOKENS;
  const size = imageSize(Buffer.from(source.data.slice(0, 4096), 'base64'));
  if (size === undefined) return UNKNOWN_IMAGE_TOKENS;
  const scale = Math.min(1, MAX_IMAGE_EDGE / Math.max(size.width, size.height));
  const tokens = (size.width * scale * size.height * scale) / 750;
  return Math.min(MAX_IMAGE_TOKENS, Math.max(1, Math.ceil(tokens)));
}

/** Width and height off the header of a PNG, GIF, WebP or JPEG. */
function imageSize(bytes: Buffer): { width: number; height: number } | undefined {
  if (bytes.length < 30) return undefined;
  if (bytes.readUInt32BE(0) === 0x89504e47)
    return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
  if (bytes.toString('latin1', 0, 4) === 'GIF8')
    return { width: bytes.readUInt16LE(6), height: bytes.readUInt16LE(8) };
  if (bytes.toString('latin1', 0, 4) === 'RIFF' && bytes.toString('latin1', 8, 12) === 'WEBP')
    return webpSize(bytes);
  if (bytes.readUInt16BE(0) === 0xffd8) return jpegSize(bytes);
  return undefined;
}

function webpSize(bytes: Buffer): { width: number; height: number } | undefined {
  switch (bytes.toString('latin1', 12, 16)) {
    case 'VP8X':
      return {
        width: bytes.readUIntLE(24, 3) + 1,
        height: bytes.readUIntLE(27, 3) + 1,
      };
    case 'VP8 ':
      return {
        width: bytes.readUInt16LE(26) & 0x3fff,
        height: bytes.readUInt16LE(28) & 0x3fff,
      };
    case 'VP8L': {
      const bits = bytes.readUInt32LE(21);
      return {
        width: (bits & 0x3fff) + 1,
        height: ((bits >>> 14) & 0x3fff) + 1,
      };
    }
    default:
      return undefined;
  }
}

function jpegSize(bytes: Buffer): { width: number; height: number } | undefined {
  let at = 2;
  while (at + 9 < bytes.length) {
    if (bytes[at] !== 0xff) return undefined;
    const marker = bytes[at + 1] ?? 0;
    // Start-of-frame markers, but for the three of that range that mean something else.
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      return {
        height: bytes.readUInt16BE(at + 5),
        width: bytes.readUInt16BE(at + 7),
      };
    }
    at += 2 + bytes.readUInt16BE(at + 2);
  }
  return undefined;
}
