import { isRecord } from '../json.ts';
import type { MessageBody } from './read.ts';

/** Who pays for a call: the account, or a customer with an organization of its own, by `billing_policy`. */
export type Payer = 'self' | 'user_profile';

/** Who a request says is to be billed. Pure; never throws. */
export function payerOf(body: MessageBody | undefined): Payer {
  const policy = body?.billing_policy;
  return isRecord(policy) && policy.bill_to === 'user_profile' ? 'user_profile' : 'self';
}
