/** What clouds put before an id: `anthropic.`, `us.anthropic.`, `global.anthropic.`. */
const CLOUD = /^(?:[a-z-]+\.)?anthropic\./;
/** What Bedrock puts behind it: `-v1:0`. */
const VERSION = /-v\d+(?::\d+)?$/;
/** A release's date at the end of an id: `-20250929`, or `@20250929` as Vertex has it. */
const DATE = /[-@]\d{8}$/;

const bare = (id: string) => id.replace(CLOUD, '').replace(VERSION, '').replace(DATE, '');

/** Whether two ids name one model, as far as the ids tell: cloud, version and date of release make no difference. Pure. */
export const sameModel = (a: string, b: string) => a === b || bare(a) === bare(b);
