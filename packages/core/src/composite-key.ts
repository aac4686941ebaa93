const PLAIN = /^[^\n\0]*$/;

/**
 * One key of several parts. Two lists of parts have one key only if they are equal, whatever clients put into them,
 * and `undefined` is no text. Parts without line breaks stand as they are.
 */
export function compositeKey(...parts: readonly (string | undefined)[]): string {
  let key = '';
  for (let at = 0; at < parts.length; at++) {
    const part = parts[at];
    if (at > 0) key += '\n';
    key += part === undefined ? '\0u' : PLAIN.test(part) ? part : escaped(part);
  }
  return key;
}

/** A zero byte is followed by what it stands for: `0` itself, `n` a line break, `u` a part that is missing. */
const escaped = (part: string): string => part.replaceAll('\0', '\0' + '0').replaceAll('\n', '\0n');

/** The parts of a key. */
export const partsOf = (key: string): (string | undefined)[] =>
  key
    .split('\n')
    .map((part) => (part === '\0u' ? undefined : part.replaceAll('\0n', '\n').replaceAll('\0' + '0', '\0')));
