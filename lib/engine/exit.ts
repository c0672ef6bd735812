/** At process exit every engine is told to stop, so that the exit waits for a layer and not for a step. */
import { controlSlots, header, slotIndex, slotWord } from "../worker/index.js";

const controls = new Set<Int32Array>();
let listening = false;

export function stopAtExit(control: Int32Array): void {
  controls.add(control);
  if (listening) return;
  listening = true;
  process.on("exit", () => {
    for (const each of controls) stopEverything(each);
  });
}

export function forgetControl(control: Int32Array): void {
  controls.delete(control);
}

function stopEverything(control: Int32Array): void {
  Atomics.store(control, header.stop, 1);
  for (let slot = 0; slot < controlSlots; slot++) Atomics.store(control, slotIndex(slot, slotWord.abort), 1);
}
