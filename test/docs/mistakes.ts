import { readFileSync, writeFileSync } from 'node:fs';
import { ConfigError, createGovernor, type Governor } from '@headgate/core';
import { headgate as express, headgateErrors } from '@headgate/express';
import { headgate as koa } from '@headgate/koa';
import { startClaudeApi } from '@headgate/testing';
import { readConfig } from '../../packages/core/src/config/load.ts';

/**
 * The page of mistakes, made by making them. `node --conditions=source test/docs/mistakes.ts` writes it; a test holds it
 * against what is said today.
 */
export const MISTAKES_PAGE = new URL('../../packages/core/docs/mistakes.md', import.meta.url);

const TEXT = new URL('mistakes-page.md', import.meta.url);

/** A mistake in code, as it stands on the page. The names that it uses are those of `makeIn`. */
export const IN_CODE: readonly string[] = [
  'createGovernor({ config: loadConfig("headgate.yaml") })',
  'createGovernor({ confg: {} })',
  'createGovernor({ quotas: [] })',
  'createGovernor("headgate.yaml")',
  'createGovernor({ store: connectStore() })',
  'governor.update(loadConfig("headgate.yaml"))',
  'governor.run(() => work())',
  'governor.run({ user: "ada", deadline: 100 }, work)',
  'governor.run({ usr: "ada" }, work)',
  'governor.run({ user: "ada", max_tokens: 500 }, work)',
  'governor.bind("work")',
  'governor.govern({})',
  'governor.fetch({ acount: "eu" })',
  'governor.usage({ by: "customer" })',
  'headgate(governor, { calller: (req) => req.user })',
  'headgate(governor, { caller: { user: "ada" } })',
  'headgate(governor, { deadlineMs: "5s" })',
  'headgate.route({ lan: "background" })',
  'headgate.route("background")',
  'koa.headgate(governor, { upstreamErrors: "hide" })',
  'headgateErrors({ body: () => "sorry" })',
  'startClaudeApi({ output: 400 })',
  'startClaudeApi({ latency: { firstTokenMs: 5 } })',
];

/** A configuration with one mistake. */
export const IN_CONFIGURATION: readonly string[] = [
  'account: [{ name: a, models: [claude-*], requestPerMinute: 50 }]',
  'quotas: [{ name: q, requests: 5 per minute }]',
  'quotas: [{ name: q, when: { tenent: acme }, requests: 5/minute }]',
  'quotas: [{ name: q, requests: 0/minute }]',
  'lanes: { chat: { max_wait: 4s } }',
  'lanes: { chat: { maxWait: 4 } }',
  'retry: { maxAttempts: 3 }',
  'defaultLane: chat',
  'timeZone: Mars/Olympus',
  'quotas: [{ name: q }]',
  'quotas: [\n  - requests: 5/minute',
];

const quiet = { info() {}, warn() {}, error() {} };

/** Makes a mistake in code; the error that it meets. */
async function makeIn(code: string, governor: Governor): Promise<Error> {
  const names = {
    createGovernor,
    governor,
    loadConfig: async () => ({}),
    connectStore: async () => ({}),
    work: () => undefined,
    headgate: express,
    headgateErrors,
    koa: { headgate: koa },
    startClaudeApi,
  };
  const make = new Function(...Object.keys(names), `return ${code}`) as (...values: unknown[]) => unknown;
  try {
    await make(...Object.values(names));
  } catch (error) {
    return error as Error;
  }
  throw new Error(`${code} is no mistake`);
}

function saidOf(text: string): string {
  try {
    readConfig(text, 'headgate.yaml');
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n').slice(1).join(' ').trim();
    throw error;
  }
  throw new Error(`${text} is no mistake`);
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ⏎ ');

export async function mistakesPage(): Promise<string> {
  const governor = createGovernor({ logger: quiet });
  const code: string[] = [];
  for (const each of IN_CODE) {
    const { name, message } = await makeIn(each, governor);
    code.push(`| \`${cell(each)}\` | ${name}: ${cell(message)} |`);
  }
  await governor.close();
  const configuration = IN_CONFIGURATION.map((each) => `| \`${cell(each)}\` | ${cell(saidOf(each))} |`);
  return readFileSync(TEXT, 'utf8')
    .replace('{code}', () => code.join('\n'))
    .replace('{configuration}', () => configuration.join('\n'));
}

if (import.meta.main) writeFileSync(MISTAKES_PAGE, await mistakesPage());
