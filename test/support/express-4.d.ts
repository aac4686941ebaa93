/** Express 4 under a name of its own; the types of 5 serve for what the tests use. */
declare module 'express-4' {
  import express from 'express';
  export default express;
}
