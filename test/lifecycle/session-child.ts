// A process that saves session files: `once` writes image 2 and reports, `loop` writes images 1 and 2 in turn until it dies.
// Arguments: file, once or loop, and the identity, tokens and computed positions of an image as JSON. Image n has n in
// every token and every byte.
import { type SessionIdentity, writeSession } from "../../dist/esm/session/index.js";

const [file = "", mode, shape = ""] = process.argv.slice(2);
const { identity, sizes } = JSON.parse(shape) as { identity: SessionIdentity; sizes: Record<string, number> };

function image(n: number) {
  const computed = sizes[n] as number;
  const pages = Math.ceil(computed / identity.pagePositions) * identity.pageBytes;
  return { identity, tokens: new Int32Array(computed).fill(n), computed, pages: new Uint8Array(pages).fill(n) };
}

if (mode === "once") {
  try {
    await writeSession(file, image(2));
    process.stdout.write(JSON.stringify({ code: "OK" }));
  } catch (thrown) {
    const { name, code, message } = thrown as { name: string; code: string; message: string };
    process.stdout.write(JSON.stringify({ name, code, message }));
  }
} else {
  const images = [image(1), image(2)] as const;
  process.stdout.write("ready");
  for (let n = 0; ; n++) await writeSession(file, images[n % 2 ? 0 : 1]);
}
