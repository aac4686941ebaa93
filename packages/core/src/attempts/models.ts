import type { Clock } from '../clock.ts';
import { compositeKey, partsOf } from '../composite-key.ts';
import { isRecord, text } from '../json.ts';
import type { OnceLog } from '../logger.ts';
import { remember } from '../remember.ts';
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
  /** Of one that was not found: who was told so, and when one call looks again. */
  readonly evidence?: NotFound | undefined;
}

/** Evidence that a model is not there. */
interface NotFound {
  /** Callers that were told so since `since`, each with the last time. */
  readonly callers: Map<string, number>;
  /** Milliseconds of the epoch. */
  readonly since: number;
  lookAt: number;
  /** When it last answered somebody else: what was told before speaks for nobody but who was told. */
  answeredAt: number;
}

/** Access can be given, and names come to exist: after so long one call sees, in milliseconds. */
const NOT_FOUND_MS = 600_000;
/** One call in so many milliseconds looks whether the model is there again. */
const LOOK_MS = 10_000;
/** Callers that are told apart, of one model. */
const MAX_CALLERS = 64;
/** Characters of a name in a message. */
const NAME_LENGTH = 80;
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

  /**
   * Whether a call of this caller to it is sure to fail: the catalogue calls the model retired, two callers were told that
   * it is not there and nobody was answered since, or this caller was. One call in ten seconds looks again. What there
   * is to say of the model is said, once.
   */
  isGone(account: string, model: string, caller = ''): boolean {
    const known = this.#of(account, model);
    if (known === undefined) return false;
    if (known.availability === 'deprecated') {
      const when = known.retiresAt === undefined ? '' : `, and it will be gone on ${known.retiresAt}`;
      this.#once.warn(
        'HG_MODEL_DEPRECATED',
        `model ${model}`,
        `model "${nameOf(model)}" is asked for and deprecated${when}`,
      );
      return false;
    }
    const { evidence } = known;
    if (evidence !== undefined) {
      if (!evidence.callers.has(caller) && !isOfMany(evidence)) return false;
      const now = this.#clock.now();
      if (now >= evidence.lookAt) {
        evidence.lookAt = now + LOOK_MS;
        return false;
      }
    }
    this.#tellGone(model, this.evidenceOf(account, model));
    return true;
  }

  /** What is known of a model that is not there, in words: "404 by 3 callers since 14:03 UTC". */
  evidenceOf(account: string, model: string): string | undefined {
    const known = this.#of(account, model);
    if (known?.availability === 'retired') return 'retired in the list of models';
    if (known?.evidence === undefined) return undefined;
    const { callers, since } = known.evidence;
    const who = callers.size === 1 ? '1 caller' : `${callers.size} callers`;
    return `404 by ${who} since ${new Date(since).toISOString().slice(11, 16)} UTC`;
  }

  #tellGone(model: string, evidence: string | undefined): void {
    const why = evidence === undefined ? '' : ` (${evidence})`;
    this.#once.warn(
      'HG_MODEL_GONE',
      `model ${model}`,
      `the API has no model "${nameOf(model)}", or no more, or not for this account${why}: its calls fail, or go to the models that \`fallbacks\` names for it`,
    );
  }

  /** The API has told this caller that there is no such model. */
  notFound(account: string, model: string, caller = ''): void {
    const now = this.#clock.now();
    const known = this.#of(account, model)?.evidence;
    const evidence = known ?? {
      callers: new Map<string, number>(),
      since: this.#clock.wall(),
      lookAt: 0,
      answeredAt: -1,
    };
    evidence.lookAt = now + LOOK_MS;
    remember(evidence.callers, caller, now, MAX_CALLERS);
    this.#set(account, model, { availability: 'not_found', until: now + NOT_FOUND_MS, evidence });
    this.#tellGone(model, this.evidenceOf(account, model));
  }

  /** It has answered this caller: whatever was said of it, it is there for others too. */
  answered(account: string, model: string, caller = ''): void {
    const known = this.#of(account, model);
    if (known === undefined || known.availability === 'deprecated') return;
    const { evidence } = known;
    evidence?.callers.delete(caller);
    if (evidence === undefined || evidence.callers.size === 0) this.#known.delete(keyOf(account, model));
    else evidence.answeredAt = this.#clock.now();
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

/** Whether two callers were told so, and nobody was answered since. */
function isOfMany({ callers, answeredAt }: NotFound): boolean {
  let count = 0;
  for (const at of callers.values()) if (at > answeredAt && ++count === 2) return true;
  return false;
}

/** A name as it stands in a message: clients send whatever they like. */
const nameOf = (model: string) => (model.length > NAME_LENGTH ? `${model.slice(0, NAME_LENGTH)}…` : model);

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
