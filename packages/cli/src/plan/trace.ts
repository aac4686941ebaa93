import { createReadStream } from 'node:fs';
import { describeValue, problemsIn } from '@headgate/core/simulation';
import * as z from 'zod';
import type { Arrival } from './arrivals.ts';
import type { RecordedCalls } from './traffic.ts';

const tokens = z
  .number({ error: 'a number of tokens' })
  .min(0, { error: 'a number of tokens of at least 0' })
  .max(10_000_000, { error: 'a number of tokens of at most 10000000' });
const text = z.string().min(1).max(256).optional();

const line = z.strictObject({
  at: z.number({ error: 'milliseconds from the start' }).min(0, { error: 'milliseconds from the start' }),
  input: tokens,
  output: tokens,
  maxTokens: z.int().positive({ error: 'a whole number above 0' }).optional(),
  model: text,
  user: text,
  tenant: text,
  tier: text,
  lane: text,
  route: text,
  streaming: z.boolean().optional(),
});

/** The longest line that is read, in characters. */
const MAX_LINE = 65_536;
const DEFAULT_MAX_TOKENS = 4_096;

/** A trace that cannot be followed: where, what, the rule and the value. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** What a call of a trace may name. */
export interface Known {
  readonly lanes: readonly string[];
  readonly hasModel: (id: string) => boolean;
}

/** The calls of a trace, read as they are asked for: a trace of any length takes no more memory than its longest line. */
export async function* readTrace(
  path: string,
  calls: RecordedCalls,
  { lanes, hasModel }: Known,
): AsyncGenerator<Arrival> {
  let number = 0;
  let last = 0;
  let isEmpty = true;
  for await (const raw of linesOf(path)) {
    number++;
    if (raw.trim() === '') continue;
    const where = `${path}:${number}`;
    let content: unknown;
    try {
      content = JSON.parse(raw);
    } catch {
      throw new TraceError(
        `${where}: does not parse (expected one JSON object a line, received ${describeValue(raw)})`,
      );
    }
    const result = line.safeParse(content, { reportInput: true });
    if (!result.success) {
      const problems = problemsIn(result.error.issues, line);
      const told = problems.map(({ path: at, message, expected, received, code }) => {
        const column = columnOf(raw, at);
        const rule = code === 'HG_UNKNOWN_KEY' ? `one of ${Object.keys(line.shape).join(', ')}` : expected;
        return `${where}${column === undefined ? '' : `:${column}`}: ${at === '' ? 'the line' : at}: ${message} (expected ${rule}, received ${received})`;
      });
      throw new TraceError(told.join('\n'));
    }
    const { at, input, output, streaming, maxTokens, model = calls.model, ...who } = result.data;
    if (at < last)
      throw new TraceError(`${where}: at: is out of order (expected at least ${last}, received ${at})`);
    if (model === undefined)
      throw new TraceError(
        `${where}: model: is missing (expected a model here or in the traffic file, received nothing)`,
      );
    if (who.lane !== undefined && !lanes.includes(who.lane))
      throw new TraceError(
        `${where}: lane: is none that can be rehearsed (expected one of ${lanes.join(', ')}, received ${describeValue(who.lane)})`,
      );
    if (!hasModel(model))
      throw new TraceError(
        `${where}: model: the account has no bucket for it (expected a model of its buckets, received ${describeValue(model)})`,
      );
    last = at;
    isEmpty = false;
    yield {
      at,
      job: {
        entry: calls.name,
        user: who.user ?? calls.name,
        lane: who.lane ?? calls.lane,
        tier: who.tier ?? calls.tier,
        tenant: who.tenant ?? calls.tenant,
        route: who.route ?? calls.route,
        model,
        inputTokens: input,
        outputTokens: output,
        maxTokens: maxTokens ?? Math.max(DEFAULT_MAX_TOKENS, output),
        isStreaming: streaming ?? true,
      },
    };
  }
  if (isEmpty)
    throw new TraceError(`${path}: has no calls (expected one JSON object a line, received nothing)`);
}

/** Counted from 1. The name as a key of the line; nothing where the line has none such. */
function columnOf(raw: string, key: string): number | undefined {
  const at = raw.indexOf(JSON.stringify(key));
  return at === -1 ? undefined : at + 1;
}

async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = '';
  let number = 1;
  let isStart = true;
  for await (const chunk of chunksOf(path)) {
    // Editors of some systems begin a file with a mark of its encoding.
    rest += isStart && chunk.startsWith('\ufeff') ? chunk.slice(1) : chunk;
    isStart = false;
    let from = 0;
    for (let to = rest.indexOf('\n', from); to !== -1; to = rest.indexOf('\n', from)) {
      yield rest.slice(from, to);
      number++;
      from = to + 1;
    }
    rest = rest.slice(from);
    // A file that is no JSONL at all would be gathered whole.
    if (rest.length > MAX_LINE)
      throw new TraceError(
        `${path}:${number}: is too long (expected at most ${MAX_LINE} characters a line, received more)`,
      );
  }
  if (rest !== '') yield rest;
}

async function* chunksOf(path: string): AsyncGenerator<string> {
  try {
    yield* createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>;
  } catch (error) {
    throw new TraceError(
      `${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
