import type { Alarms } from '../alarms.ts';
import type { Clock } from '../clock.ts';
import { isHeadgateError, OWN_SPEND_LIMIT } from '../errors.ts';
import { isRecord, text } from '../json.ts';
import type { BatchItem } from '../stores/batch-journal.ts';
import type { BatchClient } from './types.ts';

const PATH = '/v1/messages/batches';
/** What an answer's headers may take. The body of a new batch can be large. */
const POST_MS = 300_000;
const GET_MS = 60_000;
/** Batches on a page of the list. */
const PAGE = 100;

/** A batch, as far as the lane looks at it. */
export interface ApiBatch {
  readonly id: string;
  readonly isEnded: boolean;
  readonly total: number;
  /** In milliseconds of the epoch, by the API's clock. */
  readonly createdAt: number;
  readonly resultsUrl: string | undefined;
}

/** How a request to a batch endpoint failed. */
export type ApiFailure = {
  /**
   * `refused`: nothing came of it, and later it may. `invalid`: nothing came of it, and nothing will. `gone`: there is no
   * such batch. `doubt`: it was sent, and nobody knows. `closed`: the governor is.
   */
  readonly kind: 'refused' | 'invalid' | 'gone' | 'doubt' | 'closed';
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;
  readonly errorType: string;
  /** The API's error response, where it gave one. */
  readonly body: Record<string, unknown> | undefined;
};

/** The requests to the batch endpoints, through the governed client: its gate paces them. */
export class BatchApi {
  readonly #client: BatchClient;
  readonly #within: <T>(fn: () => T) => T;

  /** `within` runs each request as the lane's own: they are nobody's in particular. */
  constructor(client: BatchClient, within: <T>(fn: () => T) => T) {
    this.#client = client;
    this.#within = within;
  }

  #get(path: string, options: object): ReturnType<BatchClient['get']> {
    return this.#within(() => this.#client.get(path, options as never));
  }

  #post(path: string, options: object): PromiseLike<unknown> {
    return this.#within(() => this.#client.post(path, options as never));
  }

  async create(items: readonly BatchItem[]): Promise<ApiBatch> {
    // Put together out of the very text that was handed over: parsing it would cost as much again.
    const requests = items.map(({ id, params }) => `{"custom_id":${JSON.stringify(id)},"params":${params}}`);
    return readBatch(
      await this.#post(PATH, {
        body: `{"requests":[${requests.join(',')}]}`,
        headers: { 'content-type': 'application/json' },
        timeout: POST_MS,
      }),
    );
  }

  async retrieve(id: string): Promise<ApiBatch> {
    return readBatch(await this.#get(`${PATH}/${encodeURIComponent(id)}`, { timeout: GET_MS }));
  }

  async cancel(id: string): Promise<void> {
    await this.#post(`${PATH}/${encodeURIComponent(id)}/cancel`, { timeout: GET_MS });
  }

  /** A page of the list, the newest first, and how to go on. */
  async list(after: string | undefined): Promise<{ batches: ApiBatch[]; next: string | undefined }> {
    const query = after === undefined ? { limit: PAGE } : { limit: PAGE, after_id: after };
    const page = await this.#get(PATH, { query, timeout: GET_MS });
    const data = isRecord(page) && Array.isArray(page.data) ? page.data.map(readBatch) : [];
    const last = isRecord(page) && page.has_more === true ? text(page.last_id) : undefined;
    return { batches: data, next: last };
  }

  /**
   * The results as they come: from the address that the API gave, where that is of the host that the client talks to.
   * Behind a gateway it is another, to which the client's key must not go: there the gateway is asked.
   */
  async results({ id, resultsUrl }: ApiBatch): Promise<ReadableStream<Uint8Array>> {
    const own = `${PATH}/${encodeURIComponent(id)}/results`;
    const isOwnHost = resultsUrl !== undefined && originOf(resultsUrl) === originOf(this.#client.baseURL);
    const response = await this.#get(isOwnHost ? resultsUrl : own, {
      headers: { accept: 'application/binary' },
      timeout: GET_MS,
      __binaryResponse: true,
    }).asResponse();
    if (response.body === null) throw new TypeError('the results have no body');
    return response.body;
  }
}

function originOf(url: string | undefined): string | undefined {
  return url !== undefined && URL.canParse(url) ? new URL(url).origin : undefined;
}

/** @throws TypeError for what is no batch. */
function readBatch(value: unknown): ApiBatch {
  const id = isRecord(value) ? text(value.id) : undefined;
  if (!isRecord(value) || id === undefined) throw new TypeError('the API answered with no batch');
  const counts = isRecord(value.request_counts) ? Object.values(value.request_counts) : [];
  return {
    id,
    isEnded: value.processing_status === 'ended',
    total: counts.reduce<number>((sum, count) => sum + (typeof count === 'number' ? count : 0), 0),
    createdAt: Date.parse(text(value.created_at) ?? '') || 0,
    resultsUrl: text(value.results_url),
  };
}

/** Nothing was sent when the connection itself could not be made. */
const UNSENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** What a failed request means. Pure; never throws. */
export function classifyFailure(error: unknown): ApiFailure {
  const fields = isRecord(error) ? error : {};
  const status = typeof fields.status === 'number' ? fields.status : undefined;
  const base = { status, retryAfterMs: undefined, body: undefined };
  if (isHeadgateError(error)) {
    const { code, reason, retryAfterMs } = error;
    // Ended while it ran: it may have arrived.
    const kind = code === 'aborted' ? 'doubt' : reason === 'closed' ? 'closed' : 'refused';
    return { ...base, kind, retryAfterMs, errorType: code };
  }
  if (status === undefined) {
    return { ...base, kind: isUnsent(error) ? 'refused' : 'doubt', errorType: 'connection_error' };
  }
  const body = isRecord(fields.error) ? fields.error : undefined;
  const inner = isRecord(body?.error) ? body.error : undefined;
  const errorType = text(inner?.type) ?? 'api_error';
  const headers = fields.headers instanceof Headers ? fields.headers : undefined;
  const seconds = Number(headers?.get('retry-after') ?? Number.NaN);
  const retryAfterMs = seconds > 0 ? Math.min(seconds, 86_400) * 1_000 : undefined;
  // No money is no fault of the requests: they wait for it.
  const isBroke = status === 402 || (status === 400 && OWN_SPEND_LIMIT.test(text(inner?.message) ?? ''));
  return { kind: isBroke ? 'refused' : kindOf(status), status, retryAfterMs, errorType, body };
}

function kindOf(status: number): ApiFailure['kind'] {
  if (status === 404) return 'gone';
  // Overload and limits stand before anything is done; of other failures of the server nobody knows.
  if (status === 429 || status === 529) return 'refused';
  if (status >= 500 || status === 408 || status === 409) return 'doubt';
  return 'invalid';
}

function isUnsent(error: unknown): boolean {
  const seen = new Set<unknown>();
  for (let at = error; isRecord(at) && !seen.has(at); at = at.cause) {
    if (typeof at.code === 'string' && UNSENT.has(at.code)) return true;
    seen.add(at);
  }
  return false;
}

/** Milliseconds that a stream of results may go without a chunk. */
const IDLE_MS = 60_000;

/** Reads a stream chunk by chunk, at the pace of whoever takes them; one that stalls is given up. */
export async function* chunksOf(
  stream: ReadableStream<Uint8Array>,
  alarms: Alarms,
  clock: Clock,
): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      let onIdle: ((error: Error) => void) | undefined;
      const idle = new Promise<never>((_, reject) => {
        onIdle = reject;
      });
      const alarm = alarms.set(clock.now() + IDLE_MS, () => onIdle?.(new Error('the results stall')));
      const next = await Promise.race([reader.read(), idle]).finally(() => alarm.cancel());
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Also where the stream has broken, or whoever reads has had enough: the connection goes with it.
    reader.cancel().catch(() => undefined);
  }
}
