import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { ConfigError } from '../errors.ts';
import { parseConfig } from './parse.ts';
import type { ConfigInput } from './schema.ts';

/**
 * Reads a configuration file, YAML or JSON (which is YAML), checks it whole and returns it as it was written.
 * @throws ConfigError for a file that does not parse or whose content is wrong, with every problem at once;
 * the error of the file system for one that cannot be read.
 */
export async function loadConfig(path: string): Promise<ConfigInput> {
  const text = await readFile(path, 'utf8');
  let content: unknown;
  try {
    content = parse(text);
  } catch (error) {
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new ConfigError(
      [
        {
          path: '',
          message: 'does not parse',
          expected: 'YAML or JSON',
          received: message,
        },
      ],
      path,
    );
  }
  parseConfig(content, path);
  return (content ?? {}) as ConfigInput;
}
