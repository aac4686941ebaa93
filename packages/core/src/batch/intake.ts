import { randomUUID } from 'node:crypto';
import type { Admission } from '../admission/admission.ts';
import { economize } from '../admission/thrift.ts';
import { ANONYMOUS } from '../caller/caller.ts';
import type { CallerSource, ResolvedCaller } from '../caller/scope.ts';
import type { Scopes } from '../caller/scopes.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { UnknownCallerError } from '../errors.ts';
import { isRecord } from '../json.ts';
import type { Plan } from '../policy/plan.ts';
import type { Policy } from '../policy/policy.ts';
import type { Call } from '../request/read.ts';
import { boundsOf } from '../settlement/bounds.ts';
import type { BatchItem } from '../stores/batch-journal.ts';
import { currentTrace } from '../telemetry/batch.ts';

/** What a request needs on its way in. */
export interface IntakeParts {
  readonly clock: Clock;
  readonly scopes: Scopes;
  readonly admission: Admission;
  readonly account: string;
  rules(): { readonly config: Config; readonly policy: Policy };
}

/** What the API takes as a `custom_id`. */
const CUSTOM_ID = /^[a-zA-Z0-9_-]{1,64}$/;

/** @throws TypeError naming the rule and the value. */
export function checkId(id: string): string {
  if (CUSTOM_ID.test(id)) return id;
  throw new TypeError(
    `Headgate batch customId: expected 1 to 64 letters, digits, "_" or "-", received ${JSON.stringify(id.slice(0, 80))}`,
  );
}

/** Reads what is to go in a batch. @throws TypeError for what no batch can hold. */
export function readParams(params: unknown): Call & { readonly body: Record<string, unknown> } {
  if (!isRecord(params)) {
    throw new TypeError(
      `Headgate batch: expected the params of messages.create, received ${params === null ? 'null' : typeof params}`,
    );
  }
  if (params.stream === true)
    throw new TypeError('Headgate batch: expected params without a stream, received stream: true');
  const { model, max_tokens: maxTokens } = params;
  if (typeof model !== 'string' || model === '')
    throw new TypeError(`Headgate batch: expected params with a model, received model: ${String(model)}`);
  return {
    kind: 'messages',
    model,
    maxTokens: typeof maxTokens === 'number' && maxTokens > 0 ? Math.floor(maxTokens) : undefined,
    isStreaming: false,
    body: params,
    bytes: 0,
    isReplayable: true,
  };
}

/** Who hands the request over: the caller given, or the one in scope. */
export function callerOf(
  { scopes, rules }: IntakeParts,
  source: CallerSource | undefined,
): ResolvedCaller | Promise<ResolvedCaller> | undefined {
  const scope = source === undefined ? scopes.current() : scopes.openWhole(source, scopes.current());
  if (scope !== undefined) return scope.resolve();
  const { config } = rules();
  if (config.unknownCaller === 'refuse' && !config.shadow) {
    throw new UnknownCallerError(
      'the request was submitted outside every caller scope; name its caller, or use governor.run',
      { reason: 'unknown_caller' },
    );
  }
  return undefined;
}

/** The request as it goes into the journal, charged to its caller's quotas. @throws HeadgateError when it is refused. */
export function makeItem(
  { clock, admission, account, rules }: IntakeParts,
  call: Call & { readonly body: Record<string, unknown> },
  planned: Plan,
  customId: string | undefined,
): BatchItem {
  const { plan } = economize(admission, rules().policy, account, call, planned);
  const { caller, lane, modelId, maxTokens } = plan;
  const { user = ANONYMOUS, tenant, tier, route } = caller;
  const changes = { model: modelId, ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }) };
  const params = JSON.stringify({ ...call.body, ...changes });
  return {
    id: customId ?? `hg-${randomUUID()}`,
    account,
    params,
    owner: {
      user,
      tenant,
      tier,
      route,
      lane,
      model: modelId,
      bounds: boundsOf({ body: call.body, bytes: params.length }, maxTokens),
    },
    charges: admission.chargeAhead(plan, call, account),
    trace: currentTrace(),
    submittedAt: clock.wall(),
    attempts: 0,
  };
}
