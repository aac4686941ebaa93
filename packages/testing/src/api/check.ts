import type { Fault } from './faults.ts';
import type { ClaudeApiOptions } from './options.ts';

/** What a value must be: in words, and as a test. */
interface Rule {
  readonly words: string;
  holds(value: unknown): boolean;
}

type Rules<T> = Readonly<Record<keyof T, Rule>>;

const number: Rule = {
  words: 'a number',
  holds: (value) => typeof value === 'number' && !Number.isNaN(value),
};
const wholeNumber: Rule = {
  words: 'a whole number of at least 0',
  holds: (value) => Number.isInteger(value) && (value as number) >= 0,
};
const positive: Rule = {
  words: 'a number above 0',
  holds: (value) => typeof value === 'number' && value > 0,
};
const share: Rule = {
  words: 'a share from 0 to 1',
  holds: (value) => typeof value === 'number' && value >= 0 && value <= 1,
};
const flag: Rule = { words: 'true or false', holds: (value) => typeof value === 'boolean' };
const list: Rule = { words: 'a list', holds: Array.isArray };
const mapping: Rule = {
  words: 'an object',
  holds: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};
const fn = (call: string): Rule => ({
  words: `a function, as ${call}`,
  holds: (value) => typeof value === 'function',
});
const text: Rule = { words: 'text', holds: (value) => typeof value === 'string' };
const oneOf = (...values: readonly string[]): Rule => ({
  words: `one of ${values.join(', ')}`,
  holds: (value) => values.includes(value as string),
});
const either = (...rules: readonly Rule[]): Rule => ({
  words: rules.map(({ words }) => words).join(', or '),
  holds: (value) => rules.some((rule) => rule.holds(value)),
});

const OPTIONS: Rules<ClaudeApiOptions> = {
  port: wholeNumber,
  seed: number,
  clock: mapping,
  limits: list,
  countTokensPerMinute: positive,
  batches: mapping,
  models: list,
  output: fn('(request, random) => 400'),
  latency: mapping,
  keys: list,
  chunking: either(
    oneOf('events', 'bytes', 'split-utf8', 'many-per-chunk'),
    fn('(bytes, random) => [bytes]'),
  ),
  newline: { words: "'\\n' or '\\r\\n'", holds: (value) => value === '\n' || value === '\r\n' },
  requireVersion: flag,
  unknownEvents: flag,
  estimateError: share,
  refusedConsume: flag,
  capacity: positive,
  concurrent: positive,
  ledgerSize: wholeNumber,
  receivedSize: wholeNumber,
};

const drawn = either(number, fn('(random) => 300'));
const LATENCY: Rules<NonNullable<ClaudeApiOptions['latency']>> = {
  timeToFirstTokenMs: drawn,
  tokensPerSecond: drawn,
  flushMs: number,
};
const BATCHES: Rules<NonNullable<ClaudeApiOptions['batches']>> = {
  requestsPerMinute: positive,
  maxQueued: wholeNumber,
  maxPerBatch: wholeNumber,
  maxBytes: wholeNumber,
  durationMs: drawn,
  expiresAfterMs: number,
  cancelMs: number,
  resultsKeptMs: number,
  result: fn("(customId, params, random) => 'succeeded'"),
};

/** @throws TypeError that names the first option that does not exist, or cannot be what it is. */
export function checkOptions(options: ClaudeApiOptions): void {
  check('startClaudeApi', options, OPTIONS);
  if (options.latency !== undefined) check('startClaudeApi: latency', options.latency, LATENCY);
  if (options.batches !== undefined) check('startClaudeApi: batches', options.batches, BATCHES);
}

const FAULT = { times: positive, probability: share, path: text, when: fn('(request) => true') };
const headers = mapping;
/** What each kind of fault has beside its kind and what all have. */
const FAULTS: { readonly [K in Fault['kind']]: Readonly<Record<string, Rule>> } = {
  status: {
    status: {
      words: 'an HTTP status',
      holds: (value) => wholeNumber.holds(value) && (value as number) >= 200,
    },
    type: text,
    message: text,
    errorCode: text,
    headers,
    body: either(text, mapping),
  },
  reset: { at: oneOf('before-headers', 'after-headers', 'mid-stream'), afterEvents: wholeNumber },
  stall: { at: oneOf('before-headers', 'after-headers', 'mid-stream'), ms: number, afterEvents: wholeNumber },
  'stream-error': { type: text, message: text, afterEvents: wholeNumber },
  truncate: { afterEvents: wholeNumber },
  headers: {
    set: headers,
    remove: list,
    mangle: either(oneOf('stale', 'nonsense'), fn('(headers) => headers')),
  },
  usage: { usage: either(mapping, fn('(usage) => usage')), model: text },
  'long-event': { bytes: wholeNumber },
  overload: { headers },
  unanswered: { how: oneOf('reset', 'silence') },
  results: { line: fn('(line, customId) => line') },
};

/** @throws TypeError for a fault of no kind that there is, or with a field that its kind does not have. */
export function checkFault(fault: Fault): void {
  const kind: unknown = mapping.holds(fault) ? fault.kind : undefined;
  const kinds = Object.keys(FAULTS);
  if (typeof kind !== 'string' || !kinds.includes(kind)) {
    throw new TypeError(
      `Headgate inject: expected a fault whose kind is one of ${kinds.join(', ')}, received ${shown(kind)}`,
    );
  }
  check(`inject: ${kind}`, fault, { kind: text, ...FAULT, ...FAULTS[kind as Fault['kind']] });
}

function check(thing: string, value: object, rules: Readonly<Record<string, Rule>>): void {
  if (!mapping.holds(value)) {
    throw new TypeError(`Headgate ${thing}: expected an object, received ${shown(value)}`);
  }
  for (const [key, given] of Object.entries(value)) {
    const rule = Object.hasOwn(rules, key) ? rules[key] : undefined;
    if (rule === undefined) {
      throw new TypeError(
        `Headgate ${thing}: unknown key "${key}"; there are: ${Object.keys(rules).join(', ')}`,
      );
    }
    if (given !== undefined && !rule.holds(given)) {
      throw new TypeError(`Headgate ${thing}: expected ${key} to be ${rule.words}, received ${shown(given)}`);
    }
  }
}

function shown(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  return typeof value === 'object' && value !== null
    ? JSON.stringify(value).slice(0, 80)
    : typeof value === 'string'
      ? `"${value.slice(0, 80)}"`
      : String(value);
}
