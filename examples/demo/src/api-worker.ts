import { parentPort, workerData } from 'node:worker_threads';
import {
  type ClaudeApi,
  type LedgerTotals,
  type Levels,
  startClaudeApi,
  type Utilization,
} from '@headgate/testing';
import { BUCKET, LATENCY, LIMITS } from './scenario.ts';
import { answerTokensIn } from './traffic.ts';

/** The fake Claude API on a thread of its own: what it computes takes nothing from the app that is measured. */

/** What really happened, as the API's own ledger has it. */
export interface ApiReport {
  readonly totals: LedgerTotals;
  readonly status429: number;
  readonly levels: Levels;
  /** Shares of what the bucket could have given in the window asked for; 1 is the physical limit. */
  readonly used: Utilization;
}

/** Milliseconds since the epoch on both sides: two threads do not share `performance.now()`. */
export interface ReportRequest {
  readonly id: number;
  readonly fromMs: number;
  readonly toMs: number;
}

export type ApiMessage =
  | { readonly kind: 'ready'; readonly url: string }
  | { readonly kind: 'report'; readonly id: number; readonly report: ApiReport };

function reportOf(api: ClaudeApi, { fromMs, toMs }: ReportRequest): ApiReport {
  const toClock = (ms: number) => ms - performance.timeOrigin;
  return {
    totals: api.ledger.totals(BUCKET),
    status429: api.ledger.count({ status: 429 }),
    levels: api.level(BUCKET),
    used: api.ledger.utilization(BUCKET, toClock(fromMs), toClock(toMs)),
  };
}

const port = parentPort;
if (port !== null) {
  const { seed } = workerData as { seed: number };
  const api = await startClaudeApi({
    seed,
    limits: [LIMITS],
    latency: LATENCY,
    // The prompt says how long the answer is, so that the same call gets the same answer in both runs.
    output: ({ messages }, random) =>
      answerTokensIn(JSON.stringify(messages)) ?? Math.round(50 + 200 * random()),
  });
  const post = (message: ApiMessage) => port.postMessage(message);
  port.on('message', (request: ReportRequest) =>
    post({ kind: 'report', id: request.id, report: reportOf(api, request) }),
  );
  post({ kind: 'ready', url: api.url });
}
