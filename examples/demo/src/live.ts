import type { WriteStream } from 'node:tty';
import type { Progress } from './progress.ts';
import { progressFrame, progressLine, render, type Screen } from './screen.ts';

/** Shows progress while the demo runs. */
export interface Live {
  show(progress: Progress): void;
  /** Leaves the last frame where it is and gives the cursor back. Idempotent. */
  end(): void;
}

const LINE_EVERY_MS = 2_000;
const ESC = '\u001b[';

export function screenOf(stream: WriteStream): Screen {
  if (!stream.isTTY) return { width: Number.POSITIVE_INFINITY, color: false };
  // `hasColors` knows NO_COLOR, FORCE_COLOR and dumb terminals.
  return { width: stream.columns || 80, color: stream.hasColors() };
}

/** A frame redrawn in place on a terminal; elsewhere a line every two seconds. */
export function createLive(stream: WriteStream): Live {
  return stream.isTTY && process.env.TERM !== 'dumb' ? onTerminal(stream) : inLog(stream);
}

function onTerminal(stream: WriteStream): Live {
  let height = 0;
  let title: string | undefined;
  function end() {
    if (height > 0) stream.write(`${ESC}?25h\n`);
    height = 0;
  }
  // Also when the process is ended in the middle.
  process.once('exit', end);
  return {
    end,
    show(progress) {
      // A frame stays where it is when the next run begins.
      if (title !== progress.title && height > 0) {
        stream.write('\n');
        height = 0;
      }
      title = progress.title;
      const lines = render(progressFrame(progress), screenOf(stream)).split('\n');
      const home = height === 0 ? `${ESC}?25l` : `${ESC}${height}A`;
      stream.write(home + lines.map((text) => `${ESC}2K${text}\n`).join(''));
      height = lines.length;
    },
  };
}

function inLog(stream: WriteStream): Live {
  let last: { title: string; elapsedMs: number } | undefined;
  return {
    show(progress) {
      const { title, elapsedMs } = progress;
      if (last?.title === title && elapsedMs < last.elapsedMs + LINE_EVERY_MS) return;
      last = { title, elapsedMs };
      stream.write(`${progressLine(progress)}\n`);
    },
    end() {},
  };
}
