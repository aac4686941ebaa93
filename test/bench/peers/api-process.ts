import { startClaudeApi } from '@headgate/testing';
import type { FromApi, ReportRequest } from './messages.ts';
import { answerTokensIn, LATENCY, LIMITS, SEED } from './scenario.ts';

/** The fake Claude API, in a process of its own. `unlimited` as its argument: nobody has to wait. */
const isUnlimited = process.argv[2] === 'unlimited';
const { name, models } = LIMITS;
const api = await startClaudeApi({
  seed: SEED,
  limits: [isUnlimited ? { name, models } : LIMITS],
  latency: LATENCY,
  output: (request) => answerTokensIn(JSON.stringify(request.messages)),
  receivedSize: 1,
});

const tell = (message: FromApi) => process.send?.(message);
process.on('message', ({ from, to }: ReportRequest) => {
  const onClock = (at: number) => at - performance.timeOrigin;
  const { user, system } = process.cpuUsage();
  tell({
    kind: 'report',
    used: api.ledger.utilization(name, onClock(from), onClock(to)),
    attempts: api.ledger.totals(name).attempts,
    status429: api.ledger.count({ status: 429 }),
    cpuMs: (user + system) / 1_000,
  });
});
// Whoever has started it is gone.
process.on('disconnect', () => process.exit());
tell({ kind: 'ready', url: api.url });
