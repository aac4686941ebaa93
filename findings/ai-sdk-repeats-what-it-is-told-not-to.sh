#!/usr/bin/env bash
# ai 6.0.326 with @ai-sdk/anthropic 3.0.140. One would guess that the AI SDK minds `x-should-retry: false`, the header by
# which the Claude API says that asking again is pointless and which Anthropic's own SDKs follow (1 request here). In
# truth it reads the status alone: a 529 with that header is asked for three times.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@6.0.326 @ai-sdk/anthropic@3.0.140 @anthropic-ai/sdk@1.14.0
cat > run.mjs <<'JS'
import { createAnthropic } from '@ai-sdk/anthropic';
import Anthropic from '@anthropic-ai/sdk';
import { generateText } from 'ai';
let asked = 0;
const fetch = async () => {
  asked++;
  const error = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
  return Response.json(error, { status: 529, headers: { 'x-should-retry': 'false' } });
};
const count = async (call) => {
  asked = 0;
  const { name } = await call().catch((error) => error);
  return [asked, name];
};
const anthropic = createAnthropic({ apiKey: 'k', fetch });
const official = new Anthropic({ apiKey: 'k', fetch });
const seen = {
  official: (await count(() => official.messages.create({ model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] })))[0],
  aiSdk: await count(() => generateText({ model: anthropic('claude-sonnet-4-6'), prompt: 'hi', maxOutputTokens: 9 })),
};
console.log('ai 6.0.326', seen);
const expected = { official: 1, aiSdk: [3, 'AI_RetryError'] };
process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1);
JS
node run.mjs
