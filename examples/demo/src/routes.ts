import Anthropic from '@anthropic-ai/sdk';
import { type ErrorRequestHandler, type Request, type Response, Router } from 'express';
import { MAX_TOKENS, MODEL } from './scenario.ts';

export interface Answers {
  readonly model: string;
  readonly maxTokens: number;
}

/** The app's own code. It is the same with and without Headgate: only the client that it is given differs. */
export function chatRoutes(
  claude: Anthropic,
  { model, maxTokens }: Answers = { model: MODEL, maxTokens: MAX_TOKENS },
): Router {
  const router = Router();

  const bodyOf = (req: Request) => ({
    model,
    max_tokens: maxTokens,
    messages: [{ role: 'user' as const, content: promptOf(req) }],
  });

  async function answer(req: Request, res: Response): Promise<void> {
    res.json(await claude.messages.create(bodyOf(req)));
  }

  router.post('/chat', answer);
  router.post('/summarize', answer);

  router.post('/chat/stream', async (req, res) => {
    for await (const event of claude.messages.stream(bodyOf(req))) {
      if (event.type !== 'content_block_delta' || event.delta.type !== 'text_delta') continue;
      // Headers go out with the first text, so that a refusal before it still has a status of its own.
      if (!res.headersSent) res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(`data: ${JSON.stringify(event.delta.text)}\n\n`);
    }
    res.end('event: done\ndata: {}\n\n');
  });

  return router;
}

function promptOf(req: Request): string {
  const prompt: unknown = req.body?.prompt;
  return typeof prompt === 'string' && prompt !== '' ? prompt : 'Say hello.';
}

/** Passes the API's own errors on with their status. */
export const apiErrors: ErrorRequestHandler = (error, _req, res, next) => {
  // A stream that breaks after its headers can only be cut short, which is how its reader knows.
  if (res.headersSent) return void res.destroy();
  if (!(error instanceof Anthropic.APIError)) return next(error);
  const status: unknown = error.status;
  res.status(typeof status === 'number' ? status : 502).json({
    type: 'error',
    error: { type: error.type ?? 'connection_error', message: error.message },
  });
};
