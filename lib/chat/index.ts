/** Chat: messages and a model's template → the text of the prompt. */
export { checkKwargs } from "./kwargs.js";
export { checkMessages } from "./messages.js";
export { type RenderOptions, missingTemplate, renderChat } from "./render.js";
