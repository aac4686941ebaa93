import { createHash } from 'node:crypto';

/** Stands for a name where the name itself is nobody's to read: every process of a fleet comes to the same. */
export const hashOfName = (name: string): string =>
  createHash('sha256').update(name).digest('base64url').slice(0, 22);

/** Whether it may be one of those. */
export const isHashOfName = (text: string): boolean => /^[\w-]{22}$/.test(text);
