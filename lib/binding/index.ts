/** The native addon, loaded on first use, with its errors translated in this one place. */
import { toLutraError } from "../errors.js";
import { type BinaryAttempt, loadBinary } from "./locate.js";
import { abiVersion, type NativeBinding } from "./native.js";

export type * from "./native.js";
export { abiVersion } from "./native.js";
export { here } from "./here.js";
export { type BinaryAttempt, packageRoot, packageVersion } from "./locate.js";

let loaded: NativeBinding | undefined;
let attempts: BinaryAttempt[] = [];

/** The typed native functions; throws BinaryNotFoundError when no addon can be loaded. */
export function getBinding(): NativeBinding {
  if (loaded === undefined) {
    attempts = [];
    loaded = translateErrors(loadBinary(attempts));
  }
  return loaded;
}

/** What was tried to find the addon, and what was loaded; never throws. */
export function bindingReport(): {
  path: string | null;
  abiVersion: number;
  attempts: BinaryAttempt[];
  error?: string;
} {
  try {
    getBinding();
    return { path: attempts.at(-1)?.path ?? null, abiVersion, attempts };
  } catch (thrown) {
    return { path: null, abiVersion, attempts, error: toLutraError(thrown).message };
  }
}

/** TypeErrors stay TypeErrors (a defect of the caller); everything else becomes a LutraError with its code. */
function translateErrors(native: NativeBinding): NativeBinding {
  const wrapped: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(native)) {
    wrapped[name] = typeof member === "function" ? translated(member as AnyFunction) : member;
  }
  return wrapped as unknown as NativeBinding;
}

type AnyFunction = (...values: unknown[]) => unknown;

function translated(native: AnyFunction): AnyFunction {
  return (...values) => {
    try {
      return native(...values);
    } catch (thrown) {
      throw thrown instanceof TypeError && !("code" in thrown) ? thrown : toLutraError(thrown);
    }
  };
}

/** The same functions as one object that loads the addon when first touched. */
export const binding: NativeBinding = new Proxy({} as NativeBinding, {
  get: (_, name) => Reflect.get(getBinding(), name),
  has: (_, name) => Reflect.has(getBinding(), name),
  ownKeys: () => Reflect.ownKeys(getBinding()),
  getOwnPropertyDescriptor: (_, name) => ({
    ...Reflect.getOwnPropertyDescriptor(getBinding(), name),
    configurable: true,
  }),
});
