import type { OnceLog } from '../logger.ts';
import { shortModel } from '../policy/model-name.ts';
import type { Charge } from './charges.ts';

/** What the log says of a price that nobody has said, by what counts in its place. */
const COUNTS = {
  dearest: 'counts at the highest price known for its provider',
  free: 'counts as free (unpriced: free)',
} as const;

/** Says once for each model that money was counted for it without a price. */
export function sayUnpriced(once: OnceLog, charges: readonly Charge[]): void {
  for (const { model, speed, pricing } of charges) {
    if (pricing !== 'dearest' && pricing !== 'free') continue;
    const name = `${JSON.stringify(shortModel(model))}${speed === 'fast' ? ' in fast mode' : ''}`;
    once.warn(
      'HG_UNPRICED_MODEL',
      `model ${name}`,
      `model ${name} has no known price, and ${COUNTS[pricing]}: set its price under \`prices\` or in the price file`,
    );
  }
}
