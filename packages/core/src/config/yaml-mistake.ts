/** What the YAML parser says of one mistake. */
interface YamlError {
  readonly message: string;
  /** The places that it is about, the first of them first. Lines and columns count from 1. */
  readonly linePos?: readonly { readonly line: number; readonly col: number }[] | undefined;
}

const MAX_LINE = 120;

/** A mistake of a YAML text on one line: the reason, line and column, and the line itself. */
export function yamlMistake({ message, linePos }: YamlError, text: string): string {
  const place = linePos?.[0];
  const reason = (message.split('\n')[0] ?? '').replace(/( at line \d+, column \d+)?:?$/, '');
  if (place === undefined) return reason;
  const line = (text.split('\n')[place.line - 1] ?? '').trimEnd().slice(0, MAX_LINE);
  return `${reason} at line ${place.line}, column ${place.col}: ${JSON.stringify(line)}`;
}
