import { userFromAddress, userFromHeader, userFromSession, userFromToken } from '@headgate/core/http';
import { manualClock } from '@headgate/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundedName } from '../../packages/core/src/bounded-name.ts';
import { type Caller, normalizeCaller } from '../../packages/core/src/caller/caller.ts';
import type { ResolvedCaller } from '../../packages/core/src/caller/scope.ts';
import { Scopes } from '../../packages/core/src/caller/scopes.ts';
import { compositeKey, partsOf } from '../../packages/core/src/composite-key.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import { readCall } from '../../packages/core/src/request/read.ts';

const CALL = {
  method: 'POST',
  url: 'https://api.anthropic.com/v1/messages',
  body: JSON.stringify({ model: 'claude-sonnet-4-6', max_tokens: 10, messages: [] }),
  headers: new Headers(),
};

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

  it('of more than 256 characters is matched as what it is', () => {
    const policy = compilePolicy(
      parseConfig({
        quotas: [
          { name: 'staff', when: { user: '*@corp.example' }, per: 'user', requests: '1/day' },
          { name: 'one', when: { tenant: `${'t'.repeat(300)}` }, per: 'tenant', requests: '1/day' },
          { name: 'route', when: { route: '/a/*/z' }, requests: '1/day' },
        ],
      }),
    );
    const plan = (caller: Caller) =>
      policy.plan(readCall(CALL as never), { ...normalizeCaller(caller), signals: [] });
    const names = (caller: Caller) => plan(caller).quotas.map(({ rule }) => rule.name);
    expect(names({ user: `${'x'.repeat(300)}@corp.example` })).toEqual(['staff']);
    expect(names({ user: `${'x'.repeat(300)}@other.example` })).toEqual([]);
    expect(names({ tenant: 't'.repeat(300) })).toEqual(['one']);
    expect(names({ tenant: 't'.repeat(301) })).toEqual([]);
    expect(names({ route: `/a/${'b'.repeat(300)}/z` })).toEqual(['route']);
    const { quotas, flowKey, purpose } = plan({ user: `${'x'.repeat(9_000)}@corp.example` });
    for (const text of [quotas[0]?.key, flowKey, purpose]) expect(text?.length).toBeLessThan(300);
    // An inner scope that names the user anew is not called what the outer one was.
    const scopes = new Scopes(manualClock());
    const outer = scopes.open({ user: `${'x'.repeat(300)}@corp.example`, tenant: 't'.repeat(300) });
    const inner = scopes.run(outer, () => scopes.open({ user: 'ada' })).resolve() as ResolvedCaller;
    expect(policy.plan(readCall(CALL as never), inner).quotas.map(({ rule }) => rule.name)).toEqual(['one']);
  });

  it('that looks like another one cut short is not that one', () => {
    const long = 'x'.repeat(300);
    const cut = boundedName(long);
    expect(boundedName(cut)).not.toBe(cut);
    expect(boundedName('~'.repeat(233))).toBe('~'.repeat(233));
  });
});

describe('a key of several parts', () => {
  const part = fc.option(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 6 }),
      fc
        .array(fc.constantFrom('\n', '\0', '0', 'n', 'u', 'a', ''), { maxLength: 6 })
        .map((all) => all.join('')),
    ),
    { nil: undefined },
  );

  it('is that of no other parts', () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 4 }), (parts) => {
        if (parts.length > 0) expect(partsOf(compositeKey(...parts))).toEqual(parts);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is none that another caller has, in any cache, quota, queue or book', () => {
    const policy = compilePolicy(
      parseConfig({
        quotas: [
          { name: 'free', when: { tier: 'undefined' }, per: 'user', requests: '1/day' },
          { name: 'all', per: 'user', requests: '1/day' },
        ],
      }),
    );
    const caller = fc.record({ user: part, tenant: part, tier: part, route: part });
    fc.assert(
      fc.property(caller, caller, (one, two) => {
        const [a, b] = [one, two].map((each) => {
          const normal = normalizeCaller(each);
          return { normal, plan: policy.plan(readCall(CALL as never), { ...normal, signals: [] }) };
        });
        if (a === undefined || b === undefined) return;
        const isOne =
          (a.normal.user ?? 'anonymous') === (b.normal.user ?? 'anonymous') &&
          a.normal.tenant === b.normal.tenant;
        expect(a.plan.flowKey === b.plan.flowKey).toBe(isOne);
        expect(a.plan.quotas.at(-1)?.key === b.plan.quotas.at(-1)?.key).toBe(isOne);
        expect(a.plan.quotas.length).toBe(a.normal.tier === 'undefined' ? 2 : 1);
      }),
      { numRuns: 2_000 },
    );
  });
});
