import { isRecord } from '../json.ts';

/** Tokens of images and documents, by their own rules: base64 is never counted as text. Pure. */

/** An image whose size cannot be told, at the usual ceiling of one image. */
const UNKNOWN_IMAGE_TOKENS = 1_600;
const MAX_IMAGE_TOKENS = 4_800;
/** Longest edge before the API scales an image down, in pixels. */
const MAX_IMAGE_EDGE = 1_568;
/** A PDF page: its text and its picture. The usual page is about 50 kB. */
const PDF_PAGE_TOKENS = 2_400;
const PDF_PAGE_BYTES = 50_000;
/** Pages of a document that lies elsewhere, whose size nobody here knows: what is learned of an account's documents corrects it. */
const UNKNOWN_PAGES = 10;

/** A piece of media, and whether it is sent along: what lies elsewhere (a URL, a file of the API's) is large in few bytes. */
export interface Media {
  readonly tokens: number;
  readonly isRemote: boolean;
}

/** A document that is not text. */
export function documentTokens(source: Record<string, unknown>): Media {
  if (typeof source.data !== 'string') return { tokens: UNKNOWN_PAGES * PDF_PAGE_TOKENS, isRemote: true };
  const pages = Math.max(1, Math.round((source.data.length * 0.75) / PDF_PAGE_BYTES));
  return { tokens: pages * PDF_PAGE_TOKENS, isRemote: false };
}

export function imageTokens(source: unknown): Media {
  if (!isRecord(source) || source.type !== 'base64' || typeof source.data !== 'string')
    return { tokens: UNKNOWN_IMAGE_TOKENS, isRemote: true };
  const size = imageSize(Buffer.from(source.data.slice(0, 4096), 'base64'));
  if (size === undefined) return { tokens: UNKNOWN_IMAGE_TOKENS, isRemote: false };
  const scale = Math.min(1, MAX_IMAGE_EDGE / Math.max(size.width, size.height));
  const tokens = (size.width * scale * size.height * scale) / 750;
  return { tokens: Math.min(MAX_IMAGE_TOKENS, Math.max(1, Math.ceil(tokens))), isRemote: false };
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
