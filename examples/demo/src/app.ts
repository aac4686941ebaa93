import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type Governor } from '@headgate/core';
import { headgate, headgateErrors } from '@headgate/express';
import express, { type Express, type Request } from 'express';
import { type Answers, apiErrors, chatRoutes } from './routes.ts';
import { CONFIG } from './scenario.ts';
import { serverSpans } from './telemetry.ts';

/** The app with Headgate. `governor.govern`, `headgate` and `headgateErrors` are all that it takes. */
export function governedApp(governor: Governor, client: Anthropic, answers?: Answers): Express {
  const claude = governor.govern(client);
  const app = express();
  app.use(express.json(), serverSpans());
  app.get('/headgate', (_req, res) => {
    res.json(governor.snapshot());
  });
  app.use(headgate(governor, { caller: callerOf }));
  app.use(chatRoutes(claude, answers));
  app.use(headgateErrors(), apiErrors);
  return app;
}

/** The same under the demo's configuration, against an API at `baseURL`. */
export function demoApp(baseURL: string): { app: Express; governor: Governor } {
  const governor = createGovernor({ config: CONFIG });
  return {
    governor,
    app: governedApp(governor, new Anthropic({ apiKey: 'demo', authToken: null, baseURL })),
  };
}

/** A real app takes the user from its session: a header says whatever its sender likes. */
function callerOf(req: Request) {
  return {
    user: req.get('x-user'),
    tier: req.get('x-tier'),
    lane: req.path === '/summarize' ? 'background' : 'interactive',
  };
}
