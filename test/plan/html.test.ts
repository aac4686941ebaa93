import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bucket, even, folderWith, HOSTILE, hostileFolder, planIn } from './support.ts';

describe('headgate plan --html', () => {
  it('writes one page that has everything in it, and the same to the byte', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket()] },
      'narrow.yaml': { account: [bucket({ requestsPerMinute: 30 })] },
      'traffic.yaml': { duration: '3m', calls: [even({ users: 50 })] },
    });
    const written = async (name: string) => {
      const options = ['--goal', 'refused < 50%', '--compare', 'narrow.yaml', '--html', name];
      expect((await planIn(folder, ...options)).code).toBe(0);
      return readFileSync(join(folder, name), 'utf8');
    };
    const page = await written('one.html');
    expect(await written('two.html')).toBe(page);
    // Nothing is asked for from elsewhere, and its own policy would not let it.
    expect(page).not.toMatch(/<(?:link|img|iframe)\b|<script[^>]+src=|@import|url\(/);
    expect(page).toContain('default-src &#39;none&#39;');
    expect(page).toContain('The MIT License (MIT)');
    const figures = JSON.parse(/id="figures">(.*?)<\/script>/s.exec(page)?.[1] ?? '') as {
      title: string;
      y: { max: number };
      lines: { values: unknown[] }[];
    }[];
    // Side by side, in one scale.
    const waits = figures.filter(({ title }) => title === 'Waits over time');
    expect(waits).toHaveLength(2);
    expect(waits[0]?.y.max).toBe(waits[1]?.y.max);
    expect(waits[1]?.y.max).toBeGreaterThan(5);
    expect(page).toMatch(/<th scope="row">answered<\/th><td>180<\/td><td>\d\d\d?<\/td>/);
    expect(page).toContain('✓ met');
  });

  it('takes nothing from files for markup', async () => {
    const folder = hostileFolder();
    const { code, out } = await planIn(folder, '--goal', `${HOSTILE} p95 < 2s`, '--html', 'page.html');
    expect([code, out]).toEqual([0, expect.stringContaining(HOSTILE)]);
    const page = readFileSync(join(folder, 'page.html'), 'utf8');
    expect(page).not.toContain(HOSTILE);
    expect(page).toContain('&lt;/script&gt;&lt;script&gt;');
    // The data, the library, and what draws: no others.
    expect(page.match(/<script/g)).toHaveLength(3);
  });

  it('says before it plays that the file cannot be written', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket()] },
      'traffic.yaml': { duration: '1m', calls: [even()] },
    });
    const told = await planIn(folder, '--html', 'gone/page.html');
    expect(told).toEqual({
      code: 2,
      out: expect.stringContaining('--html gone/page.html: cannot be written'),
    });
    expect(told.out).not.toContain('answered');
    writeFileSync(join(folder, 'kept'), '');
    const isFolder = await planIn(folder, '--html', '.');
    expect([isFolder.code, isFolder.out]).toEqual([
      2,
      expect.stringContaining('--html .: cannot be written'),
    ]);
    expect(existsSync(join(folder, 'page.html'))).toBe(false);
  });
});
