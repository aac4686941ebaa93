import type Anthropic from '@anthropic-ai/sdk';
import type { CallerSource } from '../caller/scope.ts';

/** The params of a request that goes in a batch: those of `messages.create`, without a stream. */
export type BatchParams = Anthropic.MessageCreateParamsNonStreaming;

export interface SubmitOptions {
  /**
   * What the request is found again by, after a restart too: letters, digits, `_` and `-`, at most 64. One that is
   * known already is not sent again: its handle is given. Left out: one is made.
   */
  readonly customId?: string;
  /** Whose it is. Left out: the caller in scope. */
  readonly caller?: CallerSource;
  /** Sends what has been gathered, this request included, at once. */
  readonly flush?: boolean;
}

/** A request that was handed over. */
export interface BatchHandle {
  readonly id: string;
  /**
   * The answer. Rejects with the SDK's own error where the API refused the request, with a `BatchFailedError` where it
   * was canceled, expired, or has no result that can be read; with the governor's end, while the request goes on.
   */
  result(): Promise<Anthropic.Message>;
}

/** The batch lane of one account. */
export interface BatchLane {
  /**
   * Hands a request over. Resolves when it is in the journal: from then on it is sent, whatever becomes of the process.
   * @throws HeadgateError when a quota, a cap or the lane's own bound refuses it; TypeError for what is no request.
   */
  submit(params: BatchParams, options?: SubmitOptions): Promise<BatchHandle>;
  /** The handle of a request that was submitted before, also by a process that is gone. */
  get(id: string): Promise<BatchHandle | undefined>;
  /** Handles of all requests without a result, the oldest first. */
  pending(): Promise<BatchHandle[]>;
  /** Sends what has been gathered, without waiting for more. */
  flush(): void;
  /**
   * Takes back one request, or all of them. Those that wait end at once. A request in a batch cannot be taken out of it:
   * with `id` it goes on; without, every batch is told to cancel, and ends each of its requests one way or another.
   */
  cancel(id?: string): Promise<{ readonly canceled: number; readonly canceling: number }>;
}

/** The parts of an SDK client that the batch lane needs, beside those that governing needs. */
export interface BatchClient {
  readonly baseURL?: string;
  /** `never`: each line of the SDK has an options type of its own for these two. */
  post(path: string, options: never): PromiseLike<unknown>;
  get(path: string, options: never): PromiseLike<unknown> & { asResponse(): Promise<Response> };
}
