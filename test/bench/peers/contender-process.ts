import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import type { Call } from './contender.ts';
import { CONTENDERS } from './contenders/index.ts';
import type { Ended, Run } from './messages.ts';
import { type Ask, isUrgent, PATIENCE, planTraffic, TAIL } from './scenario.ts';

/** One contender under the traffic of the scenario. Arguments: its name, the API's address, seconds. */
const [, , name, url, duration] = process.argv;
const seconds = Number(duration);
const contender = CONTENDERS.find((each) => each.name === name);
if (contender === undefined || url === undefined || !(seconds > 0))
  throw new TypeError(`expected a contender, a URL and seconds, received ${process.argv.slice(2).join(' ')}`);
process.on('disconnect', () => process.exit());

const asks = planTraffic(seconds);
const call = contender.start(url);
const delays = monitorEventLoopDelay({ resolution: 5 });
await setTimeout(500);

delays.enable();
const startedAt = performance.timeOrigin + performance.now();
const before = process.cpuUsage();
const ended = await Promise.all(asks.map((ask) => perform(call, ask)));
const { user, system } = process.cpuUsage(before);
const run: Run = {
  startedAt,
  ended,
  cpuMs: (user + system) / 1_000,
  // It is told in kibibytes.
  rss: process.resourceUsage().maxRSS * 1_024,
  loopDelayMs: delays.percentile(99) / 1e6,
};
process.send?.(run, () => process.exit());

/** Makes the call at its time, whatever became of those before: callers do not wait for each other. */
async function perform(make: Call, { prompt, streams, ...ask }: Ask): Promise<Ended> {
  const now = () => performance.timeOrigin + performance.now() - startedAt;
  await setTimeout(ask.atMs - now());
  const endOfAll = (seconds + TAIL) * 1_000;
  const patience = isUrgent(ask) ? Math.min(PATIENCE * 1_000, endOfAll - ask.atMs) : endOfAll - ask.atMs;
  const signal = AbortSignal.timeout(Math.ceil(patience));
  // A limiter that does not look at the signal keeps its caller waiting: he is gone all the same.
  const gone = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  try {
    await Promise.race([make({ ...ask, prompt, streams }, signal), gone]);
    return { ...ask, endMs: now(), isAnswered: true };
  } catch (error) {
    if (process.env.BENCH_ERRORS !== undefined && !signal.aborted)
      console.error(contender?.name, String(error));
    return { ...ask, endMs: now(), isAnswered: false };
  }
}
