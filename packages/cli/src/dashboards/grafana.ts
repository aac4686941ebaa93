import { type Naming, namesFor } from './naming.ts';
import type { PanelSpec, TraceSearch } from './panel.ts';
import { rows } from './rows/index.ts';

export interface DashboardOptions {
  readonly naming: Naming;
  /** `service.name` of the app, by which its traces are found. */
  readonly service: string;
}

/** The version of Grafana's dashboard schema that this is written for. */
const SCHEMA_VERSION = 42;
const HEIGHT = 8;
const COLUMNS = 24;

const metrics = { type: 'prometheus', uid: '$datasource' };

/** A dashboard as Grafana imports it, for whichever Prometheus and Jaeger are chosen in it. */
export function grafanaDashboard({ naming, service }: DashboardOptions) {
  const names = namesFor(naming, 'job=~"$job"');
  const panels: object[] = [];
  let y = 0;
  let id = 1;
  for (const row of rows(names)) {
    panels.push({
      type: 'row',
      id: id++,
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: place(0, y++, COLUMNS, 1),
    });
    let x = 0;
    for (const spec of row.panels) {
      if (x + spec.width > COLUMNS) {
        x = 0;
        y += HEIGHT;
      }
      panels.push({ ...panel(spec, id++), gridPos: place(x, y, spec.width, HEIGHT) });
      x += spec.width;
    }
    y += HEIGHT;
  }
  return {
    uid: 'headgate',
    title: 'Headgate',
    description: 'How the calls to the Claude API fare, what holds them back, and what they cost.',
    tags: ['headgate', 'claude'],
    schemaVersion: SCHEMA_VERSION,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    templating: { list: variables(names.metric('retryBudget').replace(/\{.*/, ''), service) },
    annotations: { list: [] },
    panels,
  };
}

const place = (x: number, y: number, w: number, h: number) => ({ x, y, w, h });

function variables(always: string, service: string): object[] {
  return [
    { type: 'datasource', name: 'datasource', label: 'Metrics', query: 'prometheus' },
    { type: 'datasource', name: 'traces', label: 'Traces', query: 'jaeger' },
    {
      type: 'query',
      name: 'job',
      label: 'Job',
      datasource: metrics,
      definition: `label_values(${always}, job)`,
      query: { query: `label_values(${always}, job)`, refId: 'job' },
      refresh: 2,
      sort: 1,
      multi: true,
      includeAll: true,
      allValue: '.+',
      current: { text: 'All', value: '$__all' },
    },
    {
      type: 'textbox',
      name: 'service',
      label: 'Service (of traces)',
      query: service,
      current: { text: service, value: service },
    },
  ];
}

function panel(spec: PanelSpec, id: number): object {
  return {
    type: spec.kind,
    id,
    title: spec.title,
    description: spec.description,
    datasource: metrics,
    targets: spec.queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: metrics,
      expr,
      legendFormat: legend,
      range: true,
    })),
    links: spec.traces === undefined ? [] : [link(spec.traces)],
    fieldConfig: { defaults: field(spec), overrides: [] },
    options: spec.kind === 'timeseries' ? TIMESERIES : STAT,
  };
}

const TIMESERIES = {
  legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
  tooltip: { mode: 'multi', sort: 'desc' },
};
const STAT = {
  graphMode: 'area',
  colorMode: 'background',
  justifyMode: 'auto',
  textMode: 'auto',
  wideLayout: true,
  showPercentChange: false,
  percentChangeColorMode: 'standard',
  orientation: 'auto',
  reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
};

function field({ kind, unit, min, max, thresholds, stacked }: PanelSpec): object {
  return {
    unit,
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
    color: { mode: kind === 'stat' ? 'thresholds' : 'palette-classic' },
    thresholds: { mode: 'absolute', steps: steps(thresholds) },
    ...(kind === 'stat'
      ? {}
      : {
          custom: {
            drawStyle: 'line',
            lineWidth: 1,
            fillOpacity: stacked ? 30 : 5,
            showPoints: 'never',
            spanNulls: false,
            stacking: { mode: stacked ? 'normal' : 'none', group: 'A' },
            thresholdsStyle: { mode: thresholds === undefined ? 'off' : 'dashed' },
          },
        }),
  };
}

/** Grafana's steps begin with one that has no value: the colour below all others. */
function steps(thresholds: PanelSpec['thresholds']): { value: number | null; color: string }[] {
  if (thresholds === undefined) return [{ value: null, color: 'green' }];
  const { warn, alarm, isLowBad } = thresholds;
  if (isLowBad) {
    return [
      { value: null, color: 'red' },
      { value: alarm, color: 'orange' },
      { value: warn, color: 'green' },
    ];
  }
  return [
    { value: null, color: 'green' },
    ...(warn === alarm ? [] : [{ value: warn, color: 'orange' }]),
    { value: alarm, color: 'red' },
  ];
}

/** A search for the traces behind a panel, over the time it shows. */
function link({ title, operation, tags }: TraceSearch): object {
  const panes = {
    traces: {
      datasource: '$traces',
      queries: [
        {
          refId: 'A',
          datasource: { type: 'jaeger', uid: '$traces' },
          queryType: 'search',
          service: '$service',
          operation,
          ...(tags === undefined ? {} : { tags }),
        },
      ],
      range: { from: '$__from', to: '$__to' },
    },
  };
  // Grafana fills in variables before it opens the link, and looks for them as they are written.
  const encoded = encodeURIComponent(JSON.stringify(panes)).replaceAll('%24', '$$');
  return {
    title,
    type: 'link',
    icon: 'external link',
    tooltip: '',
    url: `/explore?schemaVersion=1&panes=${encoded}`,
    tags: [],
    asDropdown: false,
    targetBlank: true,
    includeVars: false,
    keepTime: false,
  };
}
