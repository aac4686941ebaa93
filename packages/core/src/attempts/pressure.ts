import type { Admission } from '../admission/admission.ts';
import type { Clock } from '../clock.ts';
import { compositeKey } from '../composite-key.ts';
import type { Plan } from '../policy/plan.ts';
import { remember } from '../remember.ts';
import type { Call } from '../request/read.ts';
import type { Rules } from './parts.ts';

/** The wait at which pressure begins, and the one under which it is over, as shares of what the lane allows. */
const ON = 0.25;
const OFF = 0.1;
/** It lasts so long at least: models are not to change with every call. */
const LEAST_MS = 10_000;
/** Lanes and models that are told apart. */
const MAX_PLACES = 256;

/** Whether the wait for one model is long. */
export interface PressureState {
  readonly isOn: boolean;
  readonly since: number;
}

/** The state after a look at the wait, as a share of what the lane allows. Pure. */
export function nextPressure(state: PressureState | undefined, share: number, now: number): PressureState {
  const isOn = state?.isOn ?? false;
  if (!isOn) return share > ON ? { isOn: true, since: now } : (state ?? { isOn, since: now });
  const isOver = share < OFF && now - (state?.since ?? now) >= LEAST_MS;
  return isOver ? { isOn: false, since: now } : (state ?? { isOn, since: now });
}

/** Under pressure calls go to the other model that their rule names; in bounded memory, by account, lane and model. */
export class Pressure {
  readonly #states = new Map<string, PressureState>();
  readonly #admission: Admission;
  readonly #clock: Clock;

  constructor(admission: Admission, clock: Clock) {
    this.#admission = admission;
    this.#clock = clock;
  }

  /** A plan that names another model for when the wait is long, and the wait is long: then the plan for that model. */
  relieve(rules: Rules, account: string, call: Call, plan: Plan): Plan {
    const { underPressure, lane, caller, modelId } = plan;
    if (underPressure === undefined) return plan;
    const waitMs = this.#admission.foresee(plan, call, account);
    const share = waitMs / (rules.config.lanes[lane]?.maxWait ?? Number.POSITIVE_INFINITY);
    const place = compositeKey(account, lane, modelId);
    const state = nextPressure(this.#states.get(place), share, this.#clock.now());
    if (state.isOn) remember(this.#states, place, state, MAX_PLACES);
    else this.#states.delete(place);
    if (!state.isOn) return plan;
    const other = rules.policy.plan(call, caller, underPressure);
    // Out of one queue into a longer one would help nobody.
    return this.#admission.foresee(other, call, account) <= waitMs ? other : plan;
  }
}
