import { isRecord } from '../json.ts';
import { callerKey, type Plan } from '../policy/plan.ts';
import type { ApiRequest, Call, MessageBody } from '../request/read.ts';
import { boundsOf } from '../settlement/bounds.ts';
import type { Parts } from './parts.ts';
import { linkSignals, sleep } from './signals.ts';

/** A count that takes longer is done without: the call itself waits for it. */
const COUNT_MS = 2_000;
const PATH = '/v1/messages';

/** What the endpoint takes of a message's body; it refuses everything else. Source: MessageCountTokensParams of SDK 1.13. */
const FIELDS = ['model', 'messages', 'system', 'tools', 'tool_choice', 'thinking', 'output_config'] as const;
/** The same of a call to the beta endpoint: what it takes out of the prompt is then counted as taken out. */
const BETA_FIELDS = [...FIELDS, 'context_management', 'compaction', 'mcp_servers', 'output_format'] as const;

export interface CountAsked {
  readonly account: string;
  readonly call: Call;
  readonly plan: Plan;
  readonly request: ApiRequest;
  readonly signals: readonly AbortSignal[];
  readonly deadlineAt: number;
  /** Makes the request as a governed call of its own: it has a bucket of its own. */
  readonly govern: (request: ApiRequest) => Promise<Response>;
}

/** Whether a call's input is estimated so large that the API is to count it first. */
export function isWorthCounting(parts: Parts, account: string, call: Call, plan: Plan): boolean {
  const above = parts.rules.config.countTokens?.above;
  if (above === undefined || call.kind !== 'messages' || call.body === undefined || plan.isShadow)
    return false;
  if (parts.counting.isQuiet(account, callerKey(plan.caller), parts.clock.now())) return false;
  // What is large in few bytes (images and documents by URL or `file_id`) is known by its estimate alone.
  return parts.admission.inputOf(plan, call) > above;
}

/**
 * The call with its input as the API counts it: a large prompt is worth a round trip, since a guess that is a tenth off holds
 * back thousands of tokens. The call as it was where that cannot be had.
 */
export async function countInput(parts: Parts, asked: CountAsked): Promise<Call> {
  const { account, call, plan, deadlineAt } = asked;
  const now = parts.clock.now();
  const result = await ask(parts, asked, Math.min(now + COUNT_MS, deadlineAt));
  if (typeof result === 'number') {
    parts.counting.counted(account);
    return { ...call, counted: { tokens: result, modelId: plan.modelId } };
  }
  if (asked.signals.some((signal) => signal.aborted)) return call;
  if (parts.counting.failed(account, callerKey(plan.caller), result === 'absent', parts.clock.now())) {
    parts.once.warn(
      'HG_COUNT_TOKENS',
      `account ${account}`,
      'count_tokens gave no count: input is estimated, and it is asked again in a minute',
    );
  }
  return call;
}

async function ask(
  { alarms, slices }: Parts,
  { call, plan, request, signals, govern }: CountAsked,
  until: number,
): Promise<Count> {
  const { body = {} } = call;
  const fields: readonly (keyof MessageBody)[] = request.url.includes('beta=true') ? BETA_FIELDS : FIELDS;
  const given = fields.filter((field) => body[field] !== undefined).map((field) => [field, body[field]]);
  const linked = linkSignals(slices, signals);
  const headers = new Headers(request.headers);
  headers.delete('content-length');
  const counting = govern({
    ...request,
    url: request.url.replace(PATH, `${PATH}/count_tokens`),
    headers,
    body: JSON.stringify({ ...Object.fromEntries(given), model: plan.modelId }),
    signal: linked.signal,
  });
  const late = sleep(slices, (wake) => alarms.set(until, wake, true), [linked.signal]);
  try {
    const answer = await Promise.race([counting.then((response) => tokensOf(call, response)), late]);
    return answer ?? undefined;
  } catch {
    // Refused, failed, or no JSON: the estimate is what there was before, too.
    return undefined;
  } finally {
    // Ends the request where it is late, and the alarm where it is not.
    linked.abort(new Error('Headgate: the count is not waited for any longer'));
    linked.release();
    counting.catch(() => {});
  }
}

/** Tokens; `absent` where the API has no such endpoint; nothing where it has no number for this prompt. */
type Count = number | 'absent' | undefined;

/** Statuses that say that there is no such endpoint. */
const ABSENT = new Set([404, 405, 410, 501]);

async function tokensOf(call: Call, response: Response): Promise<Count> {
  if (ABSENT.has(response.status)) return 'absent';
  const told: unknown = await response.json();
  const tokens = response.ok && isRecord(told) ? told.input_tokens : undefined;
  // No prompt is longer, whatever stands between us and the API has counted.
  if (typeof tokens === 'number' && Number.isInteger(tokens) && tokens > 0)
    return Math.min(tokens, boundsOf(call, undefined).input);
  // A gateway that answers every path alike.
  return response.ok ? 'absent' : undefined;
}
