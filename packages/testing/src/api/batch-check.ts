import type { BatchRequest } from './batches.ts';
import { type ApiFailure, failure } from './errors.ts';
import { field } from './json.ts';

const CUSTOM_ID = /^[a-zA-Z0-9_-]{1,64}$/;

/** Reads the body of a new batch. Each request's params are looked at when they are processed, not here. */
export function checkBatch(
  body: unknown,
  maxPerBatch: number,
): { readonly requests: readonly BatchRequest[] } | { readonly failure: ApiFailure } {
  const invalid = (message: string) => ({ failure: failure(400, message) });
  const list = field(body, 'requests');
  if (list === undefined) return invalid('requests: Field required');
  if (!Array.isArray(list)) return invalid('requests: Input should be a valid list');
  if (list.length === 0) return invalid('requests: List should have at least 1 item');
  if (list.length > maxPerBatch) {
    return { failure: failure(413, `requests: a batch may have at most ${maxPerBatch} requests`) };
  }
  const seen = new Set<string>();
  const requests: BatchRequest[] = [];
  for (const [index, each] of list.entries()) {
    const customId = field(each, 'custom_id');
    const params = field(each, 'params');
    if (typeof customId !== 'string') return invalid(`requests.${index}.custom_id: Field required`);
    if (!CUSTOM_ID.test(customId)) {
      return invalid(`requests.${index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'`);
    }
    if (seen.has(customId)) return invalid(`requests.${index}.custom_id: "${customId}" is not unique`);
    if (params === undefined) return invalid(`requests.${index}.params: Field required`);
    seen.add(customId);
    requests.push({ customId, params });
  }
  return { requests };
}
