import koa3 from 'koa';
import koa2 from 'koa-2';
import { koaAdapter } from './koa.ts';
import { testAdapter } from './suite.ts';

testAdapter(koaAdapter('Koa 3', koa3));
testAdapter(koaAdapter('Koa 2', koa2));
