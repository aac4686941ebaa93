import type { IncomingHttpHeaders } from 'node:http';
import { isIPv4, isIPv6 } from 'node:net';

/** The part of a request that an identity is read from; every framework's request has it. */
export interface IdentifiableRequest {
  readonly headers: IncomingHttpHeaders;
}

/**
 * The user that a header names. Only for a header that a proxy of your own sets and strips from what comes in: anybody
 * can send a header. An empty one, or one sent twice, names nobody.
 */
export function userFromHeader(request: IdentifiableRequest, name: string): string | undefined {
  const value = request.headers[name.toLowerCase()];
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}

/**
 * The user of a bearer token, as `verify` finds it: it gets the token, checks it with whatever the app uses, and gives
 * the verified claims (whose `sub` is the user) or the user itself. No token names nobody; what `verify` throws goes on.
 */
export async function userFromToken(
  request: IdentifiableRequest,
  verify: (token: string) => TokenOwner | Promise<TokenOwner>,
): Promise<string | undefined> {
  const match = /^Bearer +([^\s]+)$/i.exec(request.headers.authorization ?? '');
  if (match?.[1] === undefined) return undefined;
  const owner = await verify(match[1]);
  return typeof owner === 'string' ? owner : (owner?.sub ?? undefined);
}

export type TokenOwner = string | { readonly sub?: string | undefined } | undefined;

/** The user of a session, where session middleware has put one: `session.user.id`, `session.userId` or `user.id`. */
export function userFromSession(request: object): string | undefined {
  const { session, user } = request as { session?: SessionLike | null; user?: { id?: unknown } | null };
  const id = session?.user?.id ?? session?.userId ?? user?.id;
  return typeof id === 'string' || typeof id === 'number' ? String(id) : undefined;
}

interface SessionLike {
  readonly user?: { readonly id?: unknown };
  readonly userId?: unknown;
}

export interface AddressOptions {
  /** Leading bits of an IPv6 address that count. Default 56: what a provider usually gives to one customer. */
  readonly ipv6Prefix?: number;
}

/**
 * A user by network address, for callers that are not signed in. One customer has a whole IPv6 prefix, and could
 * otherwise be as many users as they please; an IPv4 address in IPv6 dress is the IPv4 address. Take the address from
 * the framework (`req.ip`, with its proxy setting), never from a header. What is no address names nobody.
 */
export function userFromAddress(
  address: string | undefined,
  { ipv6Prefix = 56 }: AddressOptions = {},
): string | undefined {
  if (!Number.isInteger(ipv6Prefix) || ipv6Prefix < 1 || ipv6Prefix > 128) {
    throw new RangeError(
      `Headgate ipv6Prefix: expected a whole number from 1 to 128, received ${ipv6Prefix}`,
    );
  }
  const bare = address?.split('%')[0] ?? '';
  if (isIPv4(bare)) return `ip:${bare}`;
  if (!isIPv6(bare)) return undefined;
  const groups = expand(bare);
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isMapped) {
    const [high = 0, low = 0] = groups.slice(6);
    return `ip:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  const kept = groups.map((group, index) => {
    const bits = Math.min(16, Math.max(0, ipv6Prefix - 16 * index));
    return group & (0xffff << (16 - bits)) & 0xffff;
  });
  return `ip:${kept.map((group) => group.toString(16)).join(':')}/${ipv6Prefix}`;
}

/** The eight groups of an IPv6 address. */
function expand(address: string): number[] {
  // A tail in IPv4 form is two groups.
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => {
    const group = (high: string, low: string) => ((Number(high) << 8) | Number(low)).toString(16);
    return `${group(a, b)}:${group(c, d)}`;
  });
  const [head = '', tail] = plain.split('::');
  const read = (text: string) =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const [before, after] = [read(head), tail === undefined ? [] : read(tail)];
  return [...before, ...Array<number>(Math.max(0, 8 - before.length - after.length)).fill(0), ...after];
}
