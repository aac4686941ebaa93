import type { HeadgateError } from '../errors.ts';
import type { Standing } from './caller.ts';

// Shared by every copy of the package in a process, as the mark of its errors is.
const STANDING = Symbol.for('headgate.standing');

/** The refusal, with how the refused caller's own quotas stand. Logs and JSON do not show it. */
export function withStanding<E extends HeadgateError>(refusal: E, standing: readonly Standing[]): E {
  return Object.defineProperty(refusal, STANDING, { value: standing, configurable: true });
}

/** How the quotas of the refused caller stand; none where the refusal does not say. */
export function standingOf(refusal: HeadgateError): readonly Standing[] {
  return (refusal as { [STANDING]?: readonly Standing[] })[STANDING] ?? [];
}
