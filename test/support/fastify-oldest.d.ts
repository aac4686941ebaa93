/** The first Fastify 5 under a name of its own, whose types would be another framework's to the adapter. */
declare module 'fastify-oldest' {
  import fastify from 'fastify';
  export default fastify;
}
