import type { Admission } from '../admission/admission.ts';
import type { Alarms } from '../alarms.ts';
import type { Lane } from '../batch/lane.ts';
import type { Scopes } from '../caller/scopes.ts';
import type { Clock, Random } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { Prefixes } from '../estimate/prefixes.ts';
import type { OnceLog } from '../logger.ts';
import type { Policy } from '../policy/policy.ts';
import type { Slices } from '../slices.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Breakers } from './breakers.ts';
import type { CallerNotices } from './caller-notices.ts';
import type { CountCircuit } from './count-circuit.ts';
import type { Models } from './models.ts';
import type { OwnPauses } from './own-pauses.ts';
import type { Patience } from './patience.ts';
import type { Pressure } from './pressure.ts';
import type { Rests } from './rests.ts';
import type { RetryBudget } from './retry.ts';
import type { LinkedSignal } from './signals.ts';

/** What a reload puts in place of what was, whole. A call keeps to the one it began with. */
export interface Rules {
  readonly config: Config;
  readonly policy: Policy;
}

/** What the stages of a call are made of; one set for each governor. */
export interface Parts {
  readonly clock: Clock;
  readonly random: Random;
  readonly alarms: Alarms;
  /** In which calls come and go that do so together. */
  readonly slices: Slices;
  /** As they are now. */
  rules: Rules;
  readonly scopes: Scopes;
  readonly admission: Admission;
  readonly prefixes: Prefixes;
  readonly pressure: Pressure;
  readonly budget: RetryBudget;
  readonly breakers: Breakers;
  readonly models: Models;
  readonly patience: Patience;
  readonly ownPauses: OwnPauses;
  readonly telemetry: Telemetry;
  readonly once: OnceLog;
  readonly notices: CallerNotices;
  /** The batch lane of an account. @throws TypeError where no client has told how to reach the API. */
  batchLane(account: string): Lane;
  readonly counting: CountCircuit;
  /** Attempts in flight, to be ended when the governor is closed and has waited long enough. */
  readonly running: Set<LinkedSignal>;
  readonly rests: Rests;
}
