//! `run`: a prompt in, text out.

use std::io::Read as _;

use contracts_api_types::capability::{Capabilities, PoolCapability};
use contracts_api_types::kind::{EngineName, OnDisconnect, Workload};
use contracts_api_types::task::{SamplingRequest, TaskRequest};
use llama_orch_sdk::{Client, SdkError, StreamEvent};
use serde_json::json;
use uuid::Uuid;

use super::stream::Show;
use crate::args::RunArgs;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::interrupts::Interrupts;
use crate::output::Output;

/// The answer's length where nothing is said: enough for a paragraph, soon done.
const MAX_TOKENS_DEFAULT: u32 = 256;

pub(crate) async fn run(
    context: &Context,
    mut args: RunArgs,
    output: &Output,
) -> Result<(), Failure> {
    if args.prompt == "-" {
        args.prompt = read_prompt()?;
    }
    let client = context.client()?;
    let mut interrupts = Interrupts::take()?;
    // spec: CLI-8007
    let id = Uuid::new_v4();
    let mut show = Show::new(output);
    let detach = args.detach;
    let ended = {
        let task = submit_and_read(&client, args, id, &mut show, output);
        let mut task = std::pin::pin!(task);
        tokio::select! {
            ended = &mut task => ended,
            () = interrupts.next() => {
                // The task's own stream tells when it has ended; a second wish does not wait.
                let canceled = async {
                    cancel(&client, id).await?;
                    task.await
                };
                let ended = tokio::select! {
                    ended = canceled => ended,
                    () = interrupts.next() => Ok(()),
                };
                ended.and(Err(Failure::interrupted().hint(format!("{id} is canceled"))))
            }
        }
    };
    show.finish();
    ended?;
    if detach { Ok(()) } else { show.outcome() }
}

fn read_prompt() -> Result<String, Failure> {
    let mut prompt = String::new();
    std::io::stdin()
        .read_to_string(&mut prompt)
        .map_err(|why| Failure::new(Kind::Usage, format!("cannot read the prompt: {why}")))?;
    Ok(prompt)
}

async fn submit_and_read(
    client: &Client,
    args: RunArgs,
    id: Uuid,
    show: &mut Show<'_>,
    output: &Output,
) -> Result<(), Failure> {
    let detach = args.detach;
    let task = request(args, id, &client.capabilities().await?)?;
    let admitted = client.submit(&task).await?;
    if output.is_json() {
        let mut document = json!(admitted);
        document["event"] = "admitted".into();
        output.document(&document)?;
    } else if detach {
        output.data(&format!("{id}\n"))?;
    }
    if detach {
        return Ok(());
    }
    let mut events = client.stream(id, None).await?;
    while let Some(event) = events.next().await {
        let event: StreamEvent = event?;
        show.event(&event)?;
    }
    Ok(())
}

/// Cancels a task that may not have been admitted yet: an unknown one needs no cancel.
// spec: CLI-8012
async fn cancel(client: &Client, id: Uuid) -> Result<(), Failure> {
    match client.cancel(id).await {
        Err(SdkError::Refused { status: 404, .. }) => Err(Failure::interrupted()),
        ended => Ok(ended?),
    }
}

/// The task that the options describe, with what is served filling the gaps.
fn request(args: RunArgs, id: Uuid, served: &Capabilities) -> Result<TaskRequest, Failure> {
    let pool = match &args.model {
        Some(model) => served.pools.iter().find(|pool| pool.models.contains(model)),
        None => Some(only_model(served)?),
    };
    let model = args
        .model
        .or_else(|| pool.and_then(|pool| pool.models.first().cloned()));
    // A model that nobody serves is the server's to refuse: it knows what there is.
    let most = pool.map_or(MAX_TOKENS_DEFAULT, |pool| {
        (pool.ctx_max / 2).clamp(1, pool.max_tokens_out.max(1))
    });
    let sampling = SamplingRequest {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        stop: (!args.stop.is_empty()).then_some(args.stop),
        ..SamplingRequest::default()
    };
    Ok(TaskRequest {
        task_id: Some(id),
        session_id: None,
        workload: Workload::Completion,
        model_ref: model.unwrap_or_default(),
        engine: args
            .engine
            .or(pool.map(|pool| pool.engine))
            .unwrap_or(EngineName::LlamaCpp),
        ctx: args.ctx,
        priority: args.priority,
        seed: args.seed,
        determinism: args.determinism,
        sampler_profile_version: None,
        prompt: Some(args.prompt),
        inputs: None,
        max_tokens: Some(args.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT.min(most))),
        deadline_ms: args
            .deadline
            .map(|span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)),
        expected_tokens: None,
        on_disconnect: OnDisconnect::Keep,
        sampling: (sampling != SamplingRequest::default()).then_some(sampling),
        labels: std::collections::BTreeMap::new(),
    })
}

/// A pool with the one model that is served.
fn only_model(served: &Capabilities) -> Result<&PoolCapability, Failure> {
    let named = || served.pools.iter().filter(|pool| !pool.models.is_empty());
    let Some(first) = named().next() else {
        return Err(Failure::failed("no model is served")
            .hint("`llama-orch pools` shows why, `llama-orch up` starts the pools"));
    };
    // The same file under one name in several pools is one model.
    if named().all(|pool| pool.models == first.models && pool.engine == first.engine) {
        return Ok(first);
    }
    let names: Vec<_> = named().map(|pool| pool.models[0].as_str()).collect();
    Err(Failure::new(
        Kind::Usage,
        "several models are served, so --model is needed",
    )
    .hint(format!("there is: {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use contracts_api_types::kind::{DeviceClass, PriorityClass};

    use super::*;
    use crate::args::{Args, Command};

    fn served(models: &[&str]) -> Capabilities {
        let pool = |model: &&str| PoolCapability {
            pool_id: "p".into(),
            engine: EngineName::LlamaCpp,
            engine_version: None,
            models: vec![(*model).into()],
            model_digest: None,
            device_class: DeviceClass::CpuCi,
            ctx_max: 300,
            max_tokens_out: 299,
            concurrency: 1,
            workloads: vec![Workload::Completion],
            sampler_profile_version: "v1".into(),
        };
        Capabilities {
            api_version: "1".into(),
            pools: models.iter().map(pool).collect(),
        }
    }

    fn typed(words: &[&str]) -> RunArgs {
        let words = ["llama-orch", "run"].iter().chain(words);
        match Args::parse_from(words).command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn made(words: &[&str], models: &[&str]) -> Result<TaskRequest, Failure> {
        request(typed(words), Uuid::nil(), &served(models))
    }

    // spec: CLI-8007
    #[test]
    fn what_is_not_said_is_taken_from_what_is_served() {
        let task = made(&["hi"], &["haiku"]).unwrap();
        assert_eq!(task.task_id, Some(Uuid::nil()));
        assert_eq!(
            (task.model_ref.as_str(), task.engine),
            ("haiku", EngineName::LlamaCpp)
        );
        assert_eq!(task.max_tokens, Some(150));
        assert_eq!((task.seed, task.sampling), (None, None));
        assert_eq!(
            made(&["hi"], &["haiku", "haiku"]).unwrap().model_ref,
            "haiku"
        );
    }

    #[test]
    fn what_is_said_is_passed_on() {
        let words = [
            "hi",
            "--model",
            "b",
            "--max-tokens",
            "9",
            "--seed",
            "4",
            "--temperature",
            "0.5",
        ];
        let more = [
            "--priority",
            "batch",
            "--deadline",
            "1m 30s",
            "--stop",
            "x",
            "--stop",
            "y",
        ];
        let task = made(&[&words[..], &more].concat(), &["a", "b"]).unwrap();
        assert_eq!(
            (task.model_ref.as_str(), task.max_tokens, task.seed),
            ("b", Some(9), Some(4))
        );
        assert_eq!(
            (task.priority, task.deadline_ms),
            (PriorityClass::Batch, Some(90_000))
        );
        let sampling = task.sampling.unwrap();
        assert_eq!(sampling.temperature, Some(0.5));
        assert_eq!(sampling.stop, Some(vec!["x".into(), "y".into()]));
    }

    #[test]
    fn a_choice_that_is_not_clear_is_asked_for() {
        let failure = made(&["hi"], &["a", "b"]).unwrap_err();
        assert_eq!(
            (failure.kind, &*failure.hints[0]),
            (Kind::Usage, "there is: a, b")
        );
        assert_eq!(made(&["hi"], &[]).unwrap_err().kind, Kind::Failed);
        // An unknown model goes to the server, which knows what to say.
        assert_eq!(
            made(&["hi", "--model", "z"], &["a"]).unwrap().model_ref,
            "z"
        );
    }
}
