// The native tests compiled for 64-bit ARM and run under qemu: on a CPU with dot products (the NEON path against the
// scalar one) and on one without (which must fall back). Says why and passes when a tool is missing.
import { spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tools = ["cmake", "aarch64-linux-gnu-g++", "qemu-aarch64-static"];
const missing = tools.filter((tool) => spawnSync(tool, ["--version"]).status !== 0);
if (missing.length > 0) {
  console.log(`skipped: ${missing.join(", ")} not found (Debian: g++-aarch64-linux-gnu, qemu-user-static)`);
  process.exit(0);
}

function run(program, args, environment = {}) {
  const env = { ...process.env, ...environment };
  const { status } = spawnSync(program, args, { stdio: "inherit", cwd: root, env });
  if (status !== 0) process.exit(status ?? 1);
}

const build = "build/native-neon";
// An existing build folder keeps its compiler, so naming the toolchain again is unused and not worth a warning.
const toolchain = "-DCMAKE_TOOLCHAIN_FILE=scripts/aarch64-linux-gnu.cmake";
run("cmake", [
  "-S",
  ".",
  "-B",
  build,
  toolchain,
  "--no-warn-unused-cli",
  "-DCMAKE_BUILD_TYPE=Release",
  "-DLUTRA_TESTS=ON",
]);
run("cmake", ["--build", build, "-j", "2"]);
// Fewer rounds of the thread team's stress test: emulated spinning is slow (all 20000 took over 10 minutes).
const ctest = ["--test-dir", build, "--output-on-failure", "--no-tests=error", "-j", "2"];
run("ctest", ctest, { QEMU_CPU: "max", LUTRA_STRESS_ROUNDS: "500" });
run("ctest", [...ctest, "-R", "^(base|channels|columns|kernels)_test$"], {
  QEMU_CPU: "cortex-a72",
  LUTRA_STRESS_ROUNDS: "100",
});
