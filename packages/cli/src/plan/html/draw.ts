/// <reference lib="dom" />
import type uPlot from 'uplot';
import type { Figure, Unit } from './figures.ts';

/**
 * Draws the figures of a report. It runs in the page, where it goes as its own text: nothing from outside of it may be
 * named in here but types.
 */
export function draw(Plot: typeof uPlot): void {
  const figures = JSON.parse(document.getElementById('figures')?.textContent ?? '[]') as Figure[];
  const HEIGHT = 260;
  const two = (value: number) => String(value).padStart(2, '0');
  const clock = (value: number) => {
    const all = Math.round(value);
    return `${Math.floor(all / 3_600)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
  };
  const short = (value: number, digits: number) =>
    value.toLocaleString('en-US', { maximumFractionDigits: digits });
  /** Enough digits to tell the ticks of an axis apart. */
  const digitsOf = (values: readonly number[]) => {
    const step = Math.abs((values[1] ?? 1) - (values[0] ?? 0));
    return step > 0 && step < 1 ? Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)) : 0;
  };
  const write: Record<Unit, (value: number, digits: number) => string> = {
    time: clock,
    seconds: (value, digits) => `${short(value, digits)} s`,
    share: (value, digits) => `${short(100 * value, Math.max(0, digits - 2))} %`,
    calls: short,
    usd: (value, digits) => `$${short(value, digits)}`,
  };
  const exactly: Record<Unit, number> = { time: 0, seconds: 2, share: 3, calls: 1, usd: 4 };
  const color = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const lineColor = (i: number) => color(`--line-${i % 8}`);
  const TIME_STEPS = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
  ];
  for (let day = 86_400; day < 1e9; day *= 2) TIME_STEPS.push(day);

  /** What bound when: along the foot of the plot, and faintly behind it. */
  const drawBands =
    ({ bands = [] }: Figure) =>
    ({ ctx, bbox, valToPos }: uPlot) => {
      const foot = 6 * devicePixelRatio;
      ctx.save();
      for (const { from, to, color: index } of bands) {
        const left = Math.max(bbox.left, valToPos(from, 'x', true));
        const right = Math.min(bbox.left + bbox.width, valToPos(to, 'x', true));
        if (right <= left) continue;
        ctx.fillStyle = lineColor(index);
        ctx.globalAlpha = 0.13;
        ctx.fillRect(left, bbox.top, right - left, bbox.height);
        ctx.globalAlpha = 1;
        ctx.fillRect(left, bbox.top + bbox.height - foot, right - left, foot);
      }
      ctx.restore();
    };

  const drawLimit =
    ({ limit }: Figure) =>
    ({ ctx, bbox, valToPos }: uPlot) => {
      if (limit === undefined) return;
      const ratio = devicePixelRatio;
      const at = valToPos(limit.value, 'y', true);
      const right = bbox.left + bbox.width;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = color('--limit');
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash([6 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, at);
      ctx.lineTo(right, at);
      ctx.stroke();
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      ctx.textAlign = 'right';
      ctx.textBaseline = 'bottom';
      ctx.fillText(limit.label, right - 4 * ratio, at - 2 * ratio);
      ctx.restore();
    };

  const optionsOf = (figure: Figure, width: number): uPlot.Options => {
    const { x, y, lines } = figure;
    const axis = (side: typeof x | typeof y): uPlot.Axis => ({
      label: side.label,
      labelSize: 20,
      labelGap: 0,
      labelFont: '12px system-ui, sans-serif',
      font: '12px system-ui, sans-serif',
      stroke: () => color('--ink'),
      grid: { stroke: () => color('--grid'), width: 1 },
      ticks: { stroke: () => color('--grid'), width: 1 },
      values: (_, ticks) => {
        const digits = digitsOf(ticks);
        return ticks.map((tick) => write[side.unit](tick, digits));
      },
    });
    return {
      width,
      height: HEIGHT,
      scales: {
        x: { time: false, range: (_, min, max) => [min, max] },
        // From nothing up, with room above the highest.
        y: { range: () => [0, y.max > 0 ? 1.05 * y.max : 1] },
      },
      axes: [
        { ...axis(x), space: 70, size: 34, ...(x.unit === 'time' ? { incrs: TIME_STEPS } : {}) },
        { ...axis(y), size: 68 },
      ],
      series: [
        { label: x.label, value: (_, value) => (value === null ? '–' : write[x.unit](value, 2)) },
        ...lines.map(
          (line): uPlot.Series => ({
            label: line.label,
            stroke: lineColor(line.color),
            width: line.isDashed ? 1.5 : 2,
            ...(line.isDashed ? { dash: [4, 3] } : {}),
            points: { show: false },
            value: (_, value) => (value === null ? '–' : write[y.unit](value, exactly[y.unit])),
          }),
        ),
      ],
      cursor: { y: false },
      legend: {
        markers: {
          fill: (_, i) => (lines[i - 1]?.isDashed ? 'transparent' : lineColor(lines[i - 1]?.color ?? 0)),
          dash: (_, i) => (lines[i - 1]?.isDashed ? 'dashed' : 'solid'),
        },
      },
      hooks: { drawClear: [drawBands(figure)], draw: [drawLimit(figure)] },
    };
  };

  const drawn = new Map<Element, uPlot>();
  const show = (place: HTMLElement) => {
    const figure = figures[Number(place.dataset.figure)];
    if (figure === undefined) return;
    drawn.get(place)?.destroy();
    const data = [figure.x.values, ...figure.lines.map(({ values }) => values)];
    const plot = new Plot(optionsOf(figure, place.clientWidth), data as uPlot.AlignedData, place);
    drawn.set(place, plot);
    // The legend hides and shows lines, for who has no mouse too.
    for (const entry of place.querySelectorAll<HTMLElement>('.u-series:not(:first-child) th')) {
      entry.tabIndex = 0;
      entry.setAttribute('role', 'button');
      entry.addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return;
        event.preventDefault();
        entry.click();
      });
    }
  };
  const places = [...document.querySelectorAll<HTMLElement>('[data-figure]')];
  const showAll = () => {
    for (const place of places) show(place);
  };
  showAll();
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const plot = drawn.get(target);
      if (plot !== undefined && plot.width !== target.clientWidth && target.clientWidth > 0)
        plot.setSize({ width: target.clientWidth, height: HEIGHT });
    }
  });
  for (const place of places) resized.observe(place);
  // Colours are drawn, so that other ones want another drawing.
  for (const query of ['(prefers-color-scheme: dark)', 'print'])
    matchMedia(query).addEventListener('change', showAll);
}
