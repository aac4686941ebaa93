/** Names whose keys are the keys of an object: a record, so that the compiler sees when one is missing. */
export type KnownKeys<T> = Readonly<Record<keyof T, true>>;

/** As many as a message can name without hiding the first. */
const MAX_NAMED = 3;

/**
 * Refuses a key that the object cannot have, since whatever it was to do would be silently off.
 * @throws TypeError that names the key and what may have been meant.
 */
export function checkKeys<T extends object>(thing: string, value: T, known: KnownKeys<T>): void {
  // Runs with every scope: to read the name costs a third of `hasOwn`. What all objects have is `true` nowhere.
  for (const key in value) {
    if (known[key] !== true) throw unknownKey(thing, key, Object.keys(known));
  }
}

/** As `checkKeys`, for options as a whole: what is no object is named too. @throws TypeError */
export function checkOptions<T extends object>(thing: string, value: T, known: KnownKeys<T>): void {
  const given: unknown = value;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new TypeError(
      `Headgate ${thing}: expected an object of options, received ${Array.isArray(given) ? 'a list' : String(typeof given)}`,
    );
  }
  checkKeys(thing, value, known);
}

function unknownKey(thing: string, key: string, known: readonly string[]): TypeError {
  return new TypeError(
    `Headgate ${thing}: unknown key "${key.slice(0, 64)}"${meantInstead(key, known)}; there are: ${known.join(', ')}`,
  );
}

/** `, did you mean "lane"?`, or nothing where no known name is near. */
export function meantInstead(name: string, known: readonly string[]): string {
  const near = nearestNames(name, known);
  return near.length === 0 ? '' : `, did you mean ${near.map((each) => `"${each}"`).join(' or ')}?`;
}

/**
 * Those of `known` that `name` may have been meant for, the nearest first: by letters to change, a third of the longer
 * name at most, whatever the case and the separators (`max_tokens`); and those that begin as it does (`deadline`).
 */
export function nearestNames(name: string, known: readonly string[]): string[] {
  const own = plain(name.slice(0, 64));
  if (own === '') return [];
  return known
    .map((each) => ({ each, far: distanceOf(own, plain(each)) }))
    .filter(({ far }) => far <= 1 / 3)
    .sort((a, b) => a.far - b.far)
    .slice(0, MAX_NAMED)
    .map(({ each }) => each);
}

const plain = (name: string) => name.toLowerCase().replaceAll(/[-_\s]/g, '');

/** 0 for the same name, 1 for one that shares nothing. Names that begin alike are near, as `retry` and `retries`. */
function distanceOf(a: string, b: string): number {
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  let alike = 0;
  while (alike < short.length && short[alike] === long[alike]) alike++;
  const far = editsBetween(a, b) / long.length;
  return alike >= 3 && alike >= 0.75 * short.length ? Math.min(far, 0.3) : far;
}

/** Letters to put in, leave out, change or swap with their neighbour (optimal string alignment). */
function editsBetween(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const next = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      const edits = [
        (last[column] ?? 0) + 1,
        (next[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
      ];
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        edits.push((before[column - 2] ?? 0) + 1);
      }
      next.push(Math.min(...edits));
    }
    before = last;
    last = next;
  }
  return last[b.length] ?? 0;
}
