#!/usr/bin/env bash
# @anthropic-ai/sdk 1.14.0. One would guess that client.withOptions({ maxRetries: 0 }) changes retries and nothing else.
# In truth the copy no longer refuses a JSON call that could take more than ten minutes: withOptions() hands the SDK's
# own default time-out on as if the app had set one, and with a time-out of the app's the check is skipped.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @anthropic-ai/sdk@1.14.0
cat > run.mjs <<'JS'
import { readFileSync } from 'node:fs';
import Anthropic from '@anthropic-ai/sdk';
const { version } = JSON.parse(readFileSync('node_modules/@anthropic-ai/sdk/package.json', 'utf8'));
const answer = { id: 'msg_1', type: 'message', role: 'assistant', content: [], usage: { input_tokens: 1, output_tokens: 1 } };
const client = new Anthropic({ apiKey: 'k', fetch: async () => Response.json(answer) });
const ask = async (from) => {
  try {
    const params = { model: 'claude-sonnet-4-6', max_tokens: 64_000, messages: [{ role: 'user', content: 'hi' }] };
    return `answered: ${(await from.messages.create(params)).type}`;
  } catch (error) {
    return `refused: ${error.message.slice(0, 22)}`;
  }
};
const seen = { client: await ask(client), copy: await ask(client.withOptions({ maxRetries: 0 })) };
console.log(`@anthropic-ai/sdk ${version}`, seen);
const expected = { client: 'refused: Streaming is required ', copy: 'answered: message' };
process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1);
JS
node run.mjs
