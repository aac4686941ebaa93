import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Exchange } from '@headgate/core';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANSWER } from '../../../packages/redis/src/answer.ts';
import { namesOf, SCHEMA } from '../../../packages/redis/src/keys.ts';
import { BOOKS } from '../../../packages/redis/src/lua/books.ts';
import { PATH } from '../../../packages/redis/src/lua/path.ts';
import { RAMP } from '../../../packages/redis/src/lua/ramp.ts';
import { script } from '../../../packages/redis/src/lua/script.ts';
import { STATE } from '../../../packages/redis/src/lua/state.ts';
import { MESSAGE } from '../../../packages/redis/src/message.ts';
import { storeOf } from '../../../packages/redis/src/store.ts';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';
import { command, START } from './commands.ts';

/**
 * What is kept in Redis, as a release with this SCHEMA has written it, and what it is when it is read. Releases with one SCHEMA
 * share their keys while one replaces the other: each has to read what the other has written. Where what is kept takes another
 * form SCHEMA is raised, and the new form recorded: `RECORD=1`, then this test.
 */
const FILE = join(import.meta.dirname, 'recorded-state.json');
const CLOCK = 'local now = tonumber(ARGV[4])';
const PREFIX = 'recorded';
const BUCKET = 'bucket';

/** Everything that is packed, read by what reads it in the script, and written and read once more. */
const READ = `
${CLOCK}
${BOOKS}${PATH}${MESSAGE}${ANSWER}${RAMP}${STATE}
local function readable(packed)
  local state = readState(packed)
  for _, process in pairs(state.processes) do process.limits = namedLimits(process.limits) end
  return state
end
local packed = redis.call('GET', KEYS[1])
local again = writeState(readState(packed))
local side, quotas, answers = {}, {}, 0
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  local kind, name = field:sub(1, 2), field:sub(3)
  if kind == 't:' then side[field] = trailOf(name)
  elseif kind == 'v:' then side[field] = unpackSum(packedAt(field))
  elseif kind == 'h:' then side[field] = numbersOf(pathOf(packedAt(field)), 0)
  -- The answer to the last message of a process is read by that process alone.
  elseif kind == 'r:' then answers = answers + 1
  else side[field] = 'unknown' end
end
for at = 4, #KEYS do quotas[KEYS[at]:match(':q:(.*)$')] = quotaOf(KEYS[at]) end
return cjson.encode({
  state = readable(packed), again = readable(again), bytes = #packed, bytesAgain = #again, side = side, answers = answers,
  quotas = quotas, processes = seenAt('process-0'),
})
`;

interface Kept {
  readonly schema: number;
  readonly now: number;
  readonly seqs: Readonly<Record<string, number>>;
  /** By what follows the base of each key: packed strings, hashes of them, sorted sets. */
  readonly strings: Readonly<Record<string, string>>;
  readonly hashes: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly sets: Readonly<Record<string, readonly string[]>>;
  readonly read: Read;
}

interface Read {
  readonly state: {
    readonly processes: Readonly<Record<string, { readonly heads: object }>>;
    readonly lanes: object;
    readonly limits: object;
  };
  readonly again: object;
  readonly bytes: number;
  readonly bytesAgain: number;
  readonly side: Readonly<Record<string, unknown>>;
  readonly quotas: Readonly<Record<string, object>>;
}

const { base, own } = namesOf(PREFIX, BUCKET);
const quotaKeys = (kept: Pick<Kept, 'strings'>) =>
  Object.keys(kept.strings).filter((key) => key.startsWith(':q:'));

async function read(client: Redis, kept: Pick<Kept, 'strings' | 'now'>): Promise<Read> {
  const keys = [own, `${own}:side`, `${base}:processes`, ...quotaKeys(kept).map((key) => base + key)];
  return JSON.parse(
    String(await client.call('EVAL', READ, `${keys.length}`, ...keys, '', '', '', `${kept.now}`)),
  ) as Read;
}

/** What a fleet leaves behind that is told anything that may be told. */
async function record(client: Redis): Promise<Kept> {
  let now = START;
  const store = storeOf({ client, prefix: PREFIX, timeoutMs: 5_000 }, script(CLOCK), () => [now]);
  const seqs: Record<string, number> = {};
  const commands = fc.sample(command, { seed: 20_261_125, numRuns: 120 });
  for (const { afterMs, process: index, exchange } of commands) {
    now += Math.min(400, afterMs);
    const name = `process-${index}`;
    const seq = (seqs[name] ?? 0) + 1;
    seqs[name] = seq;
    const next: Exchange = { ...exchange, process: name, seq, acked: seq - 1 };
    await store.exchange(BUCKET, next);
  }
  await store.close();
  const strings: Record<string, string> = {};
  const hashes: Record<string, Record<string, string>> = {};
  const sets: Record<string, string[]> = {};
  for (const key of (await client.keys(`${base}:*`)).sort()) {
    const type = await client.type(key);
    const name = key.slice(base.length);
    if (type === 'string') strings[name] = (await client.getBuffer(key))?.toString('base64') ?? '';
    else if (type === 'zset') sets[name] = await client.zrange(key, '0', '-1', 'WITHSCORES');
    else {
      const fields = await client.hgetallBuffer(key);
      hashes[name] = Object.fromEntries(
        Object.entries(fields).map(([field, bytes]) => [field, bytes.toString('base64')]),
      );
    }
  }
  return {
    schema: SCHEMA,
    now,
    seqs,
    strings,
    hashes,
    sets,
    read: await read(client, { strings, now }),
  };
}

async function lay(client: Redis, { strings, hashes, sets }: Kept): Promise<void> {
  for (const [key, bytes] of Object.entries(strings))
    await client.set(base + key, Buffer.from(bytes, 'base64'));
  for (const [key, fields] of Object.entries(hashes))
    for (const [field, bytes] of Object.entries(fields))
      await client.hset(base + key, field, Buffer.from(bytes, 'base64'));
  for (const [key, members] of Object.entries(sets))
    for (let at = 0; at < members.length; at += 2)
      await client.zadd(base + key, members[at + 1] ?? '', members[at] ?? '');
}

describe.skipIf(noRedis())('what is kept in Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis({ own: true });
  });
  afterAll(() => server?.stop());

  it('is read as an older release with the same SCHEMA has written it', async () => {
    const client = server.connect();
    if (process.env.RECORD === '1') {
      await client.flushall();
      writeFileSync(FILE, `${JSON.stringify(await record(client), undefined, 1)}\n`);
      await client.flushall();
    }
    const kept = JSON.parse(readFileSync(FILE, 'utf8')) as Kept;
    expect(kept.schema, 'another SCHEMA is recorded anew: see above').toBe(SCHEMA);
    await lay(client, kept);
    const now = await read(client, kept);
    expect(now, 'what is kept has another form: raise SCHEMA, and record it').toEqual(kept.read);
    // What is written now is what was written then.
    expect(now.again).toEqual(now.state);
    expect(now.bytesAgain).toBe(now.bytes);

    // It is there to be read.
    const { state, side, quotas } = now;
    expect(Object.keys(state.limits)).toHaveLength(3);
    expect(Object.keys(state.lanes)).toHaveLength(2);
    expect(Object.values(state.processes).some(({ heads }) => Object.keys(heads).length > 0)).toBe(true);
    for (const kind of ['t:', 'v:', 'h:'])
      expect(Object.keys(side).some((field) => field.startsWith(kind))).toBe(true);
    expect(Object.values(side)).not.toContain('unknown');
    expect(Object.keys(quotas)).toHaveLength(2);
  });

  it('goes on from there, with nothing forgotten', async () => {
    const client = server.connect();
    await client.flushall();
    const kept = JSON.parse(readFileSync(FILE, 'utf8')) as Kept;
    await lay(client, kept);
    const now = kept.now + 10;
    const store = storeOf({ client, prefix: PREFIX, timeoutMs: 5_000 }, script(CLOCK), () => [now]);
    const [name = '', seq = 0] = Object.entries(kept.seqs)[0] ?? [];
    const answer = await store.exchange(BUCKET, {
      process: name,
      seq: seq + 1,
      acked: seq,
      charges: { requests: 0, inputTokens: 0, outputTokens: 0 },
      holds: { inputTokens: 0, calls: 0, variance: 0 },
      lanes: {},
      events: [],
      quotas: [],
      spent: [],
      reserve: [],
      candidates: [],
    });
    expect(answer.isUnknown).toBe(false);
    expect(answer.processes).toBe(Object.keys(kept.seqs).length);
    expect(Object.keys(answer.levels).sort()).toEqual(Object.keys(kept.read.state.limits).sort());
    await store.close();
  });
});
