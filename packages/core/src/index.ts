export { type Clock, type Random, systemClock, type Timer } from './clock.ts';
