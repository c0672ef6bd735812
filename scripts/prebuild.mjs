// Runs before `npm pack`: puts the addon that was built for this machine where an installed package looks for it,
// prebuilds/<platform>-<arch>/lutra.node. Without one the package still holds the native sources. With --remove, after
// packing, takes the copy away: in the repository it would hide a build that failed.
import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const built = join(root, "build", "Release", "lutra.node");
if (process.argv.includes("--remove")) {
  rmSync(join(root, "prebuilds"), { recursive: true, force: true });
} else if (existsSync(built)) {
  const folder = join(root, "prebuilds", `${process.platform}-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  cpSync(built, join(folder, "lutra.node"));
} else {
  console.error("build/Release/lutra.node is not built: the package will hold sources only");
}
