import type { Attributes, Span } from '@opentelemetry/api';
import { ATTRIBUTES as A } from './names.ts';

export function setDefined(
  span: Span,
  attributes: Record<string, string | number | boolean | undefined>,
): void {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined) span.setAttribute(name, value);
}

const servers = new Map<string, { address: string; port: number }>();

/** Address and port of the API; one URL has one answer, and a process talks to few. */
export function serverOf(url: string): { address: string; port: number } {
  const end = url.indexOf('/', url.indexOf('://') + 3);
  const origin = end === -1 ? url : url.slice(0, end);
  let known = servers.get(origin);
  if (known === undefined) {
    const { hostname, port, protocol } = new URL(origin);
    known = { address: hostname, port: Number(port) || (protocol === 'https:' ? 443 : 80) };
    if (servers.size < 64) servers.set(origin, known);
  }
  return known;
}

export function serverAttributes(url: string): Attributes {
  const { address, port } = serverOf(url);
  return { [A.serverAddress]: address, [A.serverPort]: port };
}
