import { formatPath } from './parse.ts';

/** Paths named in a line of the log; of more, how many. */
const MAX_NAMED = 8;

/**
 * Where two values differ, as paths such as `quotas[0].requests`: as deep as both are of one kind, and lists of one
 * length. What is alike has none.
 */
export function changedPaths(before: unknown, after: unknown, path: readonly PropertyKey[] = []): string[] {
  if (Object.is(before, after)) return [];
  const isSameKind =
    isObject(before) &&
    isObject(after) &&
    Array.isArray(before) === Array.isArray(after) &&
    (!Array.isArray(before) || before.length === after.length);
  if (!isSameKind) return [formatPath(path)];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) =>
    changedPaths(before[key], after[key], [...path, Array.isArray(before) ? Number(key) : key]),
  );
}

/** `lanes.chat.weight, caps[0].maxTokens and 3 more`. */
export function listPaths(paths: readonly string[]): string {
  const named = paths.slice(0, MAX_NAMED).map((path) => (path === '' ? 'all of it' : path));
  const more = paths.length - named.length;
  return `${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
