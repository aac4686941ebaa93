import type { Names } from '../naming.ts';
import type { RowSpec } from '../panel.ts';
import { fleetRow } from './fleet.ts';
import { headroomRow } from './headroom.ts';
import { moneyRow } from './money.ts';
import { tuningRow } from './tuning.ts';
import { usersRow } from './users.ts';
import { waitsRow } from './waits.ts';

/** The dashboard, row by row, from what users see to what an operator tunes. */
export const rows = (names: Names): readonly RowSpec[] =>
  [usersRow, waitsRow, headroomRow, moneyRow, fleetRow, tuningRow].map((row) => row(names));
