import { readFileSync, writeFileSync } from 'node:fs';
import {
  BATCH_SHARE,
  MODEL_TABLE_DATE,
  PRICES,
  type Price,
  type PriceRow,
  WEB_SEARCH_USD,
} from '../../packages/core/src/policy/prices.ts';

/**
 * The page of prices, made from the built-in table. `node --conditions=source test/docs/price-page.ts` writes it; a test
 * holds it against the table.
 */
export const PRICE_PAGE = new URL('../../packages/core/docs/prices.md', import.meta.url);

const TEXT = new URL('price-page.md', import.meta.url);

const cells = ({ input, output, cacheWrite5m, cacheWrite1h, cacheRead }: Price) =>
  [input, output, cacheWrite5m, cacheWrite1h, cacheRead].join(' | ');

function rowsOf({ model, since, price, steps = [], fast, sources, isRetired }: PriceRow): string[] {
  const links = sources.map((source) => `[${source.split('/')[0]}](https://${source})`).join(', ');
  const name = `\`${model}\`${isRetired === true ? ' (retired)' : ''}`;
  return [
    `| ${name} | ${cells(price)} | ${since} | ${links} |`,
    ...steps.map(
      (step) => `| prompts above ${step.above.toLocaleString('en-US')} tokens | ${cells(step.price)} | | |`,
    ),
    ...(fast === undefined ? [] : [`| in fast mode | ${cells(fast.price)} | | |`]),
  ];
}

export function pricePage(): string {
  const table = [
    '| model | input | output | cache write, 5 minutes | cache write, 1 hour | cache read | since | sources |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...PRICES.flatMap(rowsOf),
  ];
  return readFileSync(TEXT, 'utf8')
    .replace('{date}', MODEL_TABLE_DATE)
    .replace('{batch}', String(BATCH_SHARE))
    .replace('{search}', String(WEB_SEARCH_USD))
    .replace('{table}', table.join('\n'));
}

if (import.meta.main) writeFileSync(PRICE_PAGE, pricePage());
