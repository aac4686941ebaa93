import { field, textOf } from './json.ts';

/** An image whose size cannot be read (a URL, a file id, a broken header) counts as this many tokens. */
const UNKNOWN_IMAGE_TOKENS = 1_200;

/** Text and picture of one PDF page, in tokens of the older tokenizer. */
const PDF_TEXT_TOKENS = 1_400;
const PDF_PICTURE_TOKENS = 900;

/** Tokens of an image: width × height / 750, never more than the model's ceiling. */
export function imageTokens(source: unknown, ceiling: number): number {
  const data = textOf(field(source, 'data'));
  const size = field(source, 'type') === 'base64' && data !== '' ? imageSize(data) : undefined;
  if (size === undefined) return Math.min(UNKNOWN_IMAGE_TOKENS, ceiling);
  return Math.min(ceiling, Math.max(1, Math.ceil((size.width * size.height) / 750)));
}

/** Tokens of a PDF, by its number of pages. */
export function pdfTokens(base64: string, tokenFactor: number): number {
  const bytes = Buffer.from(base64, 'base64');
  const pages = bytes.toString('latin1').match(/\/Type\s*\/Page(?![a-zA-Z])/g)?.length;
  // Page objects inside compressed streams cannot be seen: go by the size instead.
  const count = pages ?? Math.max(1, Math.round(bytes.length / 50_000));
  return Math.round(count * (PDF_TEXT_TOKENS * tokenFactor + PDF_PICTURE_TOKENS));
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Width and height from the header of a PNG, GIF, WebP or JPEG; undefined if it is none of them. */
export function imageSize(base64: string): Size | undefined {
  const head = Buffer.from(base64.slice(0, 64), 'base64');
  if (head.length < 30) return undefined;
  if (head.readUInt32BE(0) === 0x89504e47) {
    return { width: head.readUInt32BE(16), height: head.readUInt32BE(20) };
  }
  const tag = head.toString('latin1', 0, 4);
  if (tag === 'GIF8') return { width: head.readUInt16LE(6), height: head.readUInt16LE(8) };
  if (tag === 'RIFF' && head.toString('latin1', 8, 12) === 'WEBP') return webpSize(head);
  if (head.readUInt16BE(0) === 0xffd8) return jpegSize(Buffer.from(base64, 'base64'));
  return undefined;
}

function webpSize(head: Buffer): Size | undefined {
  switch (head.toString('latin1', 12, 16)) {
    case 'VP8 ':
      return { width: head.readUInt16LE(26) & 0x3fff, height: head.readUInt16LE(28) & 0x3fff };
    case 'VP8L': {
      const bits = head.readUInt32LE(21);
      return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
    }
    case 'VP8X':
      return { width: head.readUIntLE(24, 3) + 1, height: head.readUIntLE(27, 3) + 1 };
    default:
      return undefined;
  }
}

/** Walks the JPEG's segments to its frame header (SOF0–SOF15 without the tables DHT, JPG and DAC). */
function jpegSize(bytes: Buffer): Size | undefined {
  let offset = 2;
  while (offset + 9 < bytes.length) {
    if (bytes[offset] !== 0xff) return undefined;
    const marker = bytes[offset + 1] ?? 0;
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      return { height: bytes.readUInt16BE(offset + 5), width: bytes.readUInt16BE(offset + 7) };
    }
    offset += 2 + bytes.readUInt16BE(offset + 2);
  }
  return undefined;
}
