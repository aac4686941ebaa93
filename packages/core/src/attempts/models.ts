import type { Clock } from '../clock.ts';
import { compositeKey, partsOf } from '../composite-key.ts';
import { isRecord, text } from '../json.ts';
import type { OnceLog } from '../logger.ts';
import { blindReader, type Reader } from '../settlement/reading.ts';

/** What keeps a model from being asked, or will. */
type Availability =
  /** Answers, and is going to be retired. */
  | 'deprecated'
  /** The API lists it as history. */
  | 'retired'
  /** The API has said lately that there is none of this name. */
  | 'not_found';

interface Known {
  readonly availability: Availability;
  /** As the API tells it; it can be revised. */
  readonly retiresAt: string | undefined;
  readonly until: number;
}

/** Access can be given, and names come to exist: after so long one call sees, in milliseconds. */
const NOT_FOUND_MS = 600_000;
/** Models remembered that do not simply work. */
const MAX_KNOWN = 512;
/** The catalogue of all models is a small part of this, in bytes. */
const MAX_CATALOGUE = 4 * 2 ** 20;

/**
 * Models that are not simply there. Nobody is asked for it: it is learned from what passes, the API's catalogue where
 * the app reads that (`GET /v1/models`), and its answers to calls.
 */
export class Models {
  readonly #clock: Clock;
  readonly #once: OnceLog;
  readonly #known = new Map<string, Known>();

  constructor(clock: Clock, once: OnceLog) {
    this.#clock = clock;
    this.#once = once;
  }

  #of(account: string, model: string): Known | undefined {
    if (this.#known.size === 0) return undefined;
    const key = keyOf(account, model);
    const known = this.#known.get(key);
    if (known === undefined || this.#clock.now() < known.until) return known;
    this.#known.delete(key);
    return undefined;
  }

  /** Whether a call to it is sure to fail. Who asks is about to call it: what there is to say of it is said, once. */
  isGone(account: string, model: string): boolean {
    const known = this.#of(account, model);
    if (known === undefined) return false;
    const isGone = known.availability !== 'deprecated';
    if (isGone) this.#tellGone(model);
    else {
      const when = known.retiresAt === undefined ? '' : `, and it will be gone on ${known.retiresAt}`;
      this.#once.warn(
        'HG_MODEL_DEPRECATED',
        `model ${model}`,
        `model "${model}" is asked for and deprecated${when}`,
      );
    }
    return isGone;
  }

  #tellGone(model: string): void {
    this.#once.warn(
      'HG_MODEL_GONE',
      `model ${model}`,
      `the API has no model "${model}", or no more, or not for this account: its calls fail, or go to the models that \`fallbacks\` names for it`,
    );
  }

  notFound(account: string, model: string): void {
    this.#set(account, model, { availability: 'not_found', until: this.#clock.now() + NOT_FOUND_MS });
    this.#tellGone(model);
  }

  /** It has answered: whatever was said of it, it is there. */
  answered(account: string, model: string): void {
    const known = this.#of(account, model);
    if (known !== undefined && known.availability !== 'deprecated') this.#known.delete(keyOf(account, model));
  }

  /** Takes what the API says of one model, or of a page of them. Of what it does not understand it takes nothing. */
  read(account: string, body: string): void {
    let content: unknown;
    try {
      content = JSON.parse(body);
    } catch {
      return;
    }
    if (!isRecord(content)) return;
    for (const model of Array.isArray(content.data) ? content.data : [content]) {
      const id = isRecord(model) ? text(model.id) : undefined;
      if (!isRecord(model) || id === undefined || model.type !== 'model') continue;
      const { lifecycle } = model;
      if (lifecycle === 'deprecated' || lifecycle === 'retired') {
        this.#set(account, id, { availability: lifecycle, retiresAt: text(model.retires_at) });
      } else if (lifecycle === 'active') this.#known.delete(keyOf(account, id));
    }
  }

  #set(account: string, model: string, known: Partial<Known> & Pick<Known, 'availability'>): void {
    const key = keyOf(account, model);
    if (this.#known.size >= MAX_KNOWN && !this.#known.has(key)) this.#forgetOne();
    // The newest last: names that clients make up go before it does.
    this.#known.delete(key);
    this.#known.set(key, { retiresAt: undefined, until: Number.POSITIVE_INFINITY, ...known });
  }

  /** The oldest name that the API did not know goes first, and what its catalogue tells goes last. */
  #forgetOne(): void {
    let oldest: string | undefined;
    for (const [key, { availability }] of this.#known) {
      oldest ??= key;
      if (availability !== 'not_found') continue;
      this.#known.delete(key);
      return;
    }
    if (oldest !== undefined) this.#known.delete(oldest);
  }

  snapshot() {
    return {
      models: [...this.#known.keys()].flatMap((key) => {
        const [account = '', model = ''] = partsOf(key);
        const known = this.#of(account, model);
        return known === undefined ? [] : [{ account, model, availability: known.availability }];
      }),
    };
  }
}

const keyOf = (account: string, model: string) => compositeKey(account, model);

/** `GET /v1/models` and `GET /v1/models/{id}`, whatever a gateway puts before it. */
export function isCatalogue(method: string | undefined, url: string): boolean {
  return method === 'GET' && /\/v1\/models(\/[^/?#]+)?\/?(?:[?#]|$)/.test(url);
}

/** Reads along with the catalogue, and tells it when it is there whole. */
export function catalogueReader(tell: (body: string) => void): Reader {
  let chunks: Uint8Array[] = [];
  let size = 0;
  return {
    ...blindReader,
    push(bytes) {
      size += bytes.byteLength;
      if (size <= MAX_CATALOGUE) chunks.push(bytes);
      else chunks = [];
    },
    end() {
      if (size <= MAX_CATALOGUE) tell(Buffer.concat(chunks).toString('utf8'));
      chunks = [];
    },
  };
}
