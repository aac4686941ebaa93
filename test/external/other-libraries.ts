/** What is done with each sample of docs/with-other-libraries.md: a script that follows it, and what it must say. */
export interface Recipe {
  readonly heading: string;
  /** Runs after the sample, in the same file. */
  readonly after: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Beside every script, as `report.mjs`. */
export const REPORT = `
export const ask = (more = {}) => ({ model: 'claude-haiku-4-5', max_tokens: 50, messages: [{ role: 'user', content: 'hi' }], ...more });
export const say = (what, value) => console.log('@@' + JSON.stringify([what, value ?? null]));
export const tried = async (fn) => {
  try {
    return await fn();
  } catch (error) {
    return { error: error.name, message: error.message, isTypeError: error instanceof TypeError, code: error.code };
  }
};
export const calls = async (governor, user) => {
  const { rows } = await governor.usage({ by: 'user' });
  const row = rows.find(({ key }) => key === user);
  return row === undefined ? [0, 0] : [row.calls, row.outputTokens];
};
export const counted = (client) => {
  const create = client.messages.create.bind(client.messages);
  const seen = { calls: 0 };
  client.messages.create = (...given) => {
    seen.calls++;
    return create(...given);
  };
  return seen;
};
`;

const IMPORT = `const { ask, say, tried, calls, counted } = await import('./report.mjs');`;

/** A JSON call and a stream through \`claude\`, as ada; then what was booked in her name. */
const BOTH = `
await governor.run({ user: 'ada' }, async () => {
  say('create', (await claude.messages.create(ask())).type);
  let last;
  for await (const event of await claude.messages.create(ask({ stream: true }))) last = event.type;
  say('stream', last);
});
say('booked', await calls(governor, 'ada'));
`;

export const RECIPES: readonly Recipe[] = [
  {
    heading: 'LangSmith',
    env: { LANGSMITH_TRACING: 'true', LANGSMITH_API_KEY: 'k', LANGSMITH_TRACING_BACKGROUND: 'false' },
    after: `${IMPORT}
const { wrapSDK } = await import('langsmith/wrappers');
${BOTH}
const sdk = wrapSDK(governor.govern(new Anthropic()));
await governor.run({ user: 'bob' }, () => sdk.messages.create(ask()));
say('booked by wrapSDK', await calls(governor, 'bob'));
for (const [name, wrap] of [['wrapAnthropic', wrapAnthropic], ['wrapSDK', wrapSDK]]) {
  say(name + ', then govern', await tried(() => governor.govern(wrap(new Anthropic()))));
  say(name + ', then with', await tried(() => governor.with({ user: 'c' }, wrap(new Anthropic()))));
  say(name + ' of a governed one, then with', await tried(() => governor.with({ user: 'c' }, wrap(governor.govern(new Anthropic())))));
}
await new Promise((resolve) => setTimeout(resolve, 1_500));
`,
  },
  {
    heading: 'Braintrust',
    after: `${IMPORT}
const braintrust = await import('braintrust');
const inside = braintrust._exportsForTestingOnly;
inside.setInitialTestState();
await inside.simulateLoginForTests();
const logger = inside.useTestBackgroundLogger();
// An id, or its name would be looked up.
braintrust.initLogger({ projectName: 'p', projectId: 'p' });
${BOTH}
const logged = await logger.drain();
say('traced', logged.filter(({ metrics }) => metrics?.completion_tokens > 0).length);
say('wrap, then govern', await tried(() => governor.govern(wrapAnthropic(new Anthropic()))));
say('wrap, then with', await tried(() => governor.with({ user: 'c' }, wrapAnthropic(new Anthropic()))));
say('wrap of a governed one, then with', await tried(() => governor.with({ user: 'c' }, claude)));
`,
  },
  {
    heading: 'PostHog',
    after: `${IMPORT}
${BOTH}
say('govern', await tried(() => governor.govern(new Anthropic({ posthog }))));
const named = governor.with({ user: 'carl' }, claude);
say('with', (await named.messages.create(ask())).type);
say('booked by with', await calls(governor, 'carl'));
say('warned', governor.snapshot().warnings.map(({ code }) => code));
await posthog.shutdown();
`,
  },
  {
    heading: 'Sentry',
    after: `${IMPORT}
Sentry.init({ dsn: process.env.SENTRY_SINK, tracesSampleRate: 1 });
await Sentry.startSpan({ name: 'request' }, async () => {
${BOTH}
});
say('instrument, then govern', await tried(() => governor.govern(Sentry.instrumentAnthropicAiClient(new Anthropic()))));
const named = governor.with({ user: 'carl' }, claude);
say('with', (await named.messages.create(ask())).type);
say('warned', governor.snapshot().warnings.map(({ code }) => code));
await Sentry.flush(5_000);
`,
  },
  {
    heading: 'LangChain',
    env: { LANGSMITH_TRACING: 'false' },
    after: `${IMPORT}
await governor.run({ user: 'ada' }, async () => {
  say('invoke', (await model.invoke('hi')).content.length > 0);
  let chunks = 0;
  for await (const _ of await model.stream('hi')) chunks++;
  say('stream', chunks > 1);
});
say('booked', await calls(governor, 'ada'));
// The mark alone, with the repetitions that LangChain makes by default.
governor.update({ quotas: [{ name: 'once', per: 'user', requests: '1/day' }] });
await governor.run({ user: 'bob' }, () => model.invoke('hi'));
for (const how of ['invoke', 'stream']) {
  let seen;
  const eager = new ChatAnthropic({
    model: 'claude-haiku-4-5',
    createClient: (options) => {
      const client = governor.govern(new Anthropic(options));
      seen = counted(client);
      return client;
    },
  });
  const error = await tried(() => governor.run({ user: 'bob' }, async () => {
    if (how === 'invoke') return eager.invoke('hi');
    for await (const _ of await eager.stream('hi'));
  }));
  say('refused by ' + how, [error.code, seen.calls]);
}
await (await fetch(process.env.CONTROL_URL + '/fault')).text();
say('given up', (await tried(() => governor.run({ user: 'carl' }, () => model.invoke('hi')))).message.slice(0, 3));
`,
  },
  {
    heading: 'LlamaIndex',
    after: `${IMPORT}
await governor.run({ user: 'ada' }, async () => {
  const { message } = await llm.chat({ messages: [{ role: 'user', content: 'hi' }] });
  say('chat', message.role);
  let chunks = 0;
  for await (const _ of await llm.chat({ messages: [{ role: 'user', content: 'hi' }], stream: true })) chunks++;
  say('stream', chunks > 1);
});
say('booked', await calls(governor, 'ada'));
const own = new LlamaAnthropic({ model: 'claude-haiku-4-5', apiKey: 'k' }).session.anthropic;
say('its own client', await tried(() => governor.govern(own)));
say('its own client, with', await tried(() => governor.with({ user: 'c' }, own)));
`,
  },
  {
    heading: 'p-retry',
    after: `${IMPORT}
const seen = counted(claude);
governor.update({ quotas: [{ name: 'once', per: 'user', requests: '1/day' }] });
const as = (user) => tried(() => governor.run({ user }, () => question(ask())));
say('answered', (await as('ada')).type);
say('refused', [(await as('ada')).code, seen.calls]);
await (await fetch(process.env.CONTROL_URL + '/fault')).text();
say('given up', [(await as('bob')).message.slice(0, 3), seen.calls]);
`,
  },
  {
    heading: 'Bedrock, Vertex, Foundry',
    env: {
      AWS_REGION: 'us-east-1',
      AWS_BEARER_TOKEN_BEDROCK: 'k',
      CLOUD_ML_REGION: 'us-east5',
      ANTHROPIC_VERTEX_PROJECT_ID: 'p',
      // Vertex looks for credentials when its client is made.
      GOOGLE_APPLICATION_CREDENTIALS: 'google.json',
      ANTHROPIC_FOUNDRY_API_KEY: 'k',
    },
    after: `${IMPORT}
const { context, trace } = await import('@opentelemetry/api');
const { AsyncLocalStorageContextManager } = await import('@opentelemetry/context-async-hooks');
const { BasicTracerProvider } = await import('@opentelemetry/sdk-trace-base');
const { spanRecorder } = await import('@headgate/testing');
const { createServer } = await import('node:http');
const message = (model) => ({ id: 'msg_1', type: 'message', role: 'assistant', model, content: [{ type: 'text', text: 'ok' }], stop_reason: 'end_turn', usage: { input_tokens: 3, output_tokens: 7 } });
const server = createServer((request, response) => {
  request.resume().on('end', () => response.setHeader('content-type', 'application/json').end(JSON.stringify(message('m'))));
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const baseURL = 'http://127.0.0.1:' + server.address().port;
const authClient = { getRequestHeaders: async () => new Headers({ authorization: 'Bearer t' }) };
for (const isOn of [true, false]) {
  for (const [name, client, more] of [['bedrock', bedrock, {}], ['vertex', vertex, { authClient }], ['foundry', foundry, {}]]) {
    const spans = spanRecorder();
    trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [spans] }));
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const at = client.withOptions({ baseURL, ...more, ...(isOn ? {} : { openTelemetry: false }) });
    say(name + ' answered', (await governor.run({ user: name }, () => at.messages.create(ask()))).type);
    say(name + ' booked', await calls(governor, name));
    const counting = spans.spans.filter(({ attributes }) => 'gen_ai.usage.output_tokens' in attributes);
    say(name + ' spans', counting.map(({ scope, attributes }) => [scope, attributes['gen_ai.provider.name'], attributes['gen_ai.usage.output_tokens']]));
    trace.disable();
    context.disable();
  }
}
server.close();
`,
  },
];
