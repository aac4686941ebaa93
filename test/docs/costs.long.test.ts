import { expect, it } from 'vitest';
import { pageInRepo, pageText } from './costs.ts';

/** Seconds in a cell such as `9.4 s` or `12 min`. */
const secondsOf = (cell: string) => Number.parseFloat(cell) * (cell.includes('min') ? 60 : 1);

/** The page without its last two columns, and those by themselves: waits follow every change of the admission. */
function parts(page: string): { rest: string; waits: number[] } {
  const waits: number[] = [];
  const rest = page
    .split('\n')
    .map((line) => {
      const cells = line.split(' | ');
      if (!/ (s|min) \|$/.test(line)) return line;
      waits.push(...cells.slice(-2).map(secondsOf));
      return cells.slice(0, -2).join(' | ');
    })
    .join('\n');
  return { rest, waits };
}

it('the worked page on costs is what its script makes of this version', async () => {
  const written = parts(pageInRepo());
  const made = parts(await pageText());
  expect(made.rest).toBe(written.rest);
  expect(written.waits).toHaveLength(12);
  for (const [index, wait] of made.waits.entries()) {
    const told = written.waits[index]!;
    expect(Math.abs(wait - told)).toBeLessThan(Math.max(3, 0.3 * told));
  }
});
