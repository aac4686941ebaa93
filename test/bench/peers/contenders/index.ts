import type { Contender } from '../contender.ts';
import { bottleneck } from './bottleneck.ts';
import { cockatiel } from './cockatiel.ts';
import { headgate, headgatePerUser } from './headgate.ts';
import { llmThrottle } from './llm-throttle.ts';
import { pQueue } from './p-queue.ts';
import { rateLimiterFlexible } from './rate-limiter-flexible.ts';
import { retryLoop } from './retry-loop.ts';
import { sdk, sdkPatient } from './sdk.ts';

/** In the order of the table. */
export const CONTENDERS: readonly Contender[] = [
  headgate,
  headgatePerUser,
  sdk,
  sdkPatient,
  retryLoop,
  bottleneck,
  pQueue,
  rateLimiterFlexible,
  cockatiel,
  llmThrottle,
];
