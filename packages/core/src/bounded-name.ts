import { createHash } from 'node:crypto';

/** The longest name from outside that is kept whole, in characters. */
const MAX_LENGTH = 256;
const KEPT = 200;
/** Ends a name that was cut. */
const CUT = /^~[0-9a-f]{32}$/;

/**
 * A name from outside, of bounded length wherever it becomes a key or a label. A longer one keeps its beginning and a
 * hash of all of it, and so does one that looks as if it had been cut: two names are two, whatever a client sends.
 */
export function boundedName(name: string): string {
  if (name.length <= MAX_LENGTH && !(name.length === KEPT + 33 && CUT.test(name.slice(KEPT)))) return name;
  return `${name.slice(0, KEPT)}~${createHash('sha256').update(name).digest('hex').slice(0, 32)}`;
}
