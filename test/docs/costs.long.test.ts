import { expect, it } from 'vitest';
import { pageInRepo, pageText } from './costs.ts';

it('the worked page on costs is what its script makes of this version', async () => {
  expect(pageInRepo()).toBe(await pageText());
});
