import Anthropic from '@anthropic-ai/sdk';
import { type Ask, isUrgent, MAX_TOKENS, MAX_WAIT, MODEL } from './scenario.ts';

/** Makes a call and gives the tokens of its answer. Rejects where there is none, and when `signal` is aborted. */
export type Call = (ask: Ask, signal: AbortSignal) => Promise<number>;

/** One way of keeping to the limits. */
export interface Contender {
  readonly name: string;
  /** Packages that it is made of, whose versions the page tells. */
  readonly packages: readonly string[];
  /** How it is set up, for the page. */
  readonly how: string;
  /** A new one, that calls the API at `url`. */
  start(url: string): Call;
}

/** The official client. `maxRetries`: 2 where nobody says otherwise, as it comes. */
export const clientFor = (url: string, maxRetries = 2) =>
  new Anthropic({ apiKey: 'bench', authToken: null, baseURL: url, maxRetries });

/** The same request for everybody. */
export async function send(client: Anthropic, ask: Ask, signal: AbortSignal): Promise<number> {
  const body = {
    model: MODEL,
    max_tokens: MAX_TOKENS,
    messages: [{ role: 'user' as const, content: ask.prompt }],
  };
  const message = ask.streams
    ? await client.messages.stream(body, { signal }).finalMessage()
    : await client.messages.create(body, { signal });
  return message.usage.output_tokens;
}

/** Called when a call's turn has come: throws where it has waited too long for an answer that anybody still reads. */
export function waitOf(ask: Ask): () => void {
  const arrivedAt = performance.now();
  return () => {
    if (isUrgent(ask) && performance.now() - arrivedAt > MAX_WAIT * 1_000)
      throw new Error(`waited more than ${MAX_WAIT} s`);
  };
}

/** Milliseconds that a 429 or 529 asks to wait; nothing for any other error. */
export function retryAfterMs(error: unknown): number | undefined {
  if (!(error instanceof Anthropic.APIError) || (error.status !== 429 && error.status !== 529))
    return undefined;
  return Number(error.headers?.get('retry-after') ?? 1) * 1_000;
}
