import type { ConfigProblem } from '@headgate/core';
import { yamlMistake } from '@headgate/core/simulation';
import { type Document, isMap, isNode, isPair, isScalar, LineCounter, parseDocument } from 'yaml';

export interface Position {
  readonly line: number;
  readonly column: number;
}

interface Parsed {
  readonly content: unknown;
  readonly document: Document;
  readonly problems: readonly (ConfigProblem & Position)[];
}

/** What a file is to hold, in the words of a message. */
interface Expected {
  readonly message: string;
  readonly expected: string;
}

const CONFIGURATION: Expected = {
  message: 'is no configuration',
  expected: 'a mapping such as `account:`, `lanes:`, `quotas:`',
};

/** A YAML or JSON text with its mistakes of form, each where it stands. */
export function parseFile(text: string, { message, expected }: Expected = CONFIGURATION): Parsed {
  const counter = new LineCounter();
  const document: Document = parseDocument(text, { lineCounter: counter, prettyErrors: false });
  const problems = document.errors.map((error): ConfigProblem & Position => {
    const place = counter.linePos(error.pos[0]);
    const { line, col } = place;
    return {
      code: 'HG_UNREADABLE',
      path: '',
      message: 'does not parse',
      expected: 'YAML or JSON',
      received: yamlMistake({ message: error.message, linePos: [place] }, text),
      line,
      column: col,
    };
  });
  const content: unknown = problems.length > 0 ? undefined : document.toJS();
  if (problems.length === 0 && (typeof content !== 'object' || content === null || Array.isArray(content))) {
    problems.push({
      code: 'HG_UNREADABLE',
      path: '',
      message,
      expected,
      received:
        content === null || content === undefined ? 'an empty file' : JSON.stringify(content).slice(0, 80),
      line: 1,
      column: 1,
    });
  }
  return { content, document, problems };
}

/**
 * Where the thing stands that a path such as `quotas[0].requests` names: the key of a mapping, the entry of a list. For
 * what is missing, the nearest thing around it.
 */
export function locate(document: Document, text: string, path: string): Position | Record<string, never> {
  let at: number | undefined;
  let node: unknown = document.contents;
  for (const step of stepsOf(path)) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === step,
      );
      if (pair === undefined) break;
      at = startOf(pair.key) ?? at;
      node = pair.value;
    } else if (isNode(node) && 'items' in node && Array.isArray(node.items)) {
      node = node.items[Number(step)];
      at = startOf(node) ?? at;
    } else break;
  }
  if (at === undefined) return {};
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  return { line, column: at - before.lastIndexOf('\n') };
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

/** The steps of a path. A key may hold dots itself, as model ids do: those of `fallbacks` and `prices` are one step. */
function stepsOf(path: string): string[] {
  const keyed = /^(fallbacks|prices)\.(.+?)(\[\d+\])?$/.exec(path);
  if (keyed !== null) {
    const [, first = '', key = '', index] = keyed;
    return [first, key, ...(index === undefined ? [] : [index.slice(1, -1)])];
  }
  return path.split(/[.[\]]+/).filter((step) => step !== '');
}
