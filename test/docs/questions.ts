import { readFileSync } from 'node:fs';

/** A search for spans: of one operation, with these tags. */
export interface TraceSearch {
  readonly operation: string;
  readonly tags: Readonly<Record<string, string>>;
}

export interface Question {
  readonly title: string;
  readonly searches: readonly TraceSearch[];
  readonly queries: readonly string[];
}

const FILE = new URL('../../packages/core/docs/questions.md', import.meta.url);

/** The numbered questions of the documentation, with the searches and queries that answer them. */
export function readQuestions(): Question[] {
  return readFileSync(FILE, 'utf8')
    .split(/^## /m)
    .filter((section) => /^\d+\. /.test(section))
    .map((section) => ({
      title: section.slice(0, section.indexOf('\n')),
      searches: blocks(section, 'traces').map((text) => {
        const [[, operation = ''] = [], ...tags] = text.split(' ').map((part) => part.split('='));
        return { operation, tags: Object.fromEntries(tags) as Record<string, string> };
      }),
      queries: blocks(section, 'promql'),
    }));
}

const blocks = (section: string, language: string) =>
  [...section.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)\\n\`\`\``, 'gm'))].map(
    ([, text]) => text ?? '',
  );

/** Whether a search finds a span; of a list, a tag matches one entry. */
export function finds({ operation, tags }: TraceSearch, span: { name: string; attributes: object }): boolean {
  const attributes = span.attributes as Readonly<Record<string, unknown>>;
  return (
    span.name === operation &&
    Object.entries(tags).every(([name, value]) => {
      const actual = attributes[name];
      return Array.isArray(actual) ? actual.includes(value) : String(actual) === value;
    })
  );
}
