import { isRecord } from './json.ts';

/** Characters of a notice, at most: longer ones are not put up, and not read. */
export const NOTICE_LENGTH = 65_536;
/** Notices of a topic that are kept, at most: past it the oldest go. */
export const MAX_NOTICES = 64;

/** What a notice of the board says; nothing where it is written in another way than `version`, or is none. */
export function readNotice(notice: string, version: number): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(notice);
    return isRecord(json) && json.version === version ? json : undefined;
  } catch {
    return undefined;
  }
}
