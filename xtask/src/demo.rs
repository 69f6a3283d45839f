//! `cargo xtask demo`: from the build to a poem of a real engine, through both daemons.
//!
//! # Invariants
//! - Everything it makes besides builds lies in a temporary folder and goes with it.
//! - It leaves no process behind, however it ends; if one is left, that is a failure.

mod daemons;
mod poem;
mod report;

use std::time::Instant;

use anyhow::Context;
use contracts_api_types::kind::{Determinism, EngineName, OnDisconnect, PriorityClass, Workload};
use contracts_api_types::stream::{EndEvent, StartedEvent};
use contracts_api_types::task::{SamplingRequest, TaskRequest};
use llama_orch_sdk::{Client, StreamEvent};
use uuid::Uuid;

use crate::say::Say;
use crate::setup::{FREE_PORTS, MODEL, POOL, Setup, device};
use crate::subprocess::{Interrupted, Interrupts};
use crate::workspace::Workspace;

use daemons::Daemons;
use poem::Wish;
use report::{Report, tokens_out_total};

/// The model ends by itself after fewer.
const MAX_TOKENS: u32 = 96;

pub(crate) async fn demo(workspace: &Workspace, json: bool, cpu: bool) -> anyhow::Result<()> {
    let say = if json {
        Say::on_stderr()
    } else {
        Say::on_stdout()
    };
    workspace.build(Say::on_stderr()).await?;
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let setup = Setup::new(workspace, folder.path(), device(cpu, say), FREE_PORTS);
    let config = setup.write_config()?;
    setup.provision(&config).await?;
    let mut interrupts = Interrupts::take()?;
    let mut daemons = Daemons::new(workspace, &config, &setup.data_dir())?;
    let shown = tokio::select! {
        shown = show(&mut daemons, say) => shown,
        () = interrupts.next() => Err(Interrupted.into()),
    };
    say.line("\nstopping both daemons");
    // The first cause is the one to tell.
    let stopped = daemons.stop(&mut interrupts).await;
    let report = shown.inspect_err(|_| say.line(&daemons.last_words()))?;
    stopped?;
    say.line("both have stopped, and no process is left");
    if json {
        Say::on_stdout().line(&serde_json::to_string(&report).context("a report is plain JSON")?);
    }
    Ok(())
}

/// Starts the daemons, asks for the poem and reports.
async fn show(daemons: &mut Daemons, say: Say) -> anyhow::Result<Report> {
    let base = daemons.start(say).await?;
    let client = Client::new(&base, None)?;
    daemons.wait_ready(&client, POOL, say).await?;
    let wish = Wish::new();
    say.line(&format!("\nprompt: {}\n", wish.prompt()));
    let before = tokens_out_total(&client.metrics().await?);
    let answer = ask(&client, &wish, say).await?;
    wish.check(&answer.text)?;
    let delta = report::settled_delta(&client, before, answer.end.tokens_out).await?;
    let report = Report::new(&answer, &wish, delta);
    say.line(&report.to_string());
    anyhow::ensure!(
        delta == u64::from(answer.end.tokens_out),
        "tokens_out_total grew by {delta}, but {} tokens came",
        answer.end.tokens_out
    );
    Ok(report)
}

/// What came of the prompt.
struct Answer {
    text: String,
    started: StartedEvent,
    end: EndEvent,
    first_token_ms: u64,
}

/// Submits the prompt and shows the text as it comes.
async fn ask(client: &Client, wish: &Wish, say: Say) -> anyhow::Result<Answer> {
    let since = Instant::now();
    let admitted = client.submit(&request(wish)).await?;
    let mut events = client.stream(admitted.task_id, None).await?;
    let (mut text, mut started, mut first_token_ms) = (String::new(), None, None);
    while let Some(event) = events.next().await {
        match event? {
            StreamEvent::Started(event) => started = Some(event),
            StreamEvent::Token { token, .. } => {
                first_token_ms.get_or_insert_with(|| since.elapsed().as_millis());
                say.text(&token.t);
                text.push_str(&token.t);
            }
            StreamEvent::Metrics(_) => {}
            StreamEvent::Error(error) => anyhow::bail!("{} ({})", error.message, error.code),
            StreamEvent::End(end) => {
                say.line("");
                let first_token_ms = u64::try_from(first_token_ms.context("no token came")?)?;
                let started = started.context("the task ended without having started")?;
                return Ok(Answer {
                    text,
                    started,
                    end,
                    first_token_ms,
                });
            }
        }
    }
    anyhow::bail!("the stream ended without saying how the task ended")
}

fn request(wish: &Wish) -> TaskRequest {
    TaskRequest {
        task_id: Some(Uuid::new_v4()),
        session_id: None,
        workload: Workload::Completion,
        model_ref: MODEL.into(),
        engine: EngineName::LlamaCpp,
        ctx: None,
        priority: PriorityClass::Interactive,
        seed: None,
        determinism: Determinism::Strict,
        sampler_profile_version: None,
        prompt: Some(wish.prompt()),
        inputs: None,
        max_tokens: Some(MAX_TOKENS),
        deadline_ms: None,
        expected_tokens: None,
        on_disconnect: OnDisconnect::Keep,
        sampling: Some(SamplingRequest {
            temperature: Some(0.0),
            ..SamplingRequest::default()
        }),
        labels: std::collections::BTreeMap::new(),
    }
}
