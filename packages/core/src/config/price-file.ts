import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { ConfigError } from '../errors.ts';
import { describeValue, problemsIn } from './parse.ts';
import { type PriceConfig, priceFileSchema } from './schema.ts';

/** Prices by model: what a price file holds, and what stands under `prices` beside the file's name. */
export type PriceList = Readonly<Record<string, PriceConfig>>;

/** A price file as it was read. */
export interface ReadPrices {
  readonly text: string;
  readonly prices: PriceList;
}

/**
 * Reads a price file: a mapping of model ids to prices, JSON or YAML, whole or not at all. @throws ConfigError for one
 * that cannot be read, does not parse, is empty or has mistakes, with every problem at once.
 */
export function readPriceFile(path: string): ReadPrices {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw unreadable(path, 'cannot be read', 'a file that is there', messageOf(error));
  }
  return { text, prices: parsePrices(text, path) };
}

/** The text of a price file, checked. `source` names the file in errors. @throws ConfigError. */
export function parsePrices(text: string, source: string): PriceList {
  let content: unknown;
  try {
    content = parse(text);
  } catch (error) {
    throw unreadable(source, 'does not parse', 'JSON or YAML', messageOf(error).split('\n')[0] ?? '');
  }
  const isMapping = typeof content === 'object' && content !== null && !Array.isArray(content);
  // A file that is emptied before it is written must not take every price away.
  if (!isMapping || Object.keys(content as object).length === 0) {
    const received = content === null || content === undefined ? 'an empty file' : describeValue(content);
    throw unreadable(
      source,
      'holds no prices',
      'a mapping such as `claude-opus-5: { input, output }`',
      received,
    );
  }
  const result = priceFileSchema.safeParse(content, { reportInput: true });
  if (!result.success) throw new ConfigError(problemsIn(result.error.issues, priceFileSchema), source);
  return result.data;
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

function unreadable(source: string, message: string, expected: string, received: string): ConfigError {
  return new ConfigError(
    [{ code: 'HG_PRICE_FILE', path: 'prices.file', message, expected, received }],
    source,
  );
}
