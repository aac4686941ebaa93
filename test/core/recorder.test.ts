import { PassThrough, Writable } from 'node:stream';
import { ROOT_CONTEXT } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import type { Call } from '../../packages/core/src/request/read.ts';
import { Recorder } from '../../packages/core/src/telemetry/recorder.ts';
import { SILENT_CALL } from '../../packages/core/src/telemetry/silent.ts';

const body = { model: 'claude-sonnet-4-6', max_tokens: 100, messages: [] };
const call: Call = {
  kind: 'messages',
  model: body.model,
  maxTokens: 100,
  isStreaming: false,
  body,
  bytes: 100,
  isReplayable: true,
};
const plan = compilePolicy(parseConfig({})).plan(call, { user: 'ada', route: '/chat', signals: [] });

function recorderOf(stream: Writable) {
  const clock = { now: () => 0, wall: () => 0, after: () => ({ cancel() {} }) };
  const recorder = new Recorder(stream, {
    clock,
    hashKey: 'k',
    expect: () => ({ input: 7, output: 7 }),
    goesByBatch: () => false,
    onFailed: () => {},
  });
  const start = (at: number) => {
    const info = { call, url: '', method: 'POST', userAgent: null, startedAt: at, context: ROOT_CONTEXT };
    const story = recorder.follow(SILENT_CALL, info);
    story.planned(plan, 'route');
    return story;
  };
  return { recorder, start };
}

const lineCount = (text: string) => text.split('\n').length - 1;

describe('what a recording keeps in memory', () => {
  it('is a megabyte and a line of what a stream does not take', () => {
    const stalled = new Writable({ write() {} });
    const { recorder, start } = recorderOf(stalled);
    for (let i = 0; i < 20_000; i++) start(i).end('ok', i);
    const { written, dropped } = recorder.sums;
    expect(written + dropped).toBe(20_000);
    expect(dropped).toBeGreaterThan(1_000);
    expect(stalled.writableLength).toBeGreaterThan(1_000_000);
    expect(stalled.writableLength).toBeLessThan(1_050_000);
  });

  it('is so many lines of a stream that counts objects', () => {
    const stalled = new Writable({ objectMode: true, write() {} });
    const { recorder, start } = recorderOf(stalled);
    for (let i = 0; i < 5_000; i++) start(i).end('ok', i);
    expect(recorder.sums).toEqual({ written: 4_096, estimated: 4_096, dropped: 904 });
  });

  it('goes on when a stream has caught up', async () => {
    const stream = new PassThrough();
    const { recorder, start } = recorderOf(stream);
    for (let i = 0; i < 20_000; i++) start(i).end('ok', i);
    const { written, dropped } = recorder.sums;
    let text = '';
    stream.on('data', (chunk) => {
      text += String(chunk);
    });
    await new Promise(setImmediate);
    start(20_000).end('ok', 20_000);
    recorder.stop();
    await new Promise(setImmediate);
    expect(recorder.sums).toEqual({ written: written + 1, estimated: written + 1, dropped });
    expect(lineCount(text)).toBe(written + 1);
    // Nothing is cut in two where lines were dropped.
    for (const line of text.trimEnd().split('\n')) expect(JSON.parse(line)).toHaveProperty('at');
  });

  it('is 10,000 calls behind one that does not end, which is then written as it is expected to', () => {
    let text = '';
    const stream = new Writable({
      write(chunk, _encoding, done) {
        text += String(chunk);
        done();
      },
    });
    const { recorder, start } = recorderOf(stream);
    const endless = start(0);
    for (let i = 1; i < 10_000; i++) start(i).end('ok', i);
    expect(text).toBe('');
    start(10_000).end('ok', 10_000);
    expect(lineCount(text)).toBe(10_001);
    // Its end comes too late to count.
    endless.end('ok', 20_000);
    recorder.stop();
    expect(recorder.sums).toEqual({ written: 10_001, estimated: 10_001, dropped: 0 });
    const times = text
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { at: number }).at);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });
});
