import type { Answer, Result, Wake } from '@headgate/core';

/** What the script told. A list that is empty comes as an object: Lua knows no difference. */
export function readAnswer(text: string): Answer {
  const answer = JSON.parse(text) as Answer & { results: unknown };
  const results: readonly Result[] = Array.isArray(answer.results) ? answer.results : [];
  const record = <T extends object>(value: T): T => (Array.isArray(value) ? ({} as T) : value);
  return { ...answer, results, levels: record(answer.levels), users: record(answer.users) };
}

/** A message of the channel; nothing where somebody else has written it. */
export function readWake(text: string): Wake | undefined {
  try {
    const wake = JSON.parse(text) as Partial<Wake> | null;
    if (typeof wake?.process === 'string' && typeof wake.waitMs === 'number')
      return { process: wake.process, waitMs: wake.waitMs };
  } catch {
    // Not ours.
  }
  return undefined;
}
