import { AsyncLocalStorage } from 'node:async_hooks';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Place } from '../logger.ts';

/** Frames that are looked at, and frames that are shown. */
const DEPTH = 40;
const SHOWN = 8;
/**
 * The folder of these sources, as a stack has it: as a URL or as a path, by whatever has loaded the code. Nothing in a
 * bundle, which has no folders.
 */
const OWN_FILES = ((): readonly string[] => {
  const [, own] =
    /((?:file:)?[^\s(]*[\\/])caller[\\/]place\.[jt]s/.exec(new Error('place').stack ?? '') ?? [];
  if (own === undefined) return [];
  return own.startsWith('file:') ? [own, fileURLToPath(own)] : [own, pathToFileURL(own).href];
})();
const OF_SDK = /[\\/]@anthropic-ai[\\/]/;
const OF_PACKAGE = /[\\/]node_modules[\\/]/;

interface Mark {
  readonly error: Error;
  /** Read once, however many have something to say of the call. */
  place?: Place | undefined;
}
const marks = new AsyncLocalStorage<Mark>();

/** A process that serves users has no time for stacks, and none of its logs names lines of code. */
export const namesPlaces = (): boolean => process.env.NODE_ENV !== 'production';

/**
 * Notes where the running code stands, for the call that it is about to make. It is not known here when that call begins,
 * so the note stays until the next call in this context takes its place.
 */
export function markPlace(): void {
  marks.enterWith({ error: stackHere() });
}

/** Where the call was made that the running code is part of; what awaits it, where that was not noted. */
export function placeOfCall(): Place | undefined {
  if (!namesPlaces()) return undefined;
  const mark = marks.getStore();
  if (mark === undefined) return readPlace(stackHere().stack ?? '');
  mark.place ??= readPlace(mark.error.stack ?? '');
  return mark.place;
}

/** V8 makes the text of a stack only when it is read. */
function stackHere(): Error {
  const { stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = DEPTH;
    return new Error('place');
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** The first line of the app's own code; of a package, where there is none. */
function readPlace(stack: string): Place | undefined {
  const lines = stack
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .map((line) =>
      line
        .trim()
        .slice('at '.length)
        .replace(/^async /, ''),
    )
    .filter(
      (line) => !OWN_FILES.some((own) => line.includes(own)) && !OF_SDK.test(line) && !line.includes('node:'),
    );
  const line = lines.find((each) => !OF_PACKAGE.test(each)) ?? lines[0];
  return line === undefined ? undefined : { line, stack: lines.slice(0, SHOWN).join('\n') };
}
