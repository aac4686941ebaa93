// Run by Node, Bun and Deno alike: how a call that is ended from this side rejects, and whether an abort reaches a
// streamed body. Prints one line of JSON for each scene. API_URL: an API that never finishes, and answers at all only where
// the path starts with "begun".
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, isHeadgateError } from '@headgate/core';
import { headgate, headgateErrors } from '@headgate/express';
import express from 'express';

const quiet = { info() {}, warn() {}, error() {} };
const ask = {
  model: 'claude-sonnet-4-6',
  max_tokens: 2_000,
  messages: [{ role: 'user', content: 'hello' }],
};
const collect = () => (typeof Bun === 'undefined' ? globalThis.gc?.() : Bun.gc(true));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const api = process.env.API_URL;
const kinds = {
  JSON: (claude, path, options) => claude(path).messages.create(ask, options),
  'create with stream: true': async (claude, path, options) => {
    for await (const _ of await claude(path).messages.create({ ...ask, stream: true }, options));
  },
  stream: (claude, path, options) => claude(path).messages.stream(ask, options).finalMessage(),
  'for await of stream': async (claude, path, options) => {
    for await (const _ of claude(path).messages.stream(ask, options));
  },
};
const ends = {
  deadline: (governor, run) => governor.run({ user: 'u', deadlineMs: 150 }, run),
  'caller signal': (governor, run) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 150);
    return governor.run({ user: 'u', signal: controller.signal }, run);
  },
  'client hangs up': async (governor, run) => {
    const app = express();
    app.use(headgate(governor, { caller: () => ({ user: 'u' }) }));
    const outcome = new Promise((resolve, reject) => {
      app.get('/', () => run().then(resolve, reject));
    });
    outcome.catch(() => {});
    app.use(headgateErrors());
    const server = app.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const leaving = new AbortController();
    const asking = fetch(`http://127.0.0.1:${server.address().port}/`, { signal: leaving.signal });
    asking.catch(() => {});
    await pause(150);
    leaving.abort();
    return outcome.finally(() => server.close());
  },
  'governor closes': async (governor, run) => {
    const running = governor.run({ user: 'u' }, run);
    running.catch(() => {});
    await pause(150);
    await governor.close({ drainMs: 0 });
    return running;
  },
};

for (const [kind, call] of Object.entries(kinds)) {
  for (const [end, ended] of Object.entries(ends)) {
    for (const begun of ['unanswered', 'begun']) {
      const governor = createGovernor({ logger: quiet });
      const claude = (path) =>
        governor.govern(new Anthropic({ apiKey: 'k', baseURL: `${api}/${path}`, logLevel: 'off' }));
      const scene = `${kind}, ${begun}, ${end}`;
      const startedAt = performance.now();
      try {
        await ended(governor, () => call(claude, begun));
        console.log(JSON.stringify({ scene, outcome: 'answered' }));
      } catch (error) {
        const outcome = isHeadgateError(error)
          ? `${error.name}/${error.reason}/${error.status}`
          : `${error?.constructor?.name}: ${error?.message}`;
        const ms = Math.round(performance.now() - startedAt);
        console.log(JSON.stringify({ scene, outcome, isHeld: governor.snapshot().inFlight > 0, ms }));
      }
      await governor.close({ drainMs: 0 });
    }
  }
}

// A stream that is being read, a collection, and then the end.
for (const end of ['deadline', 'caller signal', 'client hangs up', 'governor closes']) {
  const governor = createGovernor({ logger: quiet });
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: `${api}/begun`, logLevel: 'off' }));
  const collector = setInterval(collect, 20);
  const startedAt = performance.now();
  let outcome;
  try {
    await ends[end](governor, async () => {
      for await (const _ of await claude.messages.create({ ...ask, stream: true }));
    });
    outcome = 'answered';
  } catch (error) {
    outcome = isHeadgateError(error)
      ? `${error.name}/${error.reason}/${error.status}`
      : `${error?.constructor?.name}: ${error?.message}`;
  }
  clearInterval(collector);
  const ms = Math.round(performance.now() - startedAt);
  console.log(
    JSON.stringify({ scene: `collected, ${end}`, outcome, isHeld: governor.snapshot().inFlight > 0, ms }),
  );
  await governor.close({ drainMs: 0 });
}
process.exit(0);
