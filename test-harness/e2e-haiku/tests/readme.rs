//! The README's `curl` commands, run as they stand there.

use std::fs;
use std::process::Command;

use test_harness_e2e_haiku::{Fleet, FleetOptions, models, programs};

/// The first fenced block below `heading`.
fn block_below(heading: &str) -> String {
    let readme = fs::read_to_string(programs::repository().join("README.md")).expect("a README");
    let (_, section) = readme.split_once(heading).expect("the heading");
    let (_, block) = section.split_once("```bash\n").expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

// spec: ORCH-2001, ORCH-2002, ORCH-2003, ORCH-3401
#[tokio::test]
async fn the_readme_can_be_followed_with_curl_alone() {
    let options = FleetOptions {
        model: models::haiku_tiny(),
        ctx: 512,
        slots: 2,
    };
    let fleet = Fleet::start(&options).await;
    let block = block_below("## With curl alone");
    let script = block.replace("http://127.0.0.1:8080", fleet.base());
    assert_ne!(script, block, "the block names no address");

    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut run = Command::new("bash");
    run.args(["-euo", "pipefail", "-c", &script])
        .current_dir(&dir);
    let output = run.output().expect("bash can be started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}\n{text}");

    let streamed = fs::read_to_string(dir.path().join("stream.txt")).expect("the stream was kept");
    let (_, behind_third) = streamed.split_once("\"i\":2}\n\n").expect("a third token");
    assert!(streamed.starts_with("event: started\n"), "{streamed}");
    assert!(streamed.contains("event: end\n"), "{streamed}");
    assert!(
        text.contains(&format!("{streamed}{behind_third}")),
        "the resumed part differs: {text}"
    );
    for shown in [
        "\"queue_position\"",
        "\"state\":\"done\"",
        "\n204\n",
        "\"api_version\"",
    ] {
        assert!(text.contains(shown), "{shown} is missing: {text}");
    }
    fleet.stop();
}
