/** Koa 2 under a name of its own; the types of 3 serve for what the tests use. */
declare module 'koa-2' {
  import koa from 'koa';
  export default koa;
}
