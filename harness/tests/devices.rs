//! The table of devices, on a made-up survey.

use sonew_harness::lab::devices::text;
use sonew_runtime::{
    Backend, DeviceInfo, Format, FormatSupport, LookedFor, Missing, Processor, Profile, Selector,
    Sought, Support, Survey,
};

fn device(id: Selector, name: &str, formats: [Support; 3]) -> DeviceInfo {
    DeviceInfo {
        id,
        name: name.into(),
        backend: Backend::WgpuWgsl,
        processor: Processor::Gpu,
        profile: Profile::GPU,
        driver: "driver 1.0".into(),
        memory_bytes: None,
        max_buffer_bytes: 128 << 20,
        plane: (32, 32),
        formats: Format::ALL
            .into_iter()
            .zip(formats)
            .map(|(format, support)| FormatSupport { format, support })
            .collect(),
    }
}

fn words() -> Support {
    Support::Words {
        reason: "no arithmetic".into(),
    }
}

#[test]
fn columns_are_aligned_reasons_become_notes_and_missing_devices_follow() {
    let card = DeviceInfo {
        backend: Backend::Cuda,
        memory_bytes: Some(80 << 30),
        ..device(
            Selector::Cuda(0),
            "A card",
            [Support::Native, Support::Native, Support::Native],
        )
    };
    let lacking = Support::Unsupported {
        reason: "no buffers".into(),
    };
    let gpu = device(
        Selector::Wgpu(10),
        "Another, longer",
        [Support::Native, lacking, words()],
    );
    let software = DeviceInfo {
        backend: Backend::WgpuSpirv,
        processor: Processor::Cpu,
        profile: Profile::LLVMPIPE,
        plane: (4, 8),
        ..device(
            Selector::Software,
            "cpu",
            [Support::Native, Support::Native, words()],
        )
    };
    let survey = Survey {
        devices: vec![card, gpu, software],
        missing: vec![Missing {
            kind: Sought::Cuda,
            reason: "this machine lacks it".into(),
            looked_for: vec![LookedFor {
                what: "libcuda.so.1".into(),
                found: false,
            }],
            advice: "install it".into(),
        }],
    };

    let expected = "\
id        name             backend        driver      memory              plane  f32     f16              bf16
cuda:0    A card           CUDA           driver 1.0  80 GiB              32     native  native           native
wgpu:10   Another, longer  wgpu (WGSL)    driver 1.0  unknown             32     native  unsupported [1]  words [2]
wgpu:cpu  cpu              wgpu (SPIR-V)  driver 1.0  buffers to 128 MiB  4-8    native  native           words [2]

notes
  [1] no f16: no buffers
  [2] bf16 as two values in a 32-bit word: no arithmetic

not found
  CUDA device: this machine lacks it
    looked for libcuda.so.1: not found
    to have it: install it
";
    assert_eq!(text(&survey), expected);
}

#[test]
fn an_empty_survey_says_so() {
    assert_eq!(text(&Survey::default()), "no devices\n");
}
