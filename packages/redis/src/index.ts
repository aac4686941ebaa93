export { type RedisClient, type RedisStoreOptions, type RedisSubscriber, redisStore } from './store.ts';
