import type { ConfigProblem } from '@headgate/core';
import { type Config, compileGlobs } from '@headgate/core/simulation';
import type { EventClock } from './clock.ts';
import type { AccountBucket, Traffic } from './traffic.ts';
import { ModelledUpstream } from './upstream.ts';

/** Depth of a bucket that neither file tells, as a share of a minute. */
const ASSUMED_BURST = 0.1;

/** The limits that the rehearsal is held to: those of the traffic file, or else of the configuration. */
export function accountOf(
  config: Config,
  traffic: Traffic,
): { readonly buckets: readonly AccountBucket[]; readonly problems: readonly ConfigProblem[] } {
  if (traffic.account !== undefined) return { buckets: traffic.account, problems: [] };
  const problems: ConfigProblem[] = [];
  const missing = (what: string): ConfigProblem => ({
    code: 'HG_WRONG_VALUE',
    path: 'account',
    message: `${what}, so the account cannot be modelled`,
    expected: 'every limit, in the configuration or here',
    received: 'nothing',
  });
  const buckets = config.account.flatMap((bucket): AccountBucket[] => {
    const { name, models, requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute } = bucket;
    if (
      requestsPerMinute === undefined ||
      inputTokensPerMinute === undefined ||
      outputTokensPerMinute === undefined
    ) {
      problems.push(missing(`the configuration leaves out limits of bucket "${name}"`));
      return [];
    }
    return [
      {
        name,
        models,
        requestsPerMinute,
        inputTokensPerMinute,
        outputTokensPerMinute,
        burst: bucket.burst ?? ASSUMED_BURST,
        outputCharging: bucket.outputCharging,
      },
    ];
  });
  if (config.account.length === 0) problems.push(missing('the configuration has no limits'));
  return { buckets, problems };
}

export interface AccountModel {
  readonly buckets: readonly { readonly config: AccountBucket; readonly upstream: ModelledUpstream }[];
  /** Nothing where no bucket is for the model. */
  find(modelId: string): ModelledUpstream | undefined;
}

/** Models that are remembered with their buckets. */
const MAX_KNOWN = 512;

export function modelAccount(clock: EventClock, configs: readonly AccountBucket[]): AccountModel {
  const buckets = configs.map((config) => ({
    config,
    matches: compileGlobs(config.models),
    upstream: new ModelledUpstream(clock, { ...config, depthSeconds: config.burst * 60 }),
  }));
  const known = new Map<string, ModelledUpstream | undefined>();
  return {
    buckets,
    find(modelId) {
      if (known.has(modelId)) return known.get(modelId);
      const upstream = buckets.find(({ matches }) => matches(modelId))?.upstream;
      if (known.size < MAX_KNOWN) known.set(modelId, upstream);
      return upstream;
    },
  };
}
