import type { Writable } from 'node:stream';
import { ANONYMOUS } from '../caller/caller.ts';
import type { Clock } from '../clock.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import { UserHash } from './labels.ts';
import { quietly } from './quietly.ts';
import { RecordedCall } from './recorded-call.ts';
import type { CallStart, CallStory } from './types.ts';

/** How a recording stands. */
export interface RecordingSums {
  /** Calls that the stream was handed, one line each. */
  readonly written: number;
  /** Of those, calls of which the API has told no usage: their sizes are those that the governor expected. */
  readonly estimated: number;
  /** Calls of which there is no line, since the stream was too slow or has failed. */
  readonly dropped: number;
}

/** A recording under way. Called, it ends: what is under way is written as it is expected to go on. Idempotent. */
export interface Recording extends Disposable {
  (): RecordingSums;
  readonly sums: RecordingSums;
}

/** Tokens of a call: as the API has counted them, or as they were expected. */
export interface Sizes {
  readonly input: number;
  readonly output: number;
}

export interface RecorderOptions {
  readonly clock: Clock;
  /** Left out: a key of the recording's own, so that no two recordings can be laid side by side. */
  readonly hashKey: string | undefined;
  readonly expect: (plan: Plan, call: Call) => Sizes;
  /** Calls of a lane that goes by batch draw on no limit that can be rehearsed. */
  readonly goesByBatch: (lane: string) => boolean;
  readonly onFailed: (error: unknown) => void;
}

/** A call's place in the order of arrival. */
interface Slot {
  readonly at: number;
  /** Until its end. */
  call: RecordedCall | undefined;
  /** From its end on; absent where none could be made. */
  line?: { readonly text: string; readonly isEstimated: boolean } | 'none' | undefined;
}

/** Bytes that may wait in the stream; of one that counts objects, lines. What comes then is dropped. */
const MAX_WAITING_BYTES = 1_048_576;
const MAX_WAITING_LINES = 4_096;
/** Calls that may wait for the end of one that came before them. */
const MAX_HELD = 10_000;
/** The longest text that a trace may have. */
const MAX_TEXT = 256;

/** Streams whose errors come late, when the recording is over: they are nobody's, and must not end the process. */
const guarded = new WeakSet<Writable>();

/**
 * Shapes of calls as lines of a trace, for `headgate plan`: sizes, lanes, times and hashed users; nothing of what was
 * said. A trace is in the order of arrival and a call's size is known at its end, so a call is held until all that came
 * before it have ended. Bounded everywhere: past its bound a call is written as it is expected to end, or is dropped and
 * counted. No call waits for any of this.
 */
export class Recorder {
  readonly #stream: Writable;
  readonly #options: RecorderOptions;
  readonly #startedAt: number;
  readonly #hash: UserHash;
  /** In order of arrival. */
  readonly #held = new Set<Slot>();
  readonly #fail = (error: unknown) => this.#failed(error);
  #isStopped = false;
  #hasFailed = false;
  #written = 0;
  #estimated = 0;
  #dropped = 0;

  /** @throws TypeError for what cannot be written to. */
  constructor(stream: Writable, options: RecorderOptions) {
    checkStream(stream);
    this.#stream = stream;
    this.#options = options;
    this.#startedAt = options.clock.now();
    this.#hash = new UserHash(options.hashKey);
    stream.on('error', this.#fail);
    if (!guarded.has(stream)) {
      guarded.add(stream);
      stream.on('error', () => {});
    }
  }

  get sums(): RecordingSums {
    return { written: this.#written, estimated: this.#estimated, dropped: this.#dropped };
  }

  /** The story of a call, with its shape written down along the way. */
  follow(story: CallStory, { call, startedAt }: CallStart): CallStory {
    // What is no request that can be read is refused by the API at once.
    if (this.#isStopped || call.kind !== 'messages' || call.body === undefined) return story;
    const slot: Slot = { at: Math.max(0, Math.floor(startedAt - this.#startedAt)), call: undefined };
    const recorded = new RecordedCall(story, call, () => this.#ended(slot));
    slot.call = recorded;
    this.#held.add(slot);
    if (this.#held.size > MAX_HELD) {
      for (const oldest of this.#held) {
        this.#ended(oldest);
        break;
      }
    }
    return recorded;
  }

  stop(): RecordingSums {
    if (this.#isStopped) return this.sums;
    for (const slot of [...this.#held]) this.#ended(slot);
    this.#isStopped = true;
    this.#stream.off('error', this.#fail);
    return this.sums;
  }

  /** Only the line is kept from now on: the request itself would be held with it. */
  #ended(slot: Slot): void {
    const { at, call } = slot;
    if (call === undefined) return;
    slot.call = undefined;
    slot.line = quietly(() => this.#lineOf(at, call));
    // Writes what has ended, up to the first call that has not.
    for (const first of this.#held) {
      if (first.call !== undefined) break;
      this.#held.delete(first);
      this.#take(first);
    }
  }

  #take({ line }: Slot): void {
    if (line === 'none') return;
    if (line === undefined || !this.#write(line.text)) {
      this.#dropped++;
      return;
    }
    this.#written++;
    if (line.isEstimated) this.#estimated++;
  }

  #lineOf(at: number, { plan, call, sizes, isRefusedByApi }: RecordedCall): Slot['line'] {
    // Without a plan nobody knows who called: the policy itself has refused it.
    if (plan === undefined || isRefusedByApi || this.#options.goesByBatch(plan.lane)) return 'none';
    const { input, output } = sizes ?? this.#options.expect(plan, call);
    const { caller, lane } = plan;
    const shape = {
      at,
      input,
      output,
      maxTokens: least(call.maxTokens, caller.maxTokens) || undefined,
      model: call.model.slice(0, MAX_TEXT),
      user: this.#hashed(caller.user ?? ANONYMOUS),
      tenant: this.#hashed(caller.tenant),
      tier: caller.tier,
      lane,
      route: caller.route,
      streaming: call.isStreaming,
    };
    return { text: `${JSON.stringify(shape)}\n`, isEstimated: sizes === undefined };
  }

  #write(line: string): boolean {
    const { writableLength, writableObjectMode, writable } = this.#stream;
    if (this.#hasFailed) return false;
    if (!writable) {
      this.#failed(new Error('it has ended'));
      return false;
    }
    const most = writableObjectMode ? MAX_WAITING_LINES : MAX_WAITING_BYTES;
    if (writableLength >= most) return false;
    try {
      this.#stream.write(line);
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  #failed(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#options.onFailed(error);
  }

  #hashed(id: string | undefined): string | undefined {
    return id === undefined || id === ANONYMOUS ? id : this.#hash.of(id);
  }
}

const least = (a: number | undefined, b: number | undefined) =>
  a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);

function checkStream(stream: unknown): void {
  const { write, on, writable } = (stream ?? {}) as Partial<Writable>;
  if (typeof write !== 'function' || typeof on !== 'function')
    throw new TypeError(`Headgate record: expected a writable stream, received ${typeName(stream)}`);
  if (writable !== true)
    throw new TypeError(
      'Headgate record: expected a stream that can be written to, received one that has ended',
    );
}

const typeName = (value: unknown) =>
  value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value;
