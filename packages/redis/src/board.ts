import { type Board, MAX_NOTICES, NOTICE_LENGTH, type OnNotice } from '@headgate/core';
import { boardKey } from './keys.ts';
import { POST, READ } from './lua/board.ts';
import { type Script, scriptOf } from './lua/script.ts';

const POSTING = scriptOf(POST);
const READING = scriptOf(READ);

/** What the board needs of its store. */
export interface BoardParts {
  readonly prefix: string;
  /** Runs a script, within the time that Redis has. */
  run(script: Script, key: string, args: readonly (string | number)[]): Promise<unknown>;
  /**
   * Calls `onMessage` for each message of a channel, and `onReady` whenever those to come will be heard: at first, and after
   * each break. The returned function ends it.
   */
  subscribe(channel: string, onMessage: (message: string) => void, onReady: () => void): () => void;
}

/** A fleet's notice board: a hash for each topic, and a channel on which each notice is told as it is put up. */
export function redisBoard({ prefix, run, subscribe }: BoardParts): Board {
  return {
    async post(topic, process, notice, ttlMs) {
      if (notice.length > NOTICE_LENGTH) throw new RangeError('Headgate: a notice that is too long');
      const key = boardKey(prefix, topic);
      await run(POSTING, key, [process, notice, Math.ceil(ttlMs), key, MAX_NOTICES]);
    },
    watch(topic, onNotice) {
      const key = boardKey(prefix, topic);
      let isOver = false;
      const hear: OnNotice = (process, notice, ageMs) => {
        if (!isOver && notice.length <= NOTICE_LENGTH) onNotice(process, notice, ageMs);
      };
      const read = async () => {
        for (const { process, notice, ageMs } of readNotices(await run(READING, key, [])))
          hear(process, notice, ageMs);
      };
      const unsubscribe = subscribe(
        key,
        (message) => {
          const end = message.indexOf('\n');
          if (end > 0) hear(message.slice(0, end), message.slice(end + 1), 0);
        },
        // What cannot be read now is told again by those who have put it up.
        () => void read().catch(() => {}),
      );
      return () => {
        isOver = true;
        unsubscribe();
      };
    },
  };
}

interface Notice {
  readonly process: string;
  readonly notice: string;
  readonly ageMs: number;
}

/** The oldest first. What is not as the script writes it is nobody's. */
export function readNotices(answer: unknown): Notice[] {
  if (!Array.isArray(answer)) return [];
  const notices: Notice[] = [];
  for (let i = 0; i + 2 < answer.length && notices.length < 2 * MAX_NOTICES; i += 3) {
    const [process, age, notice] = answer.slice(i, i + 3).map(String) as [string, string, string];
    const ageMs = Number(age);
    if (ageMs >= 0) notices.push({ process, notice, ageMs });
  }
  return notices.sort((a, b) => b.ageMs - a.ageMs);
}
