import { isRecord } from '../json.ts';
import type { MessageBody } from '../request/read.ts';

/** What of a tool's definition the model is shown; the rest tells the API what to do with it. */
const SHOWN = ['name', 'description', 'input_schema', 'input_examples'] as const;

/**
 * The tool definitions that stand in the prompt, as far as the model is shown them. One with `defer_loading` is there
 * only where a search has found it: the API then puts its definition in place of the reference. Pure.
 */
export function loadedTools(body: MessageBody): unknown[] {
  if (!Array.isArray(body.tools)) return [];
  let found: Set<string> | undefined;
  const isLoaded = (tool: Record<string, unknown>, isDeferred: unknown): boolean => {
    if (isDeferred !== true) return true;
    found ??= referencedTools(body.messages);
    return typeof tool.name === 'string' && found.has(tool.name);
  };
  return body.tools.filter(isRecord).flatMap((tool) => {
    if (tool.type === 'mcp_toolset') return listedTools(tool, isLoaded);
    if (!isLoaded(tool, tool.defer_loading)) return [];
    // A tool of the API's own is described by the API: how it is set up is not shown.
    const isOwn = typeof tool.type === 'string' && tool.type !== 'custom';
    return [isOwn ? { type: tool.type, name: tool.name } : shown(tool)];
  });
}

/** The tools of an MCP server, where the request lists them. */
function listedTools(
  { tools, configs, default_config: usual }: Record<string, unknown>,
  isLoaded: (tool: Record<string, unknown>, isDeferred: unknown) => boolean,
): unknown[] {
  if (!Array.isArray(tools)) return [];
  return tools.filter(isRecord).flatMap((tool) => {
    const own = isRecord(configs) && typeof tool.name === 'string' ? configs[tool.name] : undefined;
    const config = { ...(isRecord(usual) ? usual : {}), ...(isRecord(own) ? own : {}) } as Record<
      string,
      unknown
    >;
    return config.enabled === false || !isLoaded(tool, config.defer_loading) ? [] : [shown(tool)];
  });
}

const shown = (tool: Record<string, unknown>) =>
  Object.fromEntries(SHOWN.flatMap((field) => (tool[field] === undefined ? [] : [[field, tool[field]]])));

/** Whether a `tool_addition` carries the definition itself. */
export const isDefined = (tool: Record<string, unknown>): boolean => tool.type === 'tool_definition';

/** Names of the tools that the messages refer to: a search has found them, or the caller has added them. */
function referencedTools(messages: unknown): Set<string> {
  const names = new Set<string>();
  const visit = (value: unknown, depth: number): void => {
    if (depth > 8) return;
    if (Array.isArray(value)) for (const each of value) visit(each, depth + 1);
    else if (isRecord(value)) {
      if (value.type === 'tool_reference') {
        const name = value.tool_name ?? value.name;
        if (typeof name === 'string') names.add(name);
      } else for (const field of ['content', 'tool_references', 'tool']) visit(value[field], depth + 1);
    }
  };
  visit(messages, 0);
  return names;
}
