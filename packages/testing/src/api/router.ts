import { isRefusal } from './account.ts';
import { isBatchPath, serveBatches } from './batch-routes.ts';
import { listModels, listRateLimits, retrieveModel } from './catalog.ts';
import { type ApiFailure, errorBody, failure, proxyPage, typeOf } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { EndingFault, FaultSet, StatusFault } from './faults.ts';
import { field, isObject, textOf } from './json.ts';
import type { OpenEntry } from './ledger.ts';
import { answerMessage, failEntry, limitHeaders, refusalMessage, retryAfter } from './messages.ts';
import { findModel } from './models.ts';
import { BATCH, type Organization, TOKEN_COUNT } from './organization.ts';
import { countInput } from './tokens.ts';
import { checkAccess, checkMessage } from './validate.ts';

const MESSAGES = '/v1/messages';
const COUNT_TOKENS = '/v1/messages/count_tokens';

/** Takes one request from its arrival to its end. */
export async function route(
  organization: Organization,
  exchange: Exchange,
  tooLarge: boolean,
): Promise<void> {
  const { request } = exchange;
  const faults = organization.faults.pick(request);
  const entry = openEntry(organization, exchange);
  if (entry !== undefined) organization.ledger.open(entry);
  exchange.onDisconnect(() => {
    if (entry !== undefined) entry.disconnected = true;
  });

  // A message that will be generated stalls after its admission: what it costs does not wait.
  const isGenerated = entry?.path === MESSAGES && !endsAtOnce(faults.ending);
  if (!isGenerated) await exchange.wait(faults.stallMs);
  if (exchange.isOver) return;
  if (await endAtOnce(organization, exchange, entry, faults)) return;

  const refusal = tooLarge
    ? failure(413, 'Request exceeds the maximum size')
    : checkAccess(request, organization.config);
  if (refusal !== undefined) refuseInvalid(exchange, entry, refusal);
  else if (entry === undefined) serveCatalog(organization, exchange);
  else if (isBatchPath(entry.path)) await serveBatches(organization, exchange, entry, faults);
  else await serveMessages(organization, exchange, entry, faults);
}

async function serveMessages(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry,
  faults: FaultSet,
): Promise<void> {
  const isCount = entry.path === COUNT_TOKENS;
  const checked = checkMessage(exchange.request, organization.config.models, isCount ? 'count' : 'message');
  if ('failure' in checked) {
    refuseInvalid(exchange, entry, checked.failure);
    return;
  }
  const { request, model } = checked;
  if (!isCount) {
    await answerMessage(organization, exchange, entry, request, model, faults);
    return;
  }
  const account = organization.account(TOKEN_COUNT);
  const decision = account.admit(organization.clock.now(), { inputTokens: 0, maxTokens: 0 });
  if (isRefusal(decision)) {
    failEntry(entry, 'refused', 429, 'rate_limit_error');
    entry.refusedBy = decision.dimension;
    entry.retryAfterSeconds = decision.retryAfterSeconds;
    const headers = limitHeaders(organization, entry, faults, retryAfter(decision));
    exchange.fail(failure(429, refusalMessage(decision, entry.model)), headers);
    return;
  }
  entry.outcome = 'admitted';
  entry.status = 200;
  exchange.sendJson(200, limitHeaders(organization, entry, faults), {
    input_tokens: countInput(request, model).total,
  });
}

function serveCatalog(organization: Organization, exchange: Exchange): void {
  const { method, path } = exchange.request;
  const modelId = /^\/v1\/models\/([^/]+)$/.exec(path)?.[1];
  if (method === 'GET' && path === '/v1/models') listModels(organization, exchange);
  else if (method === 'GET' && path === '/v1/organizations/rate_limits')
    listRateLimits(organization, exchange);
  else if (method === 'GET' && modelId !== undefined) {
    retrieveModel(organization, exchange, decodeURIComponent(modelId));
  } else exchange.fail(failure(404, 'Not found'));
}

function endsAtOnce(ending: EndingFault | undefined): boolean {
  if (ending?.kind === 'reset') return ending.at === 'before-headers';
  return ending?.kind === 'overload' || ending?.kind === 'status';
}

/** Faults that need no real answer. True when the request has come to its end. */
async function endAtOnce(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry | undefined,
  faults: FaultSet,
): Promise<boolean> {
  const { ending } = faults;
  switch (ending?.kind) {
    case 'overload': {
      const overloaded: StatusFault = { ...ending, kind: 'status', status: 529, message: 'Overloaded' };
      sendStatus(organization, exchange, entry, overloaded, faults);
      return true;
    }
    case 'status':
      sendStatus(organization, exchange, entry, ending, faults);
      return true;
    case 'reset':
      if (ending.at !== 'before-headers') return false;
      if (entry !== undefined) failEntry(entry, 'fault', 0, 'reset');
      await exchange.reset();
      return true;
    default:
      return false;
  }
}

function sendStatus(
  organization: Organization,
  exchange: Exchange,
  entry: OpenEntry | undefined,
  fault: StatusFault,
  faults: FaultSet,
): void {
  const { status, type = typeOf(status), message = type, errorCode, body } = fault;
  if (entry !== undefined) {
    failEntry(entry, 'fault', status, type);
    entry.errorCode = errorCode;
    if (organization.config.refusedConsume && entry.bucket !== undefined) {
      organization.account(entry.bucket).take(organization.clock.now(), 'requests', 1);
    }
  }
  // A refusal shows the levels, as a real one would; other failures come from in front of the limits.
  const isRateLimit = status === 429 && entry !== undefined;
  const limits = isRateLimit ? limitHeaders(organization, entry, faults) : {};
  const headers = { ...limits, ...fault.headers };
  const failed: ApiFailure = { status, type, message, ...(errorCode === undefined ? {} : { errorCode }) };
  if (body === undefined) exchange.sendJson(status, headers, errorBody(failed, exchange.requestId));
  else if (typeof body === 'object') exchange.sendJson(status, headers, body);
  else {
    const isHtml = body === 'html';
    const text = isHtml ? proxyPage(status) : body === 'empty' ? '' : body;
    const contentType = isHtml ? 'text/html' : 'text/plain';
    exchange.open(status, {
      'content-type': contentType,
      'content-length': String(Buffer.byteLength(text)),
      ...headers,
    });
    exchange.response.end(text);
  }
}

function refuseInvalid(exchange: Exchange, entry: OpenEntry | undefined, problem: ApiFailure): void {
  if (entry !== undefined) failEntry(entry, 'invalid', problem.status, problem.type);
  exchange.fail(problem);
}

/** The ledger keeps what generates or counts tokens, and all that concerns batches; reading a catalogue is no attempt. */
function openEntry(organization: Organization, exchange: Exchange): OpenEntry | undefined {
  const { method, path, body, at } = exchange.request;
  const isCount = path === COUNT_TOKENS;
  const isBatch = isBatchPath(path);
  if (!isBatch && (method !== 'POST' || (path !== MESSAGES && !isCount))) return undefined;
  const model = textOf(field(body, 'model'));
  const known = findModel(organization.config.models, model);
  const account =
    isCount || isBatch
      ? organization.account(isCount ? TOKEN_COUNT : BATCH)
      : organization.accountFor(known?.id ?? model, model);
  const userId = field(field(body, 'metadata'), 'user_id');
  const maxTokens = field(body, 'max_tokens');
  return {
    at: organization.clock.wall(),
    arrivedAt: at,
    requestId: exchange.requestId,
    path,
    model,
    bucket: account?.limits.name,
    userId: typeof userId === 'string' ? userId : undefined,
    batchId: undefined,
    customId: undefined,
    stream: isObject(body) && body.stream === true,
    // Until the request has been looked at.
    outcome: 'invalid',
    status: 0,
    errorType: undefined,
    errorCode: undefined,
    refusedBy: undefined,
    retryAfterSeconds: undefined,
    estimatedInputTokens: 0,
    inputTokens: 0,
    cacheRead: 0,
    cacheCreation: 0,
    cacheCreation1h: 0,
    outputTokens: 0,
    maxTokens: typeof maxTokens === 'number' ? maxTokens : 0,
    firstTokenAt: undefined,
    endedAt: undefined,
    disconnected: false,
    generatedTokens: undefined,
  };
}
