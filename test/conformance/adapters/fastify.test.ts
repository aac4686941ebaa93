import fastify from 'fastify';
import oldest from 'fastify-oldest';
import { fastifyAdapter } from './fastify.ts';
import { testAdapter } from './suite.ts';

testAdapter(fastifyAdapter('Fastify 5', fastify));
testAdapter(fastifyAdapter('Fastify 5.0', oldest));
