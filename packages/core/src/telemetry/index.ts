export { CATALOGUE, type Catalogue, type CatalogueAttribute, type SpanSpec } from './catalogue.ts';
export type { InstrumentKind, InstrumentSpec } from './instruments.ts';
export { INSTRUMENTS } from './instruments.ts';
export { ATTRIBUTES, SPANS } from './names.ts';
