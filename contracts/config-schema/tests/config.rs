//! The file as its users write it: examples, layers, refusals.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use contracts_config_schema::{Config, ConfigError, Loaded, Sources, load, schema_json};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

const OPEN: &str = "orchestratord:\n  auth: { open_on_loopback: true }\n";

fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("llama-orch.yaml");
    fs::write(&path, text).unwrap();
    let env = env
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    load(&Sources {
        path: Some(path),
        env,
    })
}

#[track_caller]
fn refusal(text: &str) -> String {
    match load_text(text, &[]) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

fn pool(extra: &str) -> String {
    format!(
        "{OPEN}pool_managerd:\n  allow_cpu_ci: true\n  pools:\n    - id: a\n      engine: llamacpp\n      \
         model: file:a.gguf\n      {extra}\n"
    )
}

// spec: OC-CONFIG-6002
#[test]
fn the_examples_load() {
    for name in ["cpu-ci.yaml", "home-24gb-12gb.yaml"] {
        let loaded = load(&Sources {
            path: Some(example(name)),
            env: Vec::new(),
        });
        let pools = loaded
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .config
            .pool_managerd
            .pools;
        assert!(!pools.is_empty(), "{name} has no pool");
    }
}

// spec: OC-CONFIG-6001, ORCH-3030
#[test]
fn an_unknown_field_is_refused_with_its_line() {
    let text = refusal("orchestratord:\n  bindd: 127.0.0.1:1\n");
    assert!(text.contains("bindd") && text.contains("line 2"), "{text}");
}

// spec: OC-CONFIG-6001
#[test]
fn a_wrong_type_is_refused_with_its_line() {
    let text = refusal(&pool("slots: many"));
    assert!(text.contains("line 9"), "{text}");
}

// spec: OC-CONFIG-6001, HME-032
#[test]
fn values_out_of_range_are_refused_with_their_path_and_the_fix() {
    for (extra, path, fix) in [
        ("slots: 0", "pools[0].slots", "between 1 and"),
        ("ctx: 0", "pools[0].ctx", "between 1 and"),
        ("replicas: 65", "pools[0].replicas", "between 1 and"),
        (
            "sampler_profile_version: v9",
            "sampler_profile_version",
            "must be v1",
        ),
        (
            "restart: { backoff: { jitter: 1.5 } }",
            "backoff.jitter",
            "between 0 and 1",
        ),
        (
            "restart: { backoff: { min: 2s, max: 1s } }",
            "backoff.max",
            "at least",
        ),
        (
            "tensor_split: [1, 1]",
            "tensor_split",
            "per entry of `devices`",
        ),
        (
            "provisioning: { source: { origin: git } }",
            "source.url",
            "missing",
        ),
        (
            "provisioning: { binary: x }",
            "provisioning.binary",
            "mode: binary",
        ),
        (
            "provisioning: { source: { origin: tarball, url: 'https://x', sha256: 12 } }",
            "source.sha256",
            "64 hex digits",
        ),
    ] {
        let text = refusal(&pool(extra));
        assert!(text.contains(path) && text.contains(fix), "{extra}: {text}");
    }
}

// spec: ORCH-1102, OC-POOL-3012, ORCH-1104, HME-013
#[test]
fn cpu_inference_is_refused_unless_it_is_allowed_in_words() {
    let text = pool("device_class: cpu-ci").replace("allow_cpu_ci: true", "allow_cpu_ci: false");
    let refused = refusal(&text);
    assert!(refused.contains("allow_cpu_ci: true"), "{refused}");
    assert!(load_text(&pool("device_class: cpu-ci"), &[]).is_ok());
}

// spec: ORCH-3035, HME-004, OC-CTRL-2040
#[test]
fn an_exposed_address_without_a_key_is_refused() {
    let text = refusal("orchestratord:\n  bind: 0.0.0.0:8080\n");
    assert!(
        text.contains("orchestratord.bind") && text.contains("auth.keys"),
        "{text}"
    );
    let key = format!(
        "orchestratord:\n  bind: 0.0.0.0:8080\n  auth:\n    keys:\n      - {{ name: a, tenant: \
         home, sha256: \"{}\", scopes: [data] }}\n",
        "a".repeat(64)
    );
    assert!(load_text(&key, &[]).is_ok());
}

// spec: ORCH-3035
#[test]
fn loopback_is_open_only_in_words() {
    for closed in [
        "",
        "{}",
        "orchestratord:\n  auth: { open_on_loopback: false }\n",
    ] {
        let text = refusal(closed);
        assert!(
            text.contains("orchestratord.auth") && text.contains("open_on_loopback"),
            "{text}"
        );
    }
    assert!(load_text(OPEN, &[]).is_ok());
}

#[test]
fn two_pools_of_one_name_are_refused() {
    let one = pool("slots: 1");
    let two = format!("{one}    - id: a\n      engine: llamacpp\n      model: file:b.gguf\n");
    let text = refusal(&two);
    assert!(
        text.contains("pools[1].id") && text.contains("twice"),
        "{text}"
    );
}

// spec: HME-003, OC-CONFIG-6021
#[test]
fn variables_win_over_the_file_and_name_themselves_when_wrong() {
    let file = format!("{OPEN}  bind: 127.0.0.1:1\n");
    let file = file.as_str();
    let set = [("LLORCH_ORCHESTRATORD__BIND", "127.0.0.1:2")];
    let config = load_text(file, &set).unwrap().config;
    assert_eq!(config.orchestratord.bind.port(), 2);

    for (name, value) in [
        ("LLORCH_ORCHESTRATORD__BINDD", "127.0.0.1:2"),
        ("LLORCH_ORCHESTRATORD__BIND", "nowhere"),
        ("LLORCH_POOL_MANAGERD__ALLOW_CPU_CI", "perhaps"),
    ] {
        let error = load_text(file, &[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn other_variables_of_ours_are_left_alone() {
    let others = [
        ("LLORCH_LOG", "debug"),
        ("LLORCH_API_TOKEN", "t"),
        ("LLORCH_LOG_FORMAT", "json"),
    ];
    assert_eq!(
        load_text(OPEN, &others).unwrap().config,
        load_text(OPEN, &[]).unwrap().config
    );
}

#[test]
fn the_home_directory_is_filled_in() {
    let config = load_text(OPEN, &[("HOME", "/home/ada")]).unwrap().config;
    let data_dir = Path::new("/home/ada/.local/share/llama-orch");
    assert_eq!(config.orchestratord.data_dir, data_dir);
    assert_eq!(config.pool_managerd.data_dir, data_dir);
}

// spec: OC-CONFIG-6024
#[test]
fn hostile_files_are_refused_quickly_and_without_a_panic() {
    let deep = "[".repeat(100_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\n";
    let wide = "x,".repeat(200_000);
    let large = format!("# {}\n", "x".repeat(2 << 20));
    for text in [
        deep.as_str(),
        bomb,
        &format!("[{wide}]"),
        &large,
        "\u{0}",
        "a: 'b",
        "- 1",
        "7",
    ] {
        refusal(text);
    }
}

// spec: OC-CONFIG-6010
#[test]
fn the_schema_is_the_same_every_time_and_knows_every_field_of_the_defaults() {
    let schema = schema_json();
    assert_eq!(schema, schema_json());
    fn names(value: &serde_json::Value, out: &mut Vec<String>) {
        if let Some(fields) = value.as_object() {
            for (name, value) in fields {
                out.push(name.clone());
                names(value, out);
            }
        }
    }
    let mut fields = Vec::new();
    names(
        &serde_json::to_value(Config::default()).unwrap(),
        &mut fields,
    );
    assert!(fields.len() > 15);
    for field in fields {
        assert!(
            schema.contains(&format!("\"{field}\"")),
            "the schema lacks {field}"
        );
    }
}

/// The schema's mirrors of wire names must accept exactly what the wire types accept.
#[test]
fn names_in_the_schema_are_the_wire_names() {
    use contracts_api_types::kind::{DeviceClass, EngineName, FullQueuePolicy};
    let schema: serde_json::Value = serde_json::from_str(&schema_json()).unwrap();
    let listed = |name: &str| -> Vec<String> {
        let text = schema["$defs"][name].to_string();
        text.split('"').map(str::to_owned).collect()
    };
    for policy in [
        FullQueuePolicy::Reject,
        FullQueuePolicy::DropLru,
        FullQueuePolicy::ShedLowPriority,
    ] {
        assert!(
            listed("FullQueuePolicy").contains(&policy.to_string()),
            "{policy}"
        );
    }
    for class in [DeviceClass::Nvidia, DeviceClass::CpuCi] {
        assert!(
            listed("DeviceClass").contains(&class.to_string()),
            "{class}"
        );
    }
    assert!(listed("EngineName").contains(&EngineName::LlamaCpp.to_string()));
}
