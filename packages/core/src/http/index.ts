export { answerTo, checkErrorOptions, type ErrorOptions } from './answer.ts';
export {
  checkRoute,
  createDoor,
  type Door,
  type DoorOptions,
  type Framework,
  type RouteOptions,
  withRoute,
} from './door.ts';
export {
  type ClaudeStream,
  type EventStream,
  type EventStreamOptions,
  openEventStream,
} from './event-stream.ts';
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
