import * as z from 'zod';
import { ConfigError, type ConfigProblem } from '../errors.ts';
import { meantInstead } from '../known-keys.ts';
import { findContradictions } from './checks.ts';
import { keysAt } from './keys.ts';
import { type Config, configSchema } from './schema.ts';

/** Reads a configuration whole. @throws ConfigError with every problem at once. */
export function parseConfig(input: unknown, source?: string): Config {
  const result = configSchema.safeParse(input ?? {}, { reportInput: true });
  if (!result.success) {
    const { issues } = result.error;
    throw new ConfigError(
      [...problemsIn(issues, configSchema), ...contradictionsBeside(input, issues)],
      source,
    );
  }
  const problems = findContradictions(result.data);
  if (problems.length > 0) throw new ConfigError(problems, source);
  return deepFreeze(result.data);
}

/**
 * What contradicts itself in a configuration that has mistakes of form too: those are taken out, and the rest is looked
 * at, so that nobody learns of the second half of their mistakes only when the first is mended.
 */
function contradictionsBeside(input: unknown, issues: readonly Issue[]): ConfigProblem[] {
  let rest: unknown;
  try {
    rest = structuredClone(input);
  } catch {
    return [];
  }
  for (const issue of issues) {
    const paths =
      issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
    for (const path of paths) takeOut(rest, path);
  }
  const again = configSchema.safeParse(rest);
  if (!again.success) return [];
  const wrong = new Set(issues.map(({ path }) => formatPath(path.slice(0, 2))));
  // A quota whose one limit cannot be read does limit something, once it is mended.
  return findContradictions(again.data).filter(
    ({ code, path }) => code !== 'HG_EMPTY_QUOTA' || !wrong.has(path),
  );
}

function takeOut(from: unknown, path: readonly PropertyKey[]): void {
  let at = from;
  for (const step of path.slice(0, -1)) at = (at as Record<PropertyKey, unknown> | undefined)?.[step];
  const last = path.at(-1);
  if (typeof at !== 'object' || at === null || last === undefined) return;
  // An entry of a list stays, for the sake of its neighbours' numbers, and a name must be there.
  if (last === 'name') (at as Record<PropertyKey, unknown>)[last] = `unnamed-${path.join('-')}`;
  else Reflect.deleteProperty(at, last);
}

/** JSON Schema of the configuration file, for completion in editors. */
export function configJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configSchema, {
    io: 'input',
    unrepresentable: 'any',
  }) as Record<string, unknown>;
}

type Issue = z.core.$ZodIssue;

/** What zod found wrong by `schema`, in our words: also for other files that the command reads. */
export function problemsIn(issues: readonly Issue[], schema: z.core.$ZodType): ConfigProblem[] {
  return issues.flatMap((issue) => problemsOf(issue, schema));
}

function problemsOf(issue: Issue, schema: z.core.$ZodType): ConfigProblem[] {
  const path = formatPath(issue.path);
  const received = describeValue(issue.input);
  const code = 'HG_WRONG_VALUE';
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        code: 'HG_UNKNOWN_KEY',
        path: formatPath([...issue.path, key]),
        message: `unknown key${meantInstead(key, keysAt(schema, issue.path))}`,
        expected: 'one of the documented keys',
        received: describeValue((issue.input as Record<string, unknown> | undefined)?.[key]),
      }));
    case 'invalid_union': {
      // A union of "a number" and "a text that reads as one": the branch of the value's own type says most.
      const branches = issue.errors.map((branch) => branch[0]).filter((first) => first !== undefined);
      const said = branches.find((first) => first.code !== 'invalid_type') ?? branches[0];
      const expected = said === undefined ? issue.message : expectation(said);
      return [{ code, path, message: 'wrong value', expected, received }];
    }
    case 'invalid_type':
      return issue.input === undefined
        ? [
            {
              path,
              code,
              message: 'is missing',
              expected: expectation(issue),
              received: 'nothing',
            },
          ]
        : [
            {
              path,
              code,
              message: 'wrong type',
              expected: expectation(issue),
              received,
            },
          ];
    default:
      return [
        {
          path,
          code,
          message: 'wrong value',
          expected: expectation(issue),
          received,
        },
      ];
  }
}

function expectation(issue: Issue): string {
  // A schema with words of its own says more than the bare type.
  if (issue.code === 'invalid_type' && issue.message.startsWith('Invalid input'))
    return article(issue.expected);
  if (issue.code === 'invalid_value')
    return `one of ${issue.values.map((value) => String(value)).join(', ')}`;
  return issue.message;
}

const ARTICLES: Record<string, string> = {
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};
const article = (type: string) => ARTICLES[type] ?? type;

export function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, key) =>
      typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`,
    '',
  );
}

/** A value as it stands in a message: short, on one line. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'bigint' || typeof value === 'symbol' ? String(value) : JSON.stringify(value);
  if (text === undefined) return typeof value;
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
