import type { Granted } from '../admission/admission.ts';
import type { PrefixLook } from '../estimate/prefixes.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import { sayBeyond, sayUnreadable } from '../settlement/beyond.ts';
import { type Charge, reprice, totalsOf } from '../settlement/charges.ts';
import { cacheEffect } from '../settlement/cost.ts';
import { blindReader, jsonReader, type Reader, type Reading, streamReader } from '../settlement/reading.ts';
import { type BodyEnd, tap } from '../settlement/tap.ts';
import { termsOf } from '../settlement/terms.ts';
import { sayUnpriced } from '../settlement/unpriced.ts';
import { ATTRIBUTES as A } from '../telemetry/names.ts';
import type { AttemptStory, CallStory } from '../telemetry/types.ts';
import type { UsagePart } from '../telemetry/values.ts';
import { drainsWhenLeft } from './left.ts';
import { catalogueReader } from './models.ts';
import { withOrigin } from './origin.ts';
import type { Parts, Rules } from './parts.ts';
import type { LinkedSignal } from './signals.ts';
import type { Watch } from './watch.ts';

interface Following {
  /** The account whose list of models this is, where it is one. */
  readonly catalogueOf: string | undefined;
  readonly call: Call;
  readonly rules: Rules;
  readonly plan: Plan;
  readonly granted: Granted | undefined;
  readonly prefix: PrefixLook;
  readonly story: CallStory;
  readonly telemetry: AttemptStory;
  readonly link: LinkedSignal;
  readonly watch: Watch;
  readonly startedAt: number;
  /** Takes the attempt's timers and listeners down. */
  readonly release: () => void;
}

/** Bytes of a JSON answer that are read before its reader asks for them: more than the longest answer has. */
const AHEAD = 8 * 2 ** 20;

/** The response to hand on: the same bytes, read along, with everything settled when they end. */
export function followBody(parts: Parts, response: Response, following: Following): Response {
  const { call, rules, plan, granted, story, telemetry, link, watch, release } = following;
  const { clock } = parts;
  const { status, statusText, headers } = response;

  // Requests are all that calls of another kind take: the reader's own pace is no matter of theirs.
  if (call.kind !== 'messages') granted?.lease.drop('refused');
  // A client library reads no body that was announced as empty. What such an answer took is not known: the estimate stands.
  if (response.body === null || headers.get('content-length') === '0') {
    release();
    const estimated = granted?.lease.drop('lost') ?? [];
    telemetry.end({ outcome: 'complete', estimated, model: plan.modelId });
    story.end('ok', clock.now());
    return response;
  }
  if (response.bodyUsed || response.body.locked) {
    // Another middleware has taken the body and put nothing in its place: the SDK has an error of its own for that.
    release();
    const estimated = granted?.lease.drop('lost') ?? [];
    telemetry.end({ outcome: 'error', errorType: '_OTHER', estimated, model: plan.modelId });
    story.end('error', clock.now(), '_OTHER');
    return response;
  }
  // A list or a file, of whatever size: it is read at its reader's own pace, for as long as it takes.
  if (call.kind === 'other' || call.kind === 'batches') watch.stop();

  const isEvents = headers.get('content-type')?.includes('text/event-stream') === true;
  const reader = readerOf(parts, following, isEvents);
  const drains = drainsWhenLeft(call, plan, rules);
  let firstTokenMs: number | undefined;
  let isInputSettled = false;
  const onAbort = () => tapped.cut(link.signal.reason);
  const tapped = tap(response.body, {
    drains,
    // A JSON answer is whole when it comes, and over then, whether anybody reads it or not.
    ahead: isEvents || call.kind !== 'messages' ? 0 : AHEAD,
    onAsk: () => watch.asked(),
    onMove: () => watch.moved(),
    onBytes: (bytes) => {
      reader.push(bytes);
      if (!call.isStreaming) return;
      if (reader.outputTokens > 0) {
        const now = clock.now();
        firstTokenMs ??= now - following.startedAt;
        telemetry.chunk(now);
        granted?.lease.progress(reader.outputTokens);
      }
      if (reader.isInputKnown && !isInputSettled) {
        isInputSettled = true;
        granted?.lease.inputKnown(reader.reading.charges ?? []);
      }
    },
    onEnd: (how) => {
      // `fetch` keeps the signal beyond the end of the request; what hangs on it would be kept with it.
      link.signal.removeEventListener('abort', onAbort);
      release();
      reader.end();
      settle(parts, following, reader, how, firstTokenMs);
    },
    errorOf: (error) => link.error ?? error,
  });
  link.signal.addEventListener('abort', onAbort, { once: true });
  if (drains) {
    link.onHangUp = () => {
      watch.drain();
      tapped.drain();
      return true;
    };
  }
  return withOrigin(new Response(tapped.body, { status, statusText, headers }), response);
}

/** Of what generates nothing only the list of models is looked at. */
function readerOf(parts: Parts, { call, plan, catalogueOf }: Following, isEvents: boolean): Reader {
  if (catalogueOf !== undefined) return catalogueReader((body) => parts.models.read(catalogueOf, body));
  if (call.kind !== 'messages') return blindReader;
  const terms = termsOf(plan, call);
  return isEvents ? streamReader(terms) : jsonReader(terms);
}

function settle(
  parts: Parts,
  { call, rules, plan, granted, prefix, story, telemetry, link }: Following,
  reader: Reader,
  how: BodyEnd,
  firstTokenMs: number | undefined,
): void {
  const hasCome = how === 'complete' || how === 'drained';
  // Thinking that is not shown is produced all the same.
  if (!hasCome && reader.reading.isHidden) reader.produced(granted?.lease.produced() ?? 0);
  const { reading } = reader;
  const { charges, promptTokens, isPromptSure } = reading;
  const isWhole = hasCome && reading.isComplete && reading.errorType === undefined;
  let estimated: readonly Charge[] = [];
  if (call.kind === 'messages') lookBeyond(parts, reading, isWhole, plan.modelId);
  if (call.kind !== 'messages') granted?.lease.drop('refused');
  else if (charges === undefined) estimated = granted?.lease.drop('lost', shownBy(reading, isWhole)) ?? [];
  else {
    granted?.lease.settle(charges, { isWhole, promptTokens, isPromptSure });
    sayUnpriced(parts.once, charges);
    learnCache(parts, rules, plan, call, prefix, charges);
    const expected = granted?.demand.estimate.rawInputTokens ?? 0;
    if (expected > 0 && promptTokens !== undefined) story.estimateSeen(promptTokens / expected);
  }

  // An error inside the stream makes its reader leave: it is the API's, and no hang-up. So is its silence.
  const isStalled = link.error?.reason === 'upstream_stalled';
  const isLeft = how === 'aborted' || how === 'drained' || link.signal.aborted;
  const isAborted = reading.errorType === undefined && !isStalled && isLeft;
  const outcome = isAborted ? 'aborted' : isWhole || call.kind !== 'messages' ? 'complete' : 'error';
  // A stream that breaks off without a word of its own: the connection's fault, whichever way it closed.
  const broken = isStalled ? 'timeout' : 'connection_error';
  const errorType =
    outcome === 'complete' ? undefined : isAborted ? 'aborted' : (reading.errorType ?? broken);
  const end = {
    outcome,
    errorType,
    reason: isAborted ? (link.error?.reason ?? 'aborted') : isStalled ? 'upstream_stalled' : undefined,
    charges,
    estimated,
    model: plan.modelId,
    responseModel: reading.model,
    messageId: reading.messageId,
    stopReason: reading.stopReason,
    firstTokenMs,
  } as const;
  telemetry.end(end);
  story.attemptEnded(end);
  story.end(outcome === 'complete' ? 'ok' : outcome, parts.clock.now(), errorType);
}

/** Output tokens that a whole answer shows. One that was too long to be read shows none. */
const shownBy = ({ outputTokens }: Reading, isWhole: boolean) =>
  isWhole && outputTokens > 0 ? outputTokens : undefined;

/** What an answer tells of its usage that cannot be: said once by model, and counted each time. */
function lookBeyond({ telemetry, once }: Parts, reading: Reading, isWhole: boolean, model: string): void {
  const isUnreadable = isWhole && reading.charges === undefined;
  const parts: UsagePart[] = [
    ...reading.beyond.map(({ part }) => part),
    ...(isUnreadable ? ['unreadable' as const] : []),
  ];
  for (const part of parts) telemetry.metrics.add('usageBounded', 1, { [A.usagePart]: part });
  sayBeyond(once, model, reading.beyond);
  if (isUnreadable) sayUnreadable(once, model);
}

/** What came of the cache, and what it and a smaller model have saved. */
function learnCache(
  parts: Parts,
  rules: Rules,
  plan: Plan,
  call: Call,
  prefix: PrefixLook,
  charges: readonly Charge[],
): void {
  const own = charges.filter(({ model }) => model === plan.modelId);
  const { written, cacheReadTokens, usd, pricing } = totalsOf(own);
  prefix.learned({ read: cacheReadTokens, written });
  const { metrics } = parts.telemetry;
  if (prefix.marks) {
    const effects = own.map((charge) => cacheEffect(plan.price, charge));
    const savedUsd = effects.reduce((sum, each) => sum + each.savedUsd, 0);
    const premiumUsd = effects.reduce((sum, each) => sum + each.premiumUsd, 0);
    if (savedUsd > 0) metrics.add('saved', savedUsd, { [A.mechanism]: 'cache' });
    if (premiumUsd > 0) metrics.add('cachePremium', premiumUsd, {});
  }
  if (plan.reroutedFrom === undefined) return;
  const asked = rules.policy.priceOf(plan.reroutedFrom, false);
  const instead = totalsOf(reprice(own, { ...termsOf(plan, call), priceOf: () => asked }));
  // A guess at a price saves nobody anything.
  if (pricing === 'known' && !instead.isUnpriced && instead.usd > usd)
    metrics.add('saved', instead.usd - usd, { [A.mechanism]: 'downgrade' });
}
