#!/usr/bin/env bash
# fastify 5.12.8. One would guess that handlerTimeout bounds the handler of every route. In truth its clock stops when
# the incoming message closes, which for a request with a body is as soon as the body has been read: the same handler of
# 600 ms under a limit of 200 ms is answered 503 as GET and 200 as POST, and request.signal has aborted by then.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund fastify@5.12.8
cat > run.mjs <<'JS'
import fastify from 'fastify';
const app = fastify({ handlerTimeout: 200 });
const aborted = {};
const handler = async (request) => {
  await new Promise((resolve) => setTimeout(resolve, 100));
  aborted[request.method] = request.signal.aborted;
  await new Promise((resolve) => setTimeout(resolve, 500));
  return { ok: true };
};
app.get('/', handler);
app.post('/', handler);
const url = await app.listen({ port: 0, host: '127.0.0.1' });
const get = await fetch(url);
const post = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' });
const seen = { get: get.status, post: post.status, abortedAfter100ms: aborted };
console.log(`fastify ${app.version}`, seen);
const expected = { get: 503, post: 200, abortedAfter100ms: { GET: false, POST: true } };
process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1);
JS
node run.mjs
