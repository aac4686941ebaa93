export {
  type AddressOptions,
  type IdentifiableRequest,
  type TokenOwner,
  userFromAddress,
  userFromHeader,
  userFromSession,
  userFromToken,
} from './identity.ts';
export { rateLimitHeaders } from './rate-limit-headers.ts';
export { type Refusal, refusalOf } from './refusal.ts';
export {
  type HttpScope,
  type HttpScopeOptions,
  openHttpScope,
} from './scope.ts';
