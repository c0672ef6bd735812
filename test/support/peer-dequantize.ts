/** The F32 twin of a model: every quantised matrix as the exact values its blocks stand for. Q8_0 and Q4_K only. */
import { type GgufSpec, type GgufTensor, type TensorTypeName, tensorTypes } from "./gguf-builder.js";

function halfAt(view: DataView, at: number): number {
  const bits = view.getUint16(at, true);
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const magnitude = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

type Decoder = (block: DataView, put: (weight: number) => void) => void;

function decodeQ80(block: DataView, put: (weight: number) => void): void {
  const d = halfAt(block, 0);
  for (let i = 0; i < 32; i++) put(d * block.getInt8(2 + i));
}

/** Eight groups of 32 nibbles; 6-bit scales and minimums, four of each whole and four with their top bits elsewhere. */
function decodeQ4K(block: DataView, put: (weight: number) => void): void {
  const [d, dmin] = [halfAt(block, 0), halfAt(block, 2)];
  const packed = (i: number): number => block.getUint8(4 + i);
  for (let group = 0; group < 8; group++) {
    const high = group >= 4;
    const scale = high ? (packed(group + 4) & 15) | ((packed(group - 4) >> 6) << 4) : packed(group) & 63;
    const min = high ? (packed(group + 4) >> 4) | ((packed(group) >> 6) << 4) : packed(group + 4) & 63;
    for (let i = 0; i < 32; i++) {
      const byte = block.getUint8(16 + (group >> 1) * 32 + i);
      put(d * scale * (group % 2 === 0 ? byte & 15 : byte >> 4) - dmin * min);
    }
  }
}

const decoders: Partial<Record<TensorTypeName, Decoder>> = { Q8_0: decodeQ80, Q4_K: decodeQ4K };

function toFloats(tensor: GgufTensor): GgufTensor {
  const decode = decoders[tensor.type];
  if (tensor.type === "F32") return tensor;
  if (!decode) throw new Error(`no decoder of ${tensor.type}`);
  const [, blockElements, blockBytes] = tensorTypes[tensor.type];
  const floats = new Float32Array((tensor.data.length / blockBytes) * blockElements);
  let at = 0;
  for (let begin = 0; begin < tensor.data.length; begin += blockBytes) {
    decode(new DataView(tensor.data.buffer, tensor.data.byteOffset + begin, blockBytes), (weight) => {
      floats[at++] = weight;
    });
  }
  return { ...tensor, type: "F32", data: new Uint8Array(floats.buffer) };
}

export function dequantizeSpec(spec: GgufSpec): GgufSpec {
  return { ...spec, tensors: spec.tensors.map(toFloats) };
}
