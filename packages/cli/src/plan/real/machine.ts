import { availableParallelism } from 'node:os';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';

/** A timer that comes so much too late, in one of a hundred, is a twentieth of a wait of a second. */
const MOST_LATE_MS = 50;
/** Above it a loop is seldom free when something is due. */
const MOST_BUSY = 0.7;
const RESOLUTION_MS = 10;

/** What the machine had to spare while calls were made in real time. */
export interface MachineReport {
  /** Milliseconds by which the event loop was late: 99 of 100 times it was less. */
  readonly lateMs: number;
  /** Share of the time in which the event loop was at work. */
  readonly busy: number;
  /** CPU of this process, in cores. */
  readonly cores: number;
  readonly coresThere: number;
  /** Milliseconds by which calls were made too late, at the most. */
  readonly callsLateMs: number;
  /** Why the comparison says nothing; absent where it holds. */
  readonly isVoid: string | undefined;
}

/** Watches the machine from now on. */
export function watchMachine(): { callWasLate(ms: number): void; end(): MachineReport } {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  const busyBefore = performance.eventLoopUtilization();
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  let callsLateMs = 0;
  delay.enable();
  return {
    callWasLate(ms) {
      callsLateMs = Math.max(callsLateMs, ms);
    },
    end() {
      delay.disable();
      // Its samples are the whole time from one look to the next.
      const lateMs = delay.count === 0 ? 0 : Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS);
      const busy = performance.eventLoopUtilization(busyBefore).utilization;
      const { user, system } = process.cpuUsage(cpuBefore);
      const cores = (user + system) / 1e3 / Math.max(1, performance.now() - startedAt);
      return {
        lateMs,
        busy,
        cores,
        coresThere: availableParallelism(),
        callsLateMs,
        isVoid: whyVoid(lateMs, busy),
      };
    },
  };
}

/** What the figures say against the comparison; nothing where it holds. */
export function whyVoid(lateMs: number, busy: number): string | undefined {
  const told = [
    ...(lateMs > MOST_LATE_MS
      ? [`its event loop was ${lateMs.toFixed(0)} ms late at p99 (at most ${MOST_LATE_MS})`]
      : []),
    ...(busy > MOST_BUSY
      ? [`its event loop was busy ${(100 * busy).toFixed(0)} % of the time (at most ${100 * MOST_BUSY})`]
      : []),
  ];
  return told.length === 0 ? undefined : `the machine had no CPU to spare: ${told.join(', ')}`;
}
