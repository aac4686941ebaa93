const compiled = new Map<string, RegExp>();

/** Whether `text` matches `glob`, in which `*` stands for any run of characters. */
export function matchesGlob(glob: string, text: string): boolean {
  if (!glob.includes('*')) return glob === text;
  let pattern = compiled.get(glob);
  if (pattern === undefined) {
    const source = glob.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
    pattern = new RegExp(`^${source.join('.*')}$`);
    compiled.set(glob, pattern);
  }
  return pattern.test(text);
}
