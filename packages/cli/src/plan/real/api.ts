import { compileGlobs, tokenizerOf } from '@headgate/core/simulation';
import type { ClaudeApi, ModelSpec } from '@headgate/testing';
import type { PlannedJob } from '../arrivals.ts';
import { lognormal } from '../random.ts';
import { FIRST_TOKEN_SPREAD, PACE_SPREAD } from '../rehearsal.ts';
import type { Meter, MeteredAccount } from '../tally.ts';
import type { AccountBucket, Traffic } from '../traffic.ts';
import type { Peers } from './peers.ts';

/** Entries of the ledger that are kept: those of the calls under way; its totals go on counting. */
const LEDGER_SIZE = 20_000;
const M = 1_000_000;

/** The modelled account as an API that answers over HTTP. */
export interface RealApi {
  readonly api: ClaudeApi;
  readonly account: MeteredAccount;
  /**
   * The call is about to be made under this id, as its `metadata.user_id`; `onArrived` hears of the model that is asked
   * once the API has let it in.
   */
  expect(id: string, job: PlannedJob, onArrived: (modelId: string) => void): void;
  forget(id: string): void;
}

export async function startApi(
  { testing }: Peers,
  {
    buckets,
    service,
    seed,
  }: { buckets: readonly AccountBucket[]; service: Traffic['service']; seed: number },
): Promise<RealApi> {
  const expected = new Map<string, { job: PlannedJob; onArrived: (modelId: string) => void }>();
  // Models of a trace are known only when they are met: the API reads this list at each request.
  const models: ModelSpec[] = [...testing.DEFAULT_MODELS];
  const api = await testing.startClaudeApi({
    seed,
    models,
    limits: buckets.map(({ burst, ...bucket }) => ({ ...bucket, burstSeconds: 60 * burst })),
    latency: {
      timeToFirstTokenMs: (random) => lognormal(random, service.firstToken, FIRST_TOKEN_SPREAD),
      tokensPerSecond: (random) => lognormal(random, service.tokensPerSecond, PACE_SPREAD),
    },
    output: ({ metadata, model }) => {
      const id = (metadata as { user_id?: unknown } | undefined)?.user_id;
      const call = expected.get(String(id));
      call?.onArrived(model);
      return call?.job.outputTokens ?? 1;
    },
    ledgerSize: LEDGER_SIZE,
    receivedSize: 0,
  });
  const meters = buckets.map((config) => ({ config, upstream: meterOf(api, config.name) }));
  const matches = buckets.map((config) => compileGlobs(config.models));
  const known = new Set<string>();
  return {
    api,
    account: {
      buckets: meters,
      find: (modelId) => meters[matches.findIndex((isFor) => isFor(modelId))]?.upstream,
    },
    expect(id, job, onArrived) {
      expected.set(id, { job, onArrived });
      if (known.has(job.model)) return;
      known.add(job.model);
      const isThere = models.some(
        ({ id: each, lifecycle }) =>
          lifecycle !== 'retired' && (each === job.model || each.replace(/-\d{8}$/, '') === job.model),
      );
      if (!isThere) models.unshift(unknownModel(job.model));
    },
    forget: (id) => void expected.delete(id),
  };
}

const unknownModel = (id: string): ModelSpec => ({
  id,
  maxTokens: M,
  maxInputTokens: M,
  tokenFactor: tokenizerOf(id) === 'newer' ? NEWER : 1,
});

/** The API counts so many tokens of the newer tokenizer for one of the older. */
const NEWER = 1.3;
/** 21 characters in which the API of `@headgate/testing` counts 5 tokens of the older tokenizer. */
const PHRASE = 'the sun and sky bird ';
const PER_PHRASE = 5;
/** What it counts for a request with one message, whatever the text. */
const PER_REQUEST = 11;
const TEXT = PHRASE.repeat(200_000);

/** A text in which the API counts about so many tokens, but for its own spread of a few per cent. */
export function textOf({ inputTokens, model }: PlannedJob): string {
  const factor = tokenizerOf(model) === 'newer' ? NEWER : 1;
  const chars = ((inputTokens - PER_REQUEST) * PHRASE.length) / PER_PHRASE / factor;
  return TEXT.slice(0, Math.max(1, Math.round(chars)));
}

function meterOf(api: ClaudeApi, bucket: string): Meter {
  return {
    used(kind) {
      const { admitted, inputTokens, outputTokens } = api.ledger.totals(bucket);
      return { requests: admitted, inputTokens, outputTokens }[kind];
    },
    get refused() {
      return api.ledger.totals(bucket).refused;
    },
  };
}
