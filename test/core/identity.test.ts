import { userFromAddress, userFromHeader, userFromSession, userFromToken } from '@headgate/core/http';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalizeCaller } from '../../packages/core/src/caller/caller.ts';

describe('a user', () => {
  it('by address: IPv4 whole, IPv6 by its prefix, what is none not at all', () => {
    expect(userFromAddress('192.0.2.7')).toBe('ip:192.0.2.7');
    expect(userFromAddress('::ffff:192.0.2.7')).toBe('ip:192.0.2.7');
    expect(userFromAddress('2001:db8:1:2ff:a:b:c:d')).toBe('ip:2001:db8:1:200:0:0:0:0/56');
    expect(userFromAddress('2001:db8:1:2ff::1', { ipv6Prefix: 64 })).toBe('ip:2001:db8:1:2ff:0:0:0:0/64');
    expect(userFromAddress('2001:db8::1', { ipv6Prefix: 128 })).toBe('ip:2001:db8:0:0:0:0:0:1/128');
    expect(userFromAddress('fe80::1%eth0')).toBe('ip:fe80:0:0:0:0:0:0:0/56');
    for (const none of [undefined, '', 'localhost', '1.2.3', '1.2.3.4, 5.6.7.8', '::ffff']) {
      if (none !== '::ffff') expect(userFromAddress(none)).toBeUndefined();
    }
    expect(() => userFromAddress('::1', { ipv6Prefix: 0 })).toThrow(RangeError);
  });

  it('by address is one for all addresses of a prefix, and another for the next prefix', () => {
    const group = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(
        fc.array(group, { minLength: 8, maxLength: 8 }),
        fc.array(group, { minLength: 8, maxLength: 8 }),
        (a, b) => {
          const text = (groups: number[]) => groups.map((each) => each.toString(16)).join(':');
          const same = [...a.slice(0, 3), (a[3]! & 0xff00) | (b[3]! & 0xff), ...b.slice(4)];
          const isMapped = (groups: number[]) =>
            groups.slice(0, 5).every((each) => each === 0) && groups[5] === 0xffff;
          if (isMapped(a) || isMapped(same)) return;
          expect(userFromAddress(text(same))).toBe(userFromAddress(text(a)));
          const other = [...a.slice(0, 3), a[3]! ^ 0x100, ...a.slice(4)];
          if (!isMapped(other)) expect(userFromAddress(text(other))).not.toBe(userFromAddress(text(a)));
        },
      ),
    );
  });

  it('by a header, a session or a token', async () => {
    expect(userFromHeader({ headers: { 'x-user': ' ada ' } }, 'X-User')).toBe('ada');
    expect(userFromHeader({ headers: {} }, 'x-user')).toBeUndefined();
    expect(userFromHeader({ headers: { 'x-user': ['a', 'b'] as never } }, 'x-user')).toBeUndefined();
    expect(userFromSession({ session: { user: { id: 7 } } })).toBe('7');
    expect(userFromSession({ session: null, user: { id: 'ada' } })).toBe('ada');
    expect(userFromSession({ session: { user: { id: {} } } })).toBeUndefined();
    const verify = async (token: string) => {
      if (token !== 'good') throw new Error('bad token');
      return { sub: 'ada' };
    };
    expect(await userFromToken({ headers: { authorization: 'Bearer good' } }, verify)).toBe('ada');
    expect(await userFromToken({ headers: { authorization: 'Basic x' } }, verify)).toBeUndefined();
    await expect(userFromToken({ headers: { authorization: 'Bearer bad' } }, verify)).rejects.toThrow(
      'bad token',
    );
  });

  it('has a key of bounded length, and is not another for it', () => {
    const long = 'x'.repeat(100_000);
    const [one, two] = [
      normalizeCaller({ user: `${long}1` }).user,
      normalizeCaller({ user: `${long}2` }).user,
    ];
    expect(one?.length).toBeLessThan(256);
    expect(one).not.toBe(two);
    expect(normalizeCaller({ user: `${long}1` }).user).toBe(one);
  });
});
