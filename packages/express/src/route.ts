import type { Request } from 'express';

/** The part of Express's routers that is read here; versions 4 and 5 have it alike, and nothing else is taken for given. */
interface Layer {
  readonly route?: unknown;
  readonly handle?: { readonly stack?: unknown; readonly name?: string };
  /** As the app wrote it: `router` 2.3 and later. */
  readonly rawPath?: unknown;
  readonly keys?: readonly { readonly name: string | number }[];
  /** Parameters of the last match: before `router` 2.3. */
  readonly params?: Readonly<Record<string, unknown>>;
  readonly path?: string;
  match(path: string): unknown;
}

interface Application {
  readonly mountpath?: string | readonly string[];
  readonly parent?: Application;
  readonly router?: { readonly stack?: unknown };
  readonly _router?: { readonly stack?: unknown };
}

interface Match {
  /** What of the path was matched. */
  readonly path: string;
  readonly pattern: string;
}

/** Stands for the mount path of a router that cannot be found: never the path itself, which has clients' data in it. */
const UNKNOWN = '/*';

/**
 * The pattern of the matched route with those of all routers and apps that it is mounted in, as `/users/:id/chat`: of
 * bounded number, and without anybody's data.
 */
export function routeOf(req: Request): string | undefined {
  const route: unknown = req.route;
  if (route === undefined) return undefined;
  const path = (route as { path?: unknown }).path;
  const { baseUrl } = req;
  const own = patternText(path, pathnameOf(req.url));
  if (baseUrl === '') return own;
  const apps: Application[] = [];
  for (let app = req.app as unknown as Application | undefined; app !== undefined; app = app.parent)
    apps.unshift(app);
  let base: string | undefined;
  try {
    base = baseOf(stackOfApp(apps[0]), apps, 0, baseUrl, route);
  } catch {
    // A router of another make: what cannot be read is not guessed at.
  }
  return joined(base ?? UNKNOWN, own);
}

/** The patterns under which the router of `route` is mounted, or undefined where it is not below this stack. */
function baseOf(
  stack: readonly Layer[],
  apps: readonly Application[],
  depth: number,
  rest: string,
  route: unknown,
): string | undefined {
  if (rest === '' && stack.some((layer) => layer.route === route)) return '';
  for (const layer of stack) {
    if (layer.route !== undefined) continue;
    const child = apps[depth + 1];
    const below = stackOf(layer.handle);
    const isApp = below.length === 0 && layer.handle?.name === 'mounted_app' && child !== undefined;
    if (below.length === 0 && !isApp) continue;
    const match = matchOf(layer, rest === '' ? '/' : rest, isApp ? child.mountpath : undefined);
    if (match === undefined) continue;
    const left = rest.slice(match.path.length);
    const found = isApp
      ? baseOf(stackOfApp(child), apps, depth + 1, left, route)
      : baseOf(below, apps, depth, left, route);
    if (found !== undefined) return joined(match.pattern, found);
  }
  return undefined;
}

function stackOf(router: { readonly stack?: unknown } | undefined): readonly Layer[] {
  return Array.isArray(router?.stack) ? router.stack : [];
}

/** The router of Express 4 first: there the getter `router` throws. */
const stackOfApp = (app: Application | undefined) => stackOf(app?._router ?? app?.router);

function matchOf(layer: Layer, path: string, mountpath: Application['mountpath']): Match | undefined {
  const result = layer.match(path);
  if (result === false || result === undefined) return undefined;
  const { path: matched = '', params = {} } = (result === true ? layer : result) as {
    path?: string;
    params?: Readonly<Record<string, unknown>>;
  };
  const given = mountpath ?? layer.rawPath;
  if (given !== undefined) return { path: matched, pattern: patternText(given, matched) };
  const names = rebuilt(matched, params);
  return { path: matched, pattern: isStatic(layer, matched, names) ? names.join('/') : UNKNOWN };
}

/** A pattern as text. Of several the one that fits the path. */
function patternText(pattern: unknown, path: string): string {
  if (!Array.isArray(pattern)) return String(pattern);
  const all: unknown[] = pattern.flat(Number.POSITIVE_INFINITY);
  return patternText(all.find((each) => typeof each === 'string' && fits(each, path)) ?? all[0], path);
}

/** Whether a path may be of that pattern: whatever is no plain text fits. */
function fits(pattern: string, path: string): boolean {
  const [expected, actual] = [pattern, path].map((text) => text.split('/').filter((part) => part !== ''));
  if (expected === undefined || actual === undefined) return false;
  if (!/[*{?(]/.test(pattern) && expected.length !== actual.length) return false;
  return expected.every((part, at) => /[:*{?(]/.test(part) || part === actual[at]);
}

/** The pattern of a matched path, part by part, from its parameters: the last of them is the first from the right. */
function rebuilt(path: string, params: Readonly<Record<string, unknown>>): string[] {
  const values = Object.entries(params).filter(([, value]) => value !== undefined);
  const parts = path.split('/');
  for (let at = parts.length - 1; at >= 0 && values.length > 0; at--) {
    const [name, value] = values[values.length - 1] ?? [];
    if (decoded(parts[at] ?? '') !== String(value)) continue;
    parts[at] = `:${name}`;
    values.pop();
  }
  // A value that is no whole part of the path: nothing of the path may stand in a pattern.
  return values.length === 0 ? parts : [UNKNOWN];
}

/** Whether the layer takes nothing else for the parts that have no name: a pattern has them as they are. */
function isStatic(layer: Layer, path: string, names: readonly string[]): boolean {
  const parts = path.split('/');
  if (names.length !== parts.length) return true;
  return names.every((name, at) => {
    const part = parts[at] ?? '';
    if (name !== part || part === '') return true;
    const others = [part.replace(/[a-y0-8]/gi, (sign) => String.fromCharCode(sign.charCodeAt(0) + 1)), '~~'];
    return others.every((other) => !layer.match(parts.with(at, other).join('/')));
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function pathnameOf(url: string): string {
  const end = url.search(/[?#]/);
  return end === -1 ? url : url.slice(0, end);
}

const joined = (base: string, path: string): string =>
  path === '' ? base : `${base.endsWith('/') ? base.slice(0, -1) : base}${path}`;
