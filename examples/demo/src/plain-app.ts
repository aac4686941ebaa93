import Anthropic from '@anthropic-ai/sdk';
import express, { type Express } from 'express';
import { apiErrors, chatRoutes } from './routes.ts';

/** The same app with the SDK as it comes: two retries, each after what `retry-after` says. */
export function plainApp(baseURL: string): Express {
  const claude = new Anthropic({ apiKey: 'demo', authToken: null, baseURL });
  const app = express();
  app.use(express.json());
  app.use(chatRoutes(claude));
  app.use(apiErrors);
  return app;
}
