/**
 * Every error Lutra throws, in one table: code, class and HTTP status. Native code fails with one of these codes; a
 * class groups what a caller would handle alike. Messages name the field, the expected and the found value.
 */

export class LutraError extends Error {
  readonly code: string;
  /** HTTP status a server answers with. */
  readonly status: number;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
    this.status = errorTable[code]?.status ?? 500;
  }
}

/** The model file cannot be read or is not a valid GGUF file. */
export class ModelFileError extends LutraError {}
/** The file is valid, but holds something this engine does not compute (architecture, type, tokenizer). */
export class UnsupportedModelError extends LutraError {}
export class InsufficientMemoryError extends LutraError {}
/** The prompt and the room left in the context do not fit: both numbers are in the message. */
export class ContextOverflowError extends LutraError {}
export class InvalidOptionError extends LutraError {}
export class QueueFullError extends LutraError {}
export class AbortedError extends LutraError {
  /** Text that was generated before the abort. */
  partial = "";
}
export class DisposedError extends LutraError {}
/** The native addon was not found or could not be loaded: the message lists every path tried. */
export class BinaryNotFoundError extends LutraError {}
/** A chat template is missing, wrong, or went past a limit. */
export class TemplateError extends LutraError {}
/** A model could not be fetched: the message lists the sources tried. */
export class PullError extends LutraError {}
/** A session file cannot be read or written, is damaged, or belongs to another model. */
export class SessionFileError extends LutraError {}
/** A codebook file of lookup attention cannot be read or written, is damaged, or belongs to another model. */
export class CodebookFileError extends LutraError {}
/** A model file could not be written. */
export class OutputFileError extends LutraError {}
/** The session works on another call: one at a time. */
export class SessionBusyError extends LutraError {}
/** The worker thread of a request died. Its requests fail; a new thread takes its place, unless that keeps happening. */
export class WorkerLostError extends LutraError {}
/** A callback of the caller threw; what it threw is the `cause`. */
export class CallbackError extends LutraError {}
/** A defect of Lutra itself. */
export class InternalError extends LutraError {}

type ErrorClass = new (code: string, message: string, options?: ErrorOptions) => LutraError;

export const errorTable: Record<string, { type: ErrorClass; status: number }> = {
  E_IO: { type: ModelFileError, status: 400 },
  GGUF_TRUNCATED: { type: ModelFileError, status: 400 },
  GGUF_BAD_MAGIC: { type: ModelFileError, status: 400 },
  GGUF_VERSION: { type: ModelFileError, status: 400 },
  GGUF_BIG_ENDIAN: { type: ModelFileError, status: 400 },
  GGUF_BAD_VALUE: { type: ModelFileError, status: 400 },
  GGUF_DUPLICATE: { type: ModelFileError, status: 400 },
  GGUF_BAD_TENSOR: { type: ModelFileError, status: 400 },
  GGUF_SPLIT: { type: ModelFileError, status: 400 },
  MODEL_CHANGED: { type: ModelFileError, status: 400 },
  MODEL_BAD_METADATA: { type: ModelFileError, status: 400 },
  MODEL_MISSING_TENSOR: { type: ModelFileError, status: 400 },
  MODEL_BAD_SHAPE: { type: ModelFileError, status: 400 },
  MODEL_NONFINITE: { type: ModelFileError, status: 400 },
  MODEL_OUT_OF_RANGE: { type: ModelFileError, status: 400 },
  MODEL_NOT_FOUND: { type: ModelFileError, status: 404 },
  TOKENIZER_BAD_VOCAB: { type: ModelFileError, status: 400 },
  TOKENIZER_UNSUPPORTED: { type: UnsupportedModelError, status: 400 },
  MODEL_UNSUPPORTED_ARCH: { type: UnsupportedModelError, status: 400 },
  MODEL_UNSUPPORTED_TYPE: { type: UnsupportedModelError, status: 400 },
  MODEL_NO_WEIGHTS: { type: UnsupportedModelError, status: 400 },
  E_OUT_OF_MEMORY: { type: InsufficientMemoryError, status: 507 },
  CONTEXT_OVERFLOW: { type: ContextOverflowError, status: 400 },
  INVALID_OPTION: { type: InvalidOptionError, status: 400 },
  INVALID_TOKEN: { type: InvalidOptionError, status: 400 },
  QUEUE_FULL: { type: QueueFullError, status: 429 },
  ABORTED: { type: AbortedError, status: 499 },
  DISPOSED: { type: DisposedError, status: 503 },
  BINARY_NOT_FOUND: { type: BinaryNotFoundError, status: 500 },
  TEMPLATE_MISSING: { type: TemplateError, status: 400 },
  TEMPLATE_INVALID: { type: TemplateError, status: 400 },
  TEMPLATE_LIMIT: { type: TemplateError, status: 400 },
  INVALID_MESSAGES: { type: InvalidOptionError, status: 400 },
  PULL_FAILED: { type: PullError, status: 502 },
  SESSION_PATH: { type: SessionFileError, status: 400 },
  SESSION_NOT_FOUND: { type: SessionFileError, status: 404 },
  SESSION_IO: { type: SessionFileError, status: 500 },
  SESSION_BAD_MAGIC: { type: SessionFileError, status: 400 },
  SESSION_ENDIANNESS: { type: SessionFileError, status: 400 },
  SESSION_VERSION: { type: SessionFileError, status: 400 },
  SESSION_TRUNCATED: { type: SessionFileError, status: 400 },
  SESSION_CORRUPT: { type: SessionFileError, status: 400 },
  SESSION_MISMATCH: { type: SessionFileError, status: 400 },
  CODEBOOKS_NOT_FOUND: { type: CodebookFileError, status: 404 },
  CODEBOOKS_IO: { type: CodebookFileError, status: 500 },
  CODEBOOKS_BAD_MAGIC: { type: CodebookFileError, status: 400 },
  CODEBOOKS_VERSION: { type: CodebookFileError, status: 400 },
  CODEBOOKS_TRUNCATED: { type: CodebookFileError, status: 400 },
  CODEBOOKS_CORRUPT: { type: CodebookFileError, status: 400 },
  CODEBOOKS_MISMATCH: { type: CodebookFileError, status: 400 },
  OUTPUT_EXISTS: { type: OutputFileError, status: 409 },
  OUTPUT_NOT_FOUND: { type: OutputFileError, status: 404 },
  OUTPUT_IO: { type: OutputFileError, status: 500 },
  SESSION_BUSY: { type: SessionBusyError, status: 409 },
  CALLBACK_FAILED: { type: CallbackError, status: 500 },
  WORKER_LOST: { type: WorkerLostError, status: 503 },
  PEER_FAILED: { type: LutraError, status: 500 },
  E_NONFINITE: { type: InternalError, status: 500 },
  INTERNAL: { type: InternalError, status: 500 },
};

/** The error of a code, with the class the table gives it (unknown codes become InternalError). */
export function createError(code: string, message: string, options?: ErrorOptions): LutraError {
  const entry = errorTable[code];
  return entry ? new entry.type(code, message, options) : new InternalError(code, message, options);
}

/** Turns anything thrown (native errors carry a `code`) into a LutraError. */
export function toLutraError(thrown: unknown): LutraError {
  if (thrown instanceof LutraError) return thrown;
  if (thrown instanceof Error) {
    const code = (thrown as { code?: unknown }).code;
    return createError(typeof code === "string" && code in errorTable ? code : "INTERNAL", thrown.message, {
      cause: thrown,
    });
  }
  return createError("INTERNAL", `a non-error was thrown: ${describeValue(thrown)}`);
}

/** `temperature: expected a number in [0, 10], got "hot"`, in one wording everywhere. */
export function invalidOption(field: string, expected: string, found: unknown): InvalidOptionError {
  return new InvalidOptionError("INVALID_OPTION", `${field}: expected ${expected}, got ${describeValue(found)}`);
}

/** A short, escaped rendering of an untrusted value: never more than 64 characters of it, and never an exception. */
export function describeValue(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 64 ? `${value.slice(0, 61)}...` : value);
  if (typeof value === "number" || typeof value === "boolean" || value === null || value === undefined)
    return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function" || typeof value === "symbol") return `a ${typeof value}`;
  try {
    return Array.isArray(value) ? `an array of ${Number(value.length)}` : "an object";
  } catch {
    return "an object that cannot be read";
  }
}
