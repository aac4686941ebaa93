import { grafanaDashboard } from '../../packages/cli/src/dashboards/grafana.ts';
import type { Naming } from '../../packages/cli/src/dashboards/naming.ts';

export interface DashboardPanel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  readonly fieldConfig: {
    readonly defaults: {
      readonly unit: string;
      readonly max?: number;
      readonly custom?: { readonly stacking: { readonly mode: string } };
      readonly thresholds: {
        readonly steps: readonly { readonly value: number | null; readonly color: string }[];
      };
    };
  };
}

/** The panels of the dashboard as it is written, rows included, which have no queries. */
export function panelsOf(naming: Naming): readonly DashboardPanel[] {
  const text = JSON.stringify(grafanaDashboard({ naming, service: 'app' }));
  return (JSON.parse(text) as { panels: DashboardPanel[] }).panels;
}

/** A query with Grafana's variables filled in, as Grafana would before it asks Prometheus. */
export const fillIn = (expr: string, job: string, window: string) =>
  expr.replaceAll('$job', job).replaceAll('$__rate_interval', window);
