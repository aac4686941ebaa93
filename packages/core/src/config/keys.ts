import * as z from 'zod';
import { configSchema } from './schema.ts';

/** The keys at the top of a configuration. */
export function configKeys(): readonly string[] {
  return Object.keys(configSchema.shape);
}

/** The keys that `schema` knows at `path`: of every branch, where there are several. Nothing for names that users give. */
export function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  const inner = innerOf(schema);
  if (inner.length > 0) return inner.flatMap((each) => keysAt(each, path));
  const [step, ...rest] = path;
  if (schema instanceof z.ZodObject) {
    const shape: Readonly<Record<string, z.core.$ZodType>> = schema.shape;
    if (step === undefined) return Object.keys(shape);
    const next = Object.hasOwn(shape, step) ? shape[String(step)] : undefined;
    return next === undefined ? [] : keysAt(next, rest);
  }
  if (step === undefined) return [];
  if (schema instanceof z.ZodArray) return keysAt(schema.element, rest);
  if (schema instanceof z.ZodRecord) return keysAt(schema.valueType, rest);
  return [];
}

/** What stands behind a schema that only wraps others. */
function innerOf(schema: z.core.$ZodType): readonly z.core.$ZodType[] {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodReadonly
  ) {
    return [schema.def.innerType];
  }
  if (schema instanceof z.ZodPipe) return [schema.def.in, schema.def.out];
  if (schema instanceof z.ZodUnion) return schema.options;
  return [];
}
