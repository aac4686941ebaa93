import { deflateSync } from 'node:zlib';
import { DEFAULT_MODELS } from '@headgate/testing';
import { describe, expect, test } from 'vitest';
import { imageSize } from '../../packages/testing/src/api/media.ts';
import { countInput, countText } from '../../packages/testing/src/api/tokens.ts';

const model = (id: string) => {
  const found = DEFAULT_MODELS.find((each) => each.id === id);
  if (found === undefined) throw new Error(id);
  return found;
};
const older = model('claude-sonnet-4-6');
const newer = model('claude-opus-5');

const PROSE =
  'The committee considered the proposal at length before deciding that further work was needed. It asked for figures, ' +
  'for a plan of the works, and for an account of what had been spent so far. ';

const png = (width: number, height: number) => {
  const bytes = Buffer.alloc(64);
  Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex').copy(bytes);
  bytes.writeUInt32BE(width, 16);
  bytes.writeUInt32BE(height, 20);
  return bytes.toString('base64');
};

const asks = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const image = (data: string) => ({
  type: 'image',
  source: { type: 'base64', media_type: 'image/png', data },
});

describe('token counts', () => {
  test('prose takes about four characters a token, and the newer tokenizer 30 % more', () => {
    const text = PROSE.repeat(20);
    const tokens = countText(text, older);
    expect(text.length / tokens).toBeGreaterThan(3.3);
    expect(text.length / tokens).toBeLessThan(5);
    expect(countText(text, newer) / tokens).toBeCloseTo(1.3, 1);
  });

  test('CJK takes about one a character, code more than prose', () => {
    expect(countText('水は低きに流れる'.repeat(50), older) / 400).toBeGreaterThan(0.8);
    const code = 'if (a[i]!==b){return x*(y+1);}\n'.repeat(40);
    expect(code.length / countText(code, older)).toBeLessThan(3);
  });

  test('is the same every time', () => {
    expect(countText(PROSE, newer)).toBe(countText(PROSE, newer));
    expect(countText('', newer)).toBe(0);
    expect(countText('a', newer)).toBe(1);
  });

  test('an image counts by its pixels, never by its bytes', () => {
    const small = countInput(asks([image(png(750, 100))]), older).total;
    const large = countInput(asks([image(png(1_500, 400))]), older).total;
    expect(large - small).toBe(800 - 100);
    const huge = countInput(asks([image(png(9_000, 9_000))]), older).total;
    expect(huge).toBeLessThan(1_650);
    expect(countInput(asks([image(png(9_000, 9_000))]), newer).total).toBeGreaterThan(4_700);
    const noise = Buffer.alloc(300_000, 7).toString('base64');
    expect(countInput(asks([image(noise)]), older).total).toBeLessThan(1_700);
  });

  test('a PDF counts by its pages', () => {
    const pdf = (pages: number) =>
      Buffer.from(`%PDF-1.4 ${'<< /Type /Page /Parent 1 0 R >> '.repeat(pages)} /Type /Pages`);
    const count = (bytes: Buffer) => {
      const source = {
        type: 'base64',
        media_type: 'application/pdf',
        data: bytes.toString('base64'),
      };
      return countInput(asks([{ type: 'document', source }]), older).total;
    };
    expect(count(pdf(3)) - count(pdf(1))).toBe(2 * 2_300);
    expect(count(deflateSync(Buffer.alloc(2_000)))).toBeLessThan(3_000);
  });

  test('tool results, documents of text and blocks of blocks count what they hold', () => {
    const plain = countInput(asks([{ type: 'text', text: PROSE }]), older).total;
    const nested = {
      type: 'tool_result',
      tool_use_id: 'x',
      content: [{ type: 'text', text: PROSE }],
    };
    expect(countInput(asks([nested]), older).total).toBe(plain + 9);
    const document = {
      type: 'document',
      source: { type: 'text', media_type: 'text/plain', data: PROSE },
    };
    expect(countInput(asks([document]), older).total).toBe(plain);
  });
});

describe('image headers', () => {
  test.each([
    ['PNG', Buffer.from(png(640, 480), 'base64')],
    ['GIF', gif(640, 480)],
    ['JPEG', jpeg(640, 480)],
    ['WebP, lossy', webp('VP8 ', (bytes) => bytes.writeUInt32LE((480 << 16) | 640, 26))],
    ['WebP, lossless', webp('VP8L', (bytes) => bytes.writeUInt32LE((479 << 14) | 639, 21))],
    ['WebP, extended', webp('VP8X', (bytes) => bytes.writeUIntLE(479 * 2 ** 24 + 639, 24, 6))],
  ])('%s', (_, bytes) => {
    expect(imageSize(bytes.toString('base64'))).toEqual({
      width: 640,
      height: 480,
    });
  });

  test('anything else has none', () => {
    expect(imageSize(Buffer.alloc(100, 65).toString('base64'))).toBeUndefined();
    expect(imageSize('')).toBeUndefined();
  });
});

function gif(width: number, height: number): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.write('GIF89a', 'latin1');
  bytes.writeUInt16LE(width, 6);
  bytes.writeUInt16LE(height, 8);
  return bytes;
}

/** Two tables before the frame header, as cameras write them. */
function jpeg(width: number, height: number): Buffer {
  const table = Buffer.alloc(202);
  table.writeUInt16BE(0xffe1, 0);
  table.writeUInt16BE(200, 2);
  const frame = Buffer.alloc(20);
  frame.writeUInt16BE(0xffc2, 0);
  frame.writeUInt16BE(17, 2);
  frame[4] = 8;
  frame.writeUInt16BE(height, 5);
  frame.writeUInt16BE(width, 7);
  return Buffer.concat([Buffer.from([0xff, 0xd8]), table, table, frame]);
}

function webp(kind: string, write: (bytes: Buffer) => unknown): Buffer {
  const bytes = Buffer.alloc(48);
  bytes.write('RIFF', 0, 'latin1');
  bytes.write(`WEBP${kind}`, 8, 'latin1');
  write(bytes);
  return bytes;
}
