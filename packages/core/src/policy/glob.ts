/**
 * One pattern, compiled: `*` matches any run of characters; without one the text must be equal. Each character of the
 * text is looked for once, from the left: the first place of a part is the best, since all that follows has the most
 * room then. A regular expression tries every place against every other, which a text can be made for.
 */
export function compileGlob(pattern: string): (text: string) => boolean {
  if (!pattern.includes('*')) return (text) => text === pattern;
  const parts = pattern.split(/\*+/);
  const [first = ''] = parts;
  const last = parts[parts.length - 1] ?? '';
  const inner = parts.slice(1, -1);
  const least = first.length + last.length;
  return (text) => {
    if (text.length < least || !text.startsWith(first) || !text.endsWith(last)) return false;
    const end = text.length - last.length;
    let from = first.length;
    for (const part of inner) {
      const at = text.indexOf(part, from);
      if (at === -1 || at + part.length > end) return false;
      from = at + part.length;
    }
    return true;
  };
}

/** A list of patterns, compiled: matches when one of them does. */
export function compileGlobs(patterns: string | readonly string[]): (text: string) => boolean {
  const globs = (typeof patterns === 'string' ? [patterns] : patterns).map(compileGlob);
  return (text) => globs.some((glob) => glob(text));
}
