//! Selectors as text.

use sonew_runtime::Selector;

const FORMS: [(&str, Selector); 8] = [
    ("auto", Selector::Auto),
    ("cuda:0", Selector::Cuda(0)),
    ("cuda:7", Selector::Cuda(7)),
    ("wgpu:0", Selector::Wgpu(0)),
    ("wgpu:12", Selector::Wgpu(12)),
    ("wgpu:cpu", Selector::Software),
    ("vulkan:3", Selector::Vulkan(3)),
    ("vulkan:cpu", Selector::VulkanSoftware),
];

#[test]
fn every_form_parses_and_prints_back_the_same() {
    for (text, selector) in FORMS {
        assert_eq!(text.parse(), Ok(selector));
        assert_eq!(selector.to_string(), text);
    }
}

#[test]
fn a_selector_in_json_is_its_text() {
    for (text, selector) in FORMS {
        let json = serde_json::to_string(&selector).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Selector>(&json).unwrap(), selector);
    }
    let error = serde_json::from_str::<Selector>("\"gpu\"").unwrap_err();
    assert!(error.to_string().contains("wgpu:cpu"), "{error}");
}

#[test]
fn a_wrong_text_is_refused_with_the_valid_forms() {
    let wrong = [
        "",
        "gpu",
        "cuda",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "cuda:+1",
        "cuda:0:1",
        "wgpu",
        "wgpu:gpu",
        "vulkan",
        "vulkan:+1",
        "cuda:cpu",
        "CUDA:0",
        " auto",
        "cuda:99999999999999999999999",
    ];
    for text in wrong {
        let error = text.parse::<Selector>().unwrap_err();
        assert_eq!(error.found, text);
        let message = error.to_string();
        for form in [
            "`auto`",
            "`cuda:N`",
            "`wgpu:N`",
            "`vulkan:N`",
            "`wgpu:cpu`",
            "`vulkan:cpu`",
        ] {
            assert!(message.contains(form), "{message}");
        }
    }
}

#[test]
fn a_selector_keeps_a_column_width() {
    assert_eq!(format!("{:<10}|", Selector::Software), "wgpu:cpu  |");
}
