import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { ConfigError } from '../errors.ts';
import { describeValue, parseConfig } from './parse.ts';
import type { ConfigInput } from './schema.ts';
import { yamlMistake } from './yaml-mistake.ts';

/**
 * Reads a configuration file, YAML or JSON (which is YAML), checks it whole and returns it as it was written, but for
 * the path of a price file, which is made absolute.
 * @throws ConfigError for a file that is empty, does not parse, or whose content is wrong, with every problem at
 * once; the error of the file system for one that cannot be read.
 */
export async function loadConfig(path: string): Promise<ConfigInput> {
  return readConfig(await readFile(path, 'utf8'), path);
}

/** The text of a configuration file, checked. */
export function readConfig(text: string, source: string): ConfigInput {
  let content: unknown;
  try {
    content = parse(text);
  } catch (error) {
    const mistake = error instanceof Error ? yamlMistake(error, text) : String(error);
    throw unreadable('does not parse', 'YAML or JSON', mistake, source);
  }
  // An editor that empties a file before it writes it, or a name that was mistyped, must not switch every limit off.
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    const received = content === null || content === undefined ? 'an empty file' : describeValue(content);
    throw unreadable(
      'is no configuration',
      'a mapping such as `account:`, `lanes:`, `quotas:`',
      received,
      source,
    );
  }
  parseConfig(content, source);
  return withPathsFrom(dirname(source), content as ConfigInput);
}

/** The price file is looked for beside the configuration file that names it. */
export function withPathsFrom(folder: string, config: ConfigInput): ConfigInput {
  const file = config.prices?.file;
  return typeof file !== 'string'
    ? config
    : { ...config, prices: { ...config.prices, file: resolve(folder, file) } };
}

function unreadable(message: string, expected: string, received: string, source: string): ConfigError {
  return new ConfigError([{ code: 'HG_UNREADABLE', path: '', message, expected, received }], source);
}
