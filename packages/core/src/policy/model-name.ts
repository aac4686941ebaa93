/** Characters of a model's name in labels and messages: names come from callers. */
const MAX_NAME = 64;

/** A model's name as it is shown. */
export const shortModel = (model: string) => (model.length <= MAX_NAME ? model : model.slice(0, MAX_NAME));
