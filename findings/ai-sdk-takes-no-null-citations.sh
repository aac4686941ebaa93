#!/usr/bin/env bash
# @ai-sdk/anthropic 3.0.140 with ai 6.0.326. The official SDK (1.14.0) types a text block's `citations` as a list or
# null, so one would guess that a client takes both. In truth the AI SDK fails a JSON answer whose text block says
# `citations: null` ("Invalid JSON response"), takes the same answer without the field, and takes null in a stream.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@6.0.326 @ai-sdk/anthropic@3.0.140
cat > run.mjs <<'JS'
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText, streamText } from 'ai';
const message = (content) => ({ id: 'msg_1', type: 'message', role: 'assistant', model: 'claude-sonnet-4-6', content, stop_reason: 'end_turn', stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 } });
const modelOf = (respond) => createAnthropic({ apiKey: 'k', fetch: async () => respond() })('claude-sonnet-4-6');
const json = (block) => generateText({ model: modelOf(() => Response.json(message([block]))), prompt: 'hi', maxOutputTokens: 9 });
const event = (type, data) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
const sse = [
  event('message_start', { message: { ...message([]), stop_reason: null } }),
  event('content_block_start', { index: 0, content_block: { type: 'text', text: '', citations: null } }),
  event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'hello' } }),
  event('content_block_stop', { index: 0 }),
  event('message_delta', { delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 1 } }),
  event('message_stop', {}),
].join('');
const stream = streamText({ model: modelOf(() => new Response(sse, { headers: { 'content-type': 'text/event-stream' } })), prompt: 'hi', maxOutputTokens: 9 });
const end = (call) => call.then(({ text }) => text, ({ message }) => message);
const seen = {
  without: await end(json({ type: 'text', text: 'hello' })),
  withNull: await end(json({ type: 'text', text: 'hello', citations: null })),
  stream: await stream.text,
};
console.log('@ai-sdk/anthropic 3.0.140', seen);
const expected = { without: 'hello', withNull: 'Invalid JSON response', stream: 'hello' };
process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1);
JS
node run.mjs
