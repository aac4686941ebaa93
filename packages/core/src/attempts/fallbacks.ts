import { isHeadgateError } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import type { CallStory } from '../telemetry/types.ts';
import type { Rules } from './parts.ts';

/** Gives the plan for the next model that a call can go to; nothing when there is none left. `cause` is for the story. */
type NextModel = (cause: string, evidence?: string) => Plan | undefined;

export function fallbacksOf({ policy }: Rules, call: Call, plan: Plan, story: CallStory): NextModel {
  // A body that could not be read cannot be adapted either.
  const models = call.body === undefined ? [] : [...plan.fallbacks];
  return (cause, evidence) => {
    for (let model = models.shift(); model !== undefined; model = models.shift()) {
      try {
        const other = policy.plan(call, plan.caller, model);
        story.planned(other, 'fallback');
        story.fellBack(cause, evidence);
        return other;
      } catch (error) {
        // A cap that the request cannot keep with this model: then it is none for this call.
        if (!isHeadgateError(error)) throw error;
      }
    }
    return undefined;
  };
}
