import type { Middleware } from '@anthropic-ai/sdk';
import { isHeadgateError } from '../errors.ts';
import type { ApiRequest } from '../request/read.ts';

type SdkOptions = NonNullable<Parameters<Middleware>[2]['options']>;

/** The SDK's count of its own attempts, 0 for the first. */
const RETRY_COUNT = 'x-stainless-retry-count';

/**
 * The last word on calls that ended with an error that the SDK would retry: it takes broken connections and
 * time-outs for its own affair, and a caller may have asked it for retries (`maxRetries` of one request). Its further
 * attempts meet the same error at once, and none of them reaches the API.
 */
export class FinalErrors {
  readonly #known = new WeakMap<object, { error: unknown; left: number | undefined }>();

  /** The error that this attempt of the SDK's is to end with, if it is a repetition. */
  of(options: SdkOptions, request: ApiRequest): { error: unknown; isClients: boolean } | undefined {
    const known = this.#known.get(options);
    if (known === undefined) return undefined;
    const isRepetition = known.left === undefined ? request.headers.get(RETRY_COUNT) !== '0' : known.left > 0;
    // An options object can be used again by its owner: then this is a new call.
    if (!isRepetition || known.left === 1) this.#known.delete(options);
    if (known.left !== undefined) known.left--;
    return isRepetition ? { error: known.error, isClients: known.left === undefined } : undefined;
  }

  remember(options: SdkOptions, sdkRetryCount: number, error: unknown): void {
    // The SDK hands our refusals and the caller's own aborts on; it does not try again.
    if (isHeadgateError(error) || options.signal?.aborted === true) return;
    const asked = options.maxRetries;
    if (asked === undefined) {
      this.#known.set(options, { error, left: undefined });
    } else if (asked > sdkRetryCount) {
      this.#known.set(options, { error, left: asked - sdkRetryCount });
      // Its pauses grow with the retries that it believes to have made. With none asked for they stay in
      // milliseconds: nobody should wait half a minute for an error that is known.
      options.maxRetries = 0;
    }
  }
}

export function sdkRetryCount(request: ApiRequest): number {
  return Math.max(0, Number(request.headers.get(RETRY_COUNT)) || 0);
}
