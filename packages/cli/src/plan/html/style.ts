/** Of the report's page; the plotting library brings its own. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1d232b; --soft: #5b6672; --rule: #d9dee4; --grid: #e8ebef; --tile: #f5f7f9;
  --limit: #c0262d; --met: #12703f; --missed: #b3261e;
  --line-0: #1f6feb; --line-1: #11845b; --line-2: #c2530a; --line-3: #7a3fbf;
  --line-4: #b8860b; --line-5: #c2187a; --line-6: #0b7f93; --line-7: #6b7280;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e6e9ed; --soft: #9aa5b1; --rule: #343c46; --grid: #262d35; --tile: #1c2229;
    --limit: #ff7b72; --met: #56d394; --missed: #ff8a80;
    --line-0: #6cb0ff; --line-1: #4cc38a; --line-2: #f0883e; --line-3: #c297ff;
    --line-4: #e3b341; --line-5: #ff7eb6; --line-6: #4fc6d8; --line-7: #a7b0ba;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(0.75rem, 3vw, 2rem) 3rem; max-width: 84rem;
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 0.25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 0.25rem; }
h3 { font-size: 1rem; margin: 0.75rem 0 0.25rem; overflow-wrap: anywhere; }
p { margin: 0.25rem 0; max-width: 60rem; }
.note { color: var(--soft); font-size: 0.9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.5rem; margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--tile); border: 1px solid var(--rule); border-radius: 6px; padding: 0.5rem 0.75rem; }
.tiles b { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 0.5rem 1.5rem; }
.side > * { min-width: 0; }
figure { margin: 0.5rem 0; break-inside: avoid; }
figcaption { font-weight: 600; overflow-wrap: anywhere; }
.plot { min-height: 16rem; }
.bands { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; margin: 0.25rem 0 0; padding: 0; list-style: none; font-size: 0.9rem; }
.bands i { display: inline-block; width: 0.9em; height: 0.9em; margin-right: 0.35em; border-radius: 2px; vertical-align: -0.1em; print-color-adjust: exact; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, th[role=button]:focus-visible { outline: 2px solid var(--line-0); outline-offset: 2px; }
table.figures { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; margin: 0.5rem 0; }
table.figures caption { text-align: left; white-space: nowrap; font-weight: 600; padding: 0.25rem 0; }
table.figures th, table.figures td { padding: 0.25rem 0.75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
table.figures th:first-child { text-align: left; padding-left: 0; }
table.figures thead th { color: var(--soft); font-weight: 600; }
table.figures tbody th { font-weight: 500; }
.met { color: var(--met); font-weight: 600; }
.missed { color: var(--missed); font-weight: 600; }
.warning { border: 1px solid var(--missed); border-radius: 6px; padding: 0.5rem 0.75rem; }
.uplot { width: 100%; color: var(--ink); font-family: inherit; }
.u-legend { font-size: 0.85rem; text-align: left; margin: 0; }
.u-legend tr { margin-right: 12px; }
.u-series > * { padding: 2px 4px 2px 0; }
.u-legend th { padding: 2px 0; }
.u-legend .u-value { padding-left: 4px; font-variant-numeric: tabular-nums; min-width: 4.5em; }
.u-cursor-x { border-color: var(--soft) !important; }
.u-select { background: color-mix(in srgb, var(--line-0) 18%, transparent); }
@media (max-width: 40rem) {
  table.figures tbody th { white-space: normal; min-width: 8rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  .scroll { overflow: visible; }
  .u-legend .u-value { display: none !important; }
  h2 { break-after: avoid; }
}
`;
