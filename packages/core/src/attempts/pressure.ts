import type { Admission } from '../admission/admission.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import type { Rules } from './parts.ts';

/** The wait that counts as pressure, as a share of what the lane allows. */
const PRESSURE = 0.25;

/** A plan that names another model for when the wait is long, and the wait is long: then the plan for that model. */
export function relieve(admission: Admission, rules: Rules, account: string, call: Call, plan: Plan): Plan {
  const { underPressure, lane, caller } = plan;
  if (underPressure === undefined) return plan;
  const waitMs = admission.foresee(plan, call, account);
  if (waitMs <= PRESSURE * (rules.config.lanes[lane]?.maxWait ?? Number.POSITIVE_INFINITY)) return plan;
  const other = rules.policy.plan(call, caller, underPressure);
  // Out of one queue into a longer one would help nobody.
  return admission.foresee(other, call, account) < waitMs ? other : plan;
}
