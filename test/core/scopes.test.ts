import { AsyncLocalStorage } from 'node:async_hooks';
import { Readable } from 'node:stream';
import Anthropic from '@anthropic-ai/sdk';
import { type Caller, createGovernor } from '@headgate/core';
import { manualClock } from '@headgate/testing';
import { context, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import fc from 'fast-check';
import { expect, it, onTestFinished } from 'vitest';
import { internalsOf } from '../../packages/core/src/internals.ts';
import { ask } from '../support/ask.ts';
import { instantFetch, WIDE_ACCOUNT } from '../support/instant-fetch.ts';
import { startTelemetry } from '../support/telemetry.ts';

const QUIET = { info() {}, warn() {}, error() {} };
const LANES = ['interactive', 'background'];

/** What belongs to one caller: everything a call is charged to, limited by, ended by and traced under. */
interface Parts {
  readonly user: string | undefined;
  readonly tenant: string | undefined;
  readonly lane: string | undefined;
  readonly deadlineAt: number | undefined;
  readonly signals: readonly AbortSignal[];
  readonly traceId: string | undefined;
}

function setUp() {
  const telemetry = startTelemetry({ register: true });
  const clock = manualClock();
  const governor = createGovernor({
    clock,
    logger: QUIET,
    tracerProvider: telemetry.tracerProvider,
    config: { account: WIDE_ACCOUNT, lanes: { interactive: {}, background: {} } },
  });
  onTestFinished(() => governor.close({ drainMs: 0 }));
  const { scopes } = internalsOf(governor);
  const seen: Parts[] = [];
  const claude = governor.govern(
    new Anthropic({
      apiKey: 'k',
      fetch: instantFetch,
      middleware: [
        async (request, next) => {
          const found = await scopes.current()?.resolve();
          seen.push({
            user: found?.user,
            tenant: found?.tenant,
            lane: found?.lane,
            deadlineAt: found?.deadlineAt,
            signals: found?.signals ?? [],
            traceId: trace.getSpan(context.active())?.spanContext().traceId,
          });
          return next(request);
        },
      ],
    }),
  );
  const tracer = telemetry.tracerProvider.getTracer('app');
  /** The trace of the last span that the SDK itself has begun, with the call. */
  const sdkTrace = () =>
    telemetry.spans.spans.findLast(({ name }) => name === 'anthropic.messages.create')?.traceId;
  return { governor, claude, scopes, clock, tracer, seen, sdkTrace };
}

type World = ReturnType<typeof setUp>;
type Snapshot = <T>(fn: () => T) => T;

/** A caller with a context of its own, in which code can be run that belongs to somebody else. */
interface Being {
  readonly caller: Caller & { readonly signal: AbortSignal; readonly deadlineMs: number };
  readonly parts: Parts;
  readonly key: object;
  /** Inside its scope, and as many partial scopes as the tree has. */
  readonly inside: Snapshot;
}

/** `depth` scopes in each other; the innermost that names a lane decides. */
function being({ scopes, tracer, clock }: World, index: number, depth: number): Being {
  const caller = {
    user: `user ${index}`,
    tenant: `tenant ${index}`,
    lane: LANES[index % 2] as string,
    deadlineMs: 60_000 * (index + 1),
    signal: new AbortController().signal,
  };
  const key = {};
  const span = tracer.startSpan(`request ${index}`, {}, ROOT_CONTEXT);
  const at = trace.setSpan(ROOT_CONTEXT, span);
  const signals = [caller.signal];
  const enter = (left: number): Snapshot => {
    if (left === 0) return AsyncLocalStorage.snapshot();
    const { signal } = new AbortController();
    signals.push(signal);
    return scopes.run(scopes.open({ signal, lane: caller.lane }), () => enter(left - 1));
  };
  const inside = context.with(at, () => scopes.run(scopes.open(caller, key), () => enter(depth)));
  const { user, tenant, lane } = caller;
  return {
    caller,
    key,
    inside,
    parts: {
      user,
      tenant,
      lane,
      deadlineAt: clock.now() + caller.deadlineMs,
      signals,
      traceId: span.spanContext().traceId,
    },
  };
}

const call = ({ claude }: World) => claude.messages.create(ask());
const drain = async (items: AsyncIterable<unknown>) => {
  for await (const _ of items);
};
async function* generate(world: World) {
  yield await call(world);
}
function* generateInSync(world: World) {
  yield call(world);
}

/**
 * The ways of a call from `own` that runs in the context of `place`, which is somebody else's, or nobody's. What is
 * named by a kind is made in the one, and started in the other.
 */
const WAYS: Record<string, (world: World, own: Being, place: Snapshot) => Promise<unknown>> = {
  'no way at all': (world, own) => own.inside(() => call(world)),
  'a promise made inside': (world, own, place) => {
    const made = own.inside(() => world.governor.run({}, async () => call(world)));
    return place(async () => await made);
  },
  'with()': (world, own, place) => {
    const client = own.inside(() => world.governor.with({}, world.claude));
    return place(() => client.messages.create(ask()));
  },
  'with() in with()': (world, own, place) => {
    const client = own.inside(() => world.governor.with({}, world.governor.with({}, world.claude)));
    return place(() => client.messages.create(ask()));
  },
  'with() of the same user': (world, own, place) => {
    const { user } = own.caller;
    const client = own.inside(() => world.governor.with({ user }, world.claude));
    return place(() => client.messages.create(ask()));
  },
  'bind()': (world, own, place) => place(own.inside(() => world.governor.bind(() => call(world)))),
  'bind() of a generator': (world, own, place) => {
    const bound = own.inside(() => world.governor.bind(() => generate(world)));
    return place(() => drain(bound()));
  },
  'bind() to a request': (world, own, place) =>
    place(() => world.governor.bind(own.key, () => call(world)))(),
  'a generator': (world, own, place) => {
    const made = own.inside(() => world.governor.run({}, () => generate(world)));
    return place(() => drain(made));
  },
  'a generator in a promise': (world, own, place) => {
    const made = own.inside(() => world.governor.run({}, async () => generate(world)));
    return place(async () => drain(await made));
  },
  'a generator of promises': (world, own, place) => {
    const made = own.inside(() => world.governor.run({}, () => generateInSync(world)));
    return place(async () => made.next().value);
  },
  'a stream': (world, own, place) => {
    const made = own.inside(() => world.governor.run({}, () => Readable.from(generate(world))));
    return place(() => drain(made));
  },
  'a stream of the web': (world, own, place) => {
    const made = own.inside(() =>
      world.governor.run({}, () => {
        const pull = async (controller: ReadableStreamDefaultController) => {
          await call(world);
          controller.close();
        };
        return new ReadableStream({ pull }, { highWaterMark: 0 });
      }),
    );
    return place(() => made.getReader().read());
  },
  'a lazy promise': (world, own, place) => {
    const lazy = {
      // biome-ignore lint/suspicious/noThenProperty: that is what is tried
      then: (onValue: (value: unknown) => unknown, onError: (error: unknown) => unknown) =>
        call(world).then(onValue, onError),
    };
    const made = own.inside(() => world.governor.run({}, () => lazy));
    return place(async () => await made);
  },
  'an observable': (world, own, place) => {
    const made = own.inside(() =>
      world.governor.run({}, () => ({
        pipe: () => undefined,
        subscribe: (done: (value: unknown) => void) => void call(world).then(done, done),
      })),
    );
    return place(() => new Promise((resolve) => made.subscribe(resolve)));
  },
};

/** A caller that is named where the context is somebody else's already. */
const NAMED_AT_THE_WRONG_PLACE: typeof WAYS = {
  'with() of a whole caller': (world, own, place) =>
    place(() => world.governor.with(own.caller, world.claude).messages.create(ask())),
  'with() of a user': (world, own, place) =>
    place(() => world.governor.with({ user: own.caller.user }, world.claude).messages.create(ask())),
  'with() of a tenant': (world, own, place) =>
    place(() => world.governor.with({ tenant: own.caller.tenant }, world.claude).messages.create(ask())),
};

const nowhere: Snapshot = AsyncLocalStorage.snapshot();
const indices = fc.record({
  own: fc.nat({ max: 3 }),
  at: fc.option(fc.nat({ max: 3 })),
  way: fc.constantFrom(...Object.keys(WAYS)),
});

it('no call has parts of two callers, whatever tree of scopes it comes from and wherever it runs', async () => {
  const world = setUp();
  const depths = fc.array(fc.nat({ max: 2 }), { minLength: 4, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(depths, fc.array(indices, { minLength: 1, maxLength: 6 }), async (tree, calls) => {
      const beings = tree.map((depth, index) => being(world, index, depth));
      for (const { own, at, way } of calls) {
        world.seen.length = 0;
        const one = beings[own] as Being;
        await WAYS[way]?.(world, one, (at === null ? undefined : beings[at]?.inside) ?? nowhere);
        expect(world.seen, `${way}, of ${own} at ${at}`).toMatchObject([
          // A request is rejoined where its scope was opened, outside of those that are in it.
          way === 'bind() to a request' && at !== own
            ? { ...one.parts, signals: [one.caller.signal] }
            : one.parts,
        ]);
        expect(world.sdkTrace(), way).toBe(one.parts.traceId);
      }
    }),
    { numRuns: 25 },
  );
});

it('a caller that is named in the scope of another takes nothing of that one', async () => {
  const world = setUp();
  const beings = [0, 1, 2].map((index) => being(world, index, index));
  for (const [way, run] of Object.entries(NAMED_AT_THE_WRONG_PLACE)) {
    for (const [at, place] of [...beings.entries()]) {
      for (const own of beings.filter((each) => each !== place)) {
        world.seen.length = 0;
        await run(world, own, place.inside);
        const { user, tenant, lane, signals, deadlineAt, traceId } = world.seen[0] as Parts;
        const of = `${way} at ${at}`;
        expect([own.caller.user, undefined], of).toContain(user);
        expect([own.caller.tenant, undefined], of).toContain(tenant);
        expect(user ?? tenant, of).toBeDefined();
        expect([own.caller.lane, undefined], of).toContain(lane);
        expect([own.parts.deadlineAt, undefined], of).toContain(deadlineAt);
        for (const signal of signals) expect(own.parts.signals, of).toContain(signal);
        expect(traceId, of).not.toBe(place.parts.traceId);
        expect(traceId, of).toBe(world.sdkTrace());
      }
    }
  }
});

it('with() inside its own scope stays where it is: in the scopes of now, and in the span of now', async () => {
  const { governor, claude, tracer, seen } = setUp();
  await governor.run({ user: 'ada', tenant: 'acme' }, async () => {
    const client = governor.with({ lane: 'background' }, claude);
    const span = tracer.startSpan('a step of the request');
    await context.with(trace.setSpan(context.active(), span), () =>
      governor.run({ tier: 'free', deadlineMs: 5_000 }, () => client.messages.create(ask())),
    );
    expect(seen).toMatchObject([
      { user: 'ada', tenant: 'acme', lane: 'background', traceId: span.spanContext().traceId },
    ]);
    expect(seen[0]?.deadlineAt).toBeDefined();
  });
});

it('bind() keeps this, arguments, name, length and result, and what follows a lazy promise is its reader’s', async () => {
  const { governor, scopes } = setUp();
  const bound = governor.run({ user: 'ada' }, () =>
    governor.bind(function named(this: { base: number }, a: number, b: number) {
      return [this.base + a + b, scopes.current()?.known, scopes.current() !== undefined];
    }),
  );
  expect([bound.name, bound.length]).toEqual(['named', 2]);
  expect(bound.call({ base: 1 }, 2, 3)).toEqual([6, undefined, true]);
  expect(() => governor.bind('no function' as never)).toThrow(
    'Headgate bind: expected a function, as governor.bind(fn) or governor.bind(req, fn), received string',
  );

  const lazy = {
    // biome-ignore lint/suspicious/noThenProperty: that is what is tried
    then: (onValue: (value: unknown) => unknown) => void Promise.resolve(1).then(onValue),
  };
  const made = governor.run({ user: 'ada' }, () => lazy);
  expect(made).toBe(lazy);
  await governor.run({ user: 'ben' }, async () => {
    const user = () => scopes.current()?.resolve();
    expect(await new Promise((resolve) => made.then(() => resolve(user())))).toMatchObject({ user: 'ben' });
  });
});
