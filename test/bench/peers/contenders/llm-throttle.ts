import { setTimeout } from 'node:timers/promises';
import { LLMThrottle } from '@aid-on/llm-throttle';
import { type Contender, clientFor, send, waitOf } from '../contender.ts';
import { KNOWN, LIMITS } from '../scenario.ts';

const silent = { warn() {}, error() {}, info() {}, debug() {} };

/**
 * Two token buckets, requests and tokens; tokens are those of output, which is what binds here. They can be no less deep
 * than a minute, so that of tokens is taken down to the account's depth before the first call; while there is too much to
 * do it never fills again. It tells whether a call may go and has no queue: callers wait in line for `availableIn`. A call
 * takes the mean answer and is adjusted by what it took. It knows neither users nor priorities. The SDK's own two retries
 * for what is refused.
 */
export const llmThrottle: Contender = {
  name: 'llm-throttle',
  packages: ['@aid-on/llm-throttle'],
  how: "buckets of requests and output tokens, begun at the account's depth (they are a minute deep at the least); callers wait in line for `availableIn`; a call the mean answer and then `adjustConsumption`; neither users nor priorities; `maxRetries: 2`",
  start(url) {
    const client = clientFor(url);
    const limiter = new LLMThrottle({
      rpm: LIMITS.requestsPerMinute,
      tpm: LIMITS.outputTokensPerMinute,
      adjustmentFailureStrategy: 'compensate',
      logger: silent,
    });
    limiter.consume('depth', LIMITS.outputTokensPerMinute - KNOWN.burstTokens);
    let calls = 0;
    let line = Promise.resolve();
    const turn = async (id: string, signal: AbortSignal, checkWait: () => void) => {
      signal.throwIfAborted();
      checkWait();
      while (!limiter.consume(id, KNOWN.meanAnswerTokens)) {
        const { availableIn = 100 } = limiter.canProcess(KNOWN.meanAnswerTokens);
        await setTimeout(Math.max(5, availableIn), undefined, { signal });
      }
    };
    return async (ask, signal) => {
      const id = `call-${calls++}`;
      const checkWait = waitOf(ask);
      const mine = line.then(() => turn(id, signal, checkWait));
      line = mine.catch(() => {});
      await mine;
      try {
        const tokens = await send(client, ask, signal);
        limiter.adjustConsumption(id, tokens);
        return tokens;
      } catch (error) {
        limiter.adjustConsumption(id, 0);
        throw error;
      }
    };
  },
};
