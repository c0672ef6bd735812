{
  # The same build through node-gyp: same source list, same flags as CMakeLists.txt.
  "target_defaults": {
    "include_dirs": ["native"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-std=gnu++1y"],
    "cflags_cc": ["-std=c++20", "-O3", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden",
                  "-fvisibility-inlines-hidden", "-fPIC"],
    "xcode_settings": {
      "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      "MACOSX_DEPLOYMENT_TARGET": "12.0",
      "OTHER_CPLUSPLUSFLAGS": ["-ffp-contract=off", "-fno-math-errno"]
    },
    "msvs_settings": {"VCCLCompilerTool": {"AdditionalOptions": ["/std:c++20", "/fp:precise", "/utf-8", "/EHsc"]}},
    "conditions": [
      ["OS=='win'", {"defines": ["NOMINMAX"]}]
    ]
  },
  "targets": [
    {
      "target_name": "lutra_core",
      "type": "static_library",
      "sources": ["<!@(node scripts/sources.mjs core)"]
    },
    {
      "target_name": "lutra",
      "type": "loadable_module",
      "sources": ["<!@(node scripts/sources.mjs addon)"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "dependencies": ["lutra_core"],
      "conditions": [
        ["target_arch=='x64'", {"dependencies": ["lutra_avx2", "lutra_avx512"]}],
        ["target_arch=='arm64' and OS!='win'", {"dependencies": ["lutra_neon"]}]
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "lutra_avx2",
          "type": "static_library",
          "sources": ["<!@(node scripts/sources.mjs avx2)"],
          "cflags_cc": ["-mavx2", "-mfma", "-mf16c", "-fno-exceptions"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mfma", "-mf16c", "-ffp-contract=off", "-fno-math-errno"]},
          "msvs_settings": {"VCCLCompilerTool": {"EnableEnhancedInstructionSet": "5"}}
        },
        {
          "target_name": "lutra_avx512",
          "type": "static_library",
          "sources": ["<!@(node scripts/sources.mjs avx512)"],
          "cflags_cc": ["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni",
                        "-fno-exceptions", "-Wno-maybe-uninitialized"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512dq",
                                                      "-mavx512vl", "-mavx512vnni", "-ffp-contract=off", "-fno-math-errno"]},
          "msvs_settings": {"VCCLCompilerTool": {"AdditionalOptions": ["/arch:AVX512"]}}
        }
      ]
    }],
    ["target_arch=='arm64' and OS!='win'", {
      "targets": [
        {
          "target_name": "lutra_neon",
          "type": "static_library",
          "sources": ["<!@(node scripts/sources.mjs neon)"],
          "cflags_cc": ["-march=armv8.2-a+dotprod", "-fno-exceptions"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-march=armv8.2-a+dotprod", "-ffp-contract=off", "-fno-math-errno"]}
        }
      ]
    }]
  ]
}
