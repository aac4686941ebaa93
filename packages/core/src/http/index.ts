export { type Refusal, refusalOf } from './refusal.ts';
export {
  type HttpScope,
  type HttpScopeOptions,
  openHttpScope,
} from './scope.ts';
