import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { type AlertThresholds, alertRules } from './alerts.ts';
import { type DashboardOptions, grafanaDashboard } from './grafana.ts';
import { namesFor } from './naming.ts';

const DASHBOARD_FILE = 'headgate-dashboard.json';
const ALERTS_FILE = 'headgate-alerts.yaml';

/** Both files, as text. Pure. */
export function dashboardFiles(options: DashboardOptions & AlertThresholds): Record<string, string> {
  return {
    [DASHBOARD_FILE]: `${JSON.stringify(grafanaDashboard(options), undefined, 2)}\n`,
    [ALERTS_FILE]: stringify(alertRules(namesFor(options.naming), options), { lineWidth: 0 }),
  };
}

/** Writes them into a folder, which is made where it does not exist. Gives the exit code: 2 where it cannot. */
export async function dashboards(
  folder: string,
  options: DashboardOptions & AlertThresholds,
  print: (text: string) => void,
): Promise<number> {
  try {
    await mkdir(folder, { recursive: true });
    for (const [name, text] of Object.entries(dashboardFiles(options))) {
      await writeFile(join(folder, name), text);
      print(join(folder, name));
    }
    return 0;
  } catch (error) {
    print(`${folder}: cannot be written: ${error instanceof Error ? error.message : String(error)}`);
    return 2;
  }
}
