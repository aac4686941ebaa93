import { setImmediate } from 'node:timers/promises';
import { isRefusal } from './account.ts';
import { checkBatch } from './batch-check.ts';
import type { Batch } from './batches.ts';
import { failure } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { FaultSet } from './faults.ts';
import type { OpenEntry } from './ledger.ts';
import { failEntry, limitHeaders, refusalMessage, retryAfter } from './messages.ts';
import { BATCH, type Organization } from './organization.ts';
import type { Headers } from './rate-limit-headers.ts';

const BATCHES = '/v1/messages/batches';

export const isBatchPath = (path: string): boolean => path === BATCHES || path.startsWith(`${BATCHES}/`);

/** Every endpoint of Message Batches: one bucket of requests for all of them. */
export async function serveBatches(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry,
  faults: FaultSet,
): Promise<void> {
  const decision = organization
    .account(BATCH)
    .admit(organization.clock.now(), { inputTokens: 0, maxTokens: 0 });
  if (isRefusal(decision)) {
    failEntry(entry, 'refused', 429, 'rate_limit_error');
    entry.refusedBy = decision.dimension;
    entry.retryAfterSeconds = decision.retryAfterSeconds;
    const headers = limitHeaders(organization, entry, faults, retryAfter(decision));
    exchange.fail(failure(429, refusalMessage(decision, 'batches')), headers);
    return;
  }
  entry.outcome = 'admitted';
  entry.status = 200;
  await answer(organization, exchange, entry, faults);
}

async function answer(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry,
  faults: FaultSet,
): Promise<void> {
  const { method, path, headers } = exchange.request;
  const { batches } = organization;
  const limits = limitHeaders(organization, entry, faults);
  const origin = `http://${headers.host ?? '127.0.0.1'}`;
  const fail = (status: number, message: string): void => {
    failEntry(entry, 'invalid', status, failure(status, message).type);
    exchange.fail(failure(status, message), limits);
  };
  const send = async (body: object): Promise<void> => {
    const { ending } = faults;
    if (ending?.kind !== 'unanswered') return exchange.sendJson(200, limits, body);
    // The thing is done; who asked for it is not to hear of it.
    if (ending.how !== 'silence') return exchange.reset();
    await exchange.wait(Number.POSITIVE_INFINITY);
  };

  if (path === BATCHES) {
    if (method === 'POST')
      return create(organization, exchange, entry, limits, (batch) => send(batches.describe(batch, origin)));
    if (method === 'GET') return send(list(organization, exchange, origin));
    return fail(405, 'Method Not Allowed');
  }
  const [, id = '', action] = /^\/v1\/messages\/batches\/([^/]+)(?:\/([^/]+))?$/.exec(path) ?? [];
  const batch = batches.get(id);
  if (batch === undefined) return fail(404, `batch ${id} not found`);
  if (action === undefined && method === 'GET') return send(batches.describe(batch, origin));
  if (action === undefined && method === 'DELETE') {
    if (!batches.isEnded(batch))
      return fail(400, 'A batch can be deleted only when its processing has ended');
    batches.delete(batch);
    return send({ id, type: 'message_batch_deleted' });
  }
  if (action === 'cancel' && method === 'POST') {
    batches.cancel(batch);
    return send(batches.describe(batch, origin));
  }
  if (action === 'results' && method === 'GET') {
    const lines = batches.lines(batch);
    if (lines === undefined) return fail(404, `batch ${id} has no results`);
    return deliver(exchange, lines, limits, faults);
  }
  return fail(404, 'Not found');
}

function create(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry,
  limits: Headers,
  send: (batch: Batch) => Promise<void>,
): Promise<void> | void {
  const { batches, config } = organization;
  const checked = checkBatch(exchange.request.body, config.batches.maxPerBatch);
  if ('failure' in checked) {
    failEntry(entry, 'invalid', checked.failure.status, checked.failure.type);
    return exchange.fail(checked.failure, limits);
  }
  if (batches.queued + checked.requests.length > config.batches.maxQueued) {
    failEntry(entry, 'refused', 429, 'rate_limit_error');
    const message = `This request would exceed your organization's limit of ${config.batches.maxQueued} batch requests in the processing queue.`;
    return exchange.fail(failure(429, message), limits);
  }
  const batch = batches.create(checked.requests, exchange.request.headers['anthropic-version']);
  entry.batchId = batch.id;
  return send(batch);
}

function list(organization: Organization, exchange: Exchange, origin: string): object {
  const query = new URLSearchParams(exchange.request.query);
  const asked = Number(query.get('limit') ?? 20);
  const limit = Number.isInteger(asked) && asked >= 1 ? Math.min(asked, 1_000) : 20;
  const all = organization.batches.all();
  const after = query.get('after_id');
  const before = query.get('before_id');
  const indexOf = (id: string) => all.findIndex((batch) => batch.id === id);
  let page: Batch[];
  let hasMore: boolean;
  if (before !== null) {
    const end = Math.max(0, indexOf(before));
    page = all.slice(Math.max(0, end - limit), end);
    hasMore = end - limit > 0;
  } else {
    const start = after === null ? 0 : indexOf(after) + 1;
    page = all.slice(start, start + limit);
    hasMore = start + limit < all.length;
  }
  return {
    data: page.map((batch) => organization.batches.describe(batch, origin)),
    has_more: hasMore,
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null,
  };
}

/** Lines that are written at once, before others get their turn. */
const LINES_PER_TURN = 50;

/** The results as they are read: line by line, at the reader's pace. */
async function deliver(
  exchange: Exchange,
  lines: Iterable<{ customId: string; line: string }>,
  limits: Headers,
  faults: FaultSet,
): Promise<void> {
  const { ending } = faults;
  exchange.open(200, { 'content-type': 'application/x-jsonl', ...limits });
  const breaksOff = ending?.kind === 'truncate' || ending?.kind === 'reset';
  const until = breaksOff ? (ending.afterEvents ?? LINES_PER_TURN) : Number.POSITIVE_INFINITY;
  let written = 0;
  for (const { customId, line } of lines) {
    if (exchange.isOver) return;
    if (written >= until) break;
    let text: string | undefined = line;
    for (const fault of faults.results) if (text !== undefined) text = fault.line(text, customId);
    if (text === undefined) continue;
    await exchange.write(Buffer.from(`${text}\n`));
    written += 1;
    if (written % LINES_PER_TURN === 0) await setImmediate();
  }
  if (ending?.kind === 'reset') await exchange.reset();
  else exchange.response.end();
}
