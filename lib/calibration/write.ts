/** Writes a codebook file in one step: processes that do so at once each leave a whole one. */
import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { replaceFile, writeAll } from "../files/index.js";
import { type CodebookImage, encodeImage } from "./format.js";
import { codebookFileError } from "./place.js";

const replacement = { suffix: "codebooks", mode: 0o644 };

/** Folders of the way that do not exist are made. @throws CodebookFileError */
export async function writeCodebooks(path: string, image: CodebookImage): Promise<void> {
  const target = resolve(path);
  const bytes = encodeImage(image);
  try {
    await mkdir(dirname(target), { recursive: true });
    await replaceFile(target, replacement, (file) => writeAll(file, bytes, 0));
  } catch (thrown) {
    throw codebookFileError("written", path, thrown);
  }
}
