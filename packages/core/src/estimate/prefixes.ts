import { createHash } from 'node:crypto';
import { compositeKey } from '../composite-key.ts';
import type { Model } from '../policy/models.ts';
import type { Call, MessageBody } from '../request/read.ts';
import { readFeatures } from './input.ts';
import { countTokens } from './kinds.ts';

/** How long the API keeps a prefix that nobody reads again. */
const TTL_MS = 300_000;
/** What is warm for this much longer is counted on: a call may wait, and travels. */
const MARGIN_MS = 15_000;
/** While one call writes a prefix, others of the same go unmarked for so long: each would pay for a write of its own. */
const WRITING_MS = 30_000;
/** Prefixes that are remembered; the one that was used longest ago goes first. */
const MAX_PREFIXES = 4_096;
/** Entries that are looked at whenever a call is: what is over by then is told, and forgotten. */
const SWEEP = 2;
/** The least that a prefix must have where nothing is known of the model: the most that any known model asks for. */
const UNKNOWN_MIN_TOKENS = 4_096;
/** A text with fewer characters than this for each token of the least is not even looked at. */
const LEAST_CHARS_PER_TOKEN = 1;

/** What is known of the beginning of a call, its tools and system prompt, with regard to the API's cache. */
export interface PrefixLook {
  /** True where the prefix is to be marked for the cache, which its caller has not done. */
  readonly marks: boolean;
  /** Tokens that the cache is going to give: they are free of the input limit. */
  readonly cachedTokens: number;
  /** What the API told that it read from the cache, and wrote to it. */
  learned(used: { readonly read: number; readonly written: number }): void;
}

const NOTHING: PrefixLook = { marks: false, cachedTokens: 0, learned() {} };

interface Entry {
  seenAt: number;
  /** Until then the API has it. */
  warmUntil: number;
  writingUntil: number;
  cachedTokens: number;
  /** Written, and not read since: tokens. */
  unreadTokens: number;
  /** Too short, as the API has shown. */
  isUncacheable: boolean;
}

/** A write that nobody has read before it was gone: the price of the write was wasted. */
export type OnUnread = (tokens: number) => void;

/**
 * Prefixes seen of late, in bounded memory. One that comes again within the lifetime of the cache is worth marking:
 * once by one call, which pays for the write, and by all once it is there. What the API says it has read is what the
 * next call is taken to have from the cache.
 */
export class Prefixes {
  readonly #entries = new Map<string, Entry>();
  readonly #onUnread: OnUnread;

  constructor(onUnread: OnUnread = () => {}) {
    this.#onUnread = onUnread;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** `mayMark` says that marking is wanted for this call. One that its caller has marked is only learned from. */
  look(call: Call, modelId: string, model: Model | undefined, mayMark: boolean, now: number): PrefixLook {
    const { body, hasCacheControl = false } = call;
    if (call.kind !== 'messages' || body === undefined || !(mayMark || hasCacheControl)) return NOTHING;
    this.#sweep(now);
    const key = keyOf(body, modelId, model, hasCacheControl);
    if (key === undefined) return NOTHING;
    const known = this.#entries.get(key);
    const entry = known ?? this.#make();
    const isRecent = known !== undefined && now - entry.seenAt <= TTL_MS;
    entry.seenAt = now;
    this.#touch(key, entry);
    const isWarm = now + MARGIN_MS < entry.warmUntil;
    const cachedTokens = isWarm ? entry.cachedTokens : 0;
    const learned = (used: { read: number; written: number }) =>
      this.#learn(entry, used, now, !hasCacheControl);
    if (hasCacheControl) return { marks: false, cachedTokens, learned };
    if (entry.isUncacheable) return NOTHING;
    if (isWarm) return { marks: true, cachedTokens, learned };
    if (!isRecent || now < entry.writingUntil) return NOTHING;
    entry.writingUntil = now + WRITING_MS;
    return { marks: true, cachedTokens: 0, learned };
  }

  #make(): Entry {
    return {
      seenAt: Number.NEGATIVE_INFINITY,
      warmUntil: Number.NEGATIVE_INFINITY,
      writingUntil: Number.NEGATIVE_INFINITY,
      cachedTokens: 0,
      unreadTokens: 0,
      isUncacheable: false,
    };
  }

  #learn(
    entry: Entry,
    { read, written }: { read: number; written: number },
    sentAt: number,
    isOurs: boolean,
  ): void {
    entry.writingUntil = Number.NEGATIVE_INFINITY;
    if (read === 0 && written === 0) {
      if (isOurs) entry.isUncacheable = true;
      // Somebody else's marks, and nothing came of them: nothing is to be counted on.
      entry.warmUntil = Number.NEGATIVE_INFINITY;
      return;
    }
    // Where callers mark more than the prefix, their conversations differ: the least of them all is certain.
    if (read > 0)
      entry.cachedTokens = isOurs || entry.cachedTokens === 0 ? read : Math.min(entry.cachedTokens, read);
    else
      entry.cachedTokens =
        isOurs || entry.cachedTokens === 0 ? written : Math.min(entry.cachedTokens, written);
    entry.warmUntil = Math.max(entry.warmUntil, sentAt + TTL_MS);
    if (!isOurs) return;
    if (read > 0) entry.unreadTokens = 0;
    else if (written > 0) entry.unreadTokens += written;
  }

  #touch(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    if (this.#entries.size > MAX_PREFIXES) {
      const oldest = this.#entries.entries().next().value;
      if (oldest !== undefined) this.#forget(oldest[0], oldest[1]);
    }
  }

  /** The entries that were used longest ago: what they have written is lost by now, read or not. */
  #sweep(now: number): void {
    for (let looked = 0; looked < SWEEP; looked++) {
      const oldest = this.#entries.entries().next().value;
      if (oldest === undefined) return;
      const [key, entry] = oldest;
      if (now - entry.seenAt <= TTL_MS || now < entry.warmUntil) return;
      this.#forget(key, entry);
    }
  }

  #forget(key: string, entry: Entry): void {
    this.#entries.delete(key);
    if (entry.unreadTokens > 0) this.#onUnread(entry.unreadTokens);
  }
}

/** Undefined for what is too short to be cached. */
function keyOf(
  { system, tools }: MessageBody,
  modelId: string,
  model: Model | undefined,
  isMarked: boolean,
): string | undefined {
  const least = model?.cacheMinTokens ?? UNKNOWN_MIN_TOKENS;
  const text = `${system === undefined ? '' : JSON.stringify(system)}\n${tools === undefined ? '' : JSON.stringify(tools)}`;
  if (!isMarked) {
    if (text.length < least * LEAST_CHARS_PER_TOKEN) return undefined;
    const tokens = countTokens(readFeatures({ system, tools }), model?.tokenizer ?? 'newer');
    if (tokens < least) return undefined;
  }
  return createHash('sha256')
    .update(`${compositeKey(modelId)}\n${text}`)
    .digest('base64');
}
