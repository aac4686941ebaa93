import { headgate, headgateErrors } from '@headgate/express';
import type express from 'express';
import { type Adapter, type Io, inSpan, listen, messageOf, type TestRoute, userOf } from './adapter.ts';

/** Express through its own adapter. `version` is a major's export. */
export function expressAdapter(name: string, version: typeof express): Adapter {
  const ioOf = (req: express.Request, res: express.Response): Io => ({
    key: req,
    request: req,
    response: res,
    body: req.body,
    json: (value) => res.json(value),
    events: (stream, options) => headgate.events(res, stream, options),
    takeOver: () => {},
  });
  const add = (router: express.Router, routes: readonly TestRoute[]) => {
    for (const { method = 'POST', path, options, handle } of routes) {
      const before = options === undefined ? [] : [headgate.route(options)];
      const handler = headgate.handler((req, res) => handle(ioOf(req, res)));
      router[method === 'GET' ? 'get' : 'post'](path, ...before, handler);
    }
  };
  return {
    name,
    hasHttp2: false,
    serve({ doors, routes, nested, handOver, tracer, errors }) {
      const app = version();
      app.use((req, res, next) => inSpan(tracer, res, req.path, next));
      for (const { governor, options } of doors) {
        const { caller, ...others } = options;
        app.use(
          headgate(governor, { ...others, caller: caller && ((_req, res) => caller(res.locals.user)) }),
        );
      }
      app.use((req, res, next) => {
        res.locals.user = userOf(req);
        next();
      });
      if (handOver !== undefined) app.use((_req, _res, next) => handOver(next));
      app.use(version.json());
      add(app, routes);
      if (nested !== undefined) {
        const router = version.Router();
        add(router, nested);
        app.use('/nested', router);
      }
      app.use(headgateErrors(errors));
      const own: express.ErrorRequestHandler = (error, _req, res, _next) =>
        res.headersSent ? res.destroy() : res.status(500).json(messageOf(error));
      app.use(own);
      return listen(app);
    },
  };
}
