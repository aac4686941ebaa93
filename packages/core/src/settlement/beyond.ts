import type { OnceLog } from '../logger.ts';
import { shortModel } from '../policy/model-name.ts';
import type { Beyond } from './bounds.ts';

/** Says, once by model and number, what an answer tells of its usage that its call cannot have used. */
export function sayBeyond(once: OnceLog, model: string, beyond: readonly Beyond[]): void {
  for (const { part, told, bound } of beyond)
    say(
      once,
      model,
      part,
      `tells ${told} of ${part}, and its call can have had ${bound} at the most: that is what counts`,
    );
}

/** Says, once by model, that a whole answer tells no usage. */
export const sayUnreadable = (once: OnceLog, model: string): void =>
  say(once, model, 'unreadable', 'tells no usage that can be read: it is counted as estimated');

function say(once: OnceLog, model: string, part: string, what: string): void {
  const name = shortModel(model);
  once.warn('HG_USAGE_BOUNDED', `${part} ${name}`, `an answer of ${name} ${what}`);
}
