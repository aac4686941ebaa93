#!/usr/bin/env bash
# @posthog/ai 8.13.1 with posthog-node 5.70.0 and @anthropic-ai/sdk 1.14.0. One would guess that withOptions(), which the
# client inherits from the SDK, gives a client that still captures. In truth the copy is of PostHog's class but without
# its PostHog client: calls are answered, and no $ai_generation is captured.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund --legacy-peer-deps \
  @anthropic-ai/sdk@1.14.0 @posthog/ai@8.13.1 posthog-node@5.70.0
cat > run.mjs <<'JS'
import { Anthropic } from '@posthog/ai/anthropic';
const captured = [];
const posthog = { capture: (event) => captured.push(event.event), captureImmediate: async (event) => captured.push(event.event), options: {}, privacy_mode: false };
const answer = { id: 'msg_1', type: 'message', role: 'assistant', model: 'm', content: [], usage: { input_tokens: 1, output_tokens: 1 } };
const client = new Anthropic({ apiKey: 'k', posthog, fetch: async () => Response.json(answer) });
const ask = async (from) => {
  const before = captured.length;
  const { type } = await from.messages.create({ model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] });
  await new Promise((resolve) => setTimeout(resolve, 200));
  return [type, captured.length - before];
};
const copy = client.withOptions({ maxRetries: 0 });
const seen = { client: await ask(client), copy: await ask(copy), isOfItsClass: copy instanceof Anthropic };
console.log('@posthog/ai 8.13.1', seen);
const expected = { client: ['message', 1], copy: ['message', 0], isOfItsClass: true };
process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1);
JS
node run.mjs
