//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use contracts_config_schema::Span;
use uuid::Uuid;

const EXIT_CODES: &str = "\
Exit codes:
  0    it worked
  1    it failed
  2    bad usage or config
  3    the task failed
  4    the daemon cannot be reached
  130  interrupted (Ctrl-C)

Environment:
  LLORCH_CONFIG     the config, like --config
  LLORCH_URL        the address of orchestratord, like --url
  LLORCH_API_TOKEN  the API token, where the daemon wants one";

/// Run language models on your own machine, behind a queue.
#[derive(Debug, Parser)]
#[command(name = "llama-orch", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Print JSON: one document, or one per line for streams
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The config [default: ./llama-orch.yaml, then ~/.config/llama-orch/llama-orch.yaml]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Address of orchestratord [default: that of the running daemon, else of the config]
    #[arg(long, global = true, value_name = "URL", env = "LLORCH_URL")]
    pub(crate) url: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build what is missing, start both daemons and wait until the pools are ready
    Up(UpArgs),
    /// Stop both daemons, after what they are doing
    Down,
    /// Submit a prompt and print the answer as it comes; Ctrl-C cancels it
    Run(Box<RunArgs>),
    /// Print the answer of a task, from its beginning or from a token; Ctrl-C leaves it running
    Stream(StreamArgs),
    /// Cancel a task
    Cancel {
        /// The task
        task_id: Uuid,
    },
    /// Show the pools and their workers
    Pools,
    /// Look for what is wrong and say how to mend it
    Doctor,
    /// Run a program in a session of its own
    #[command(hide = true)]
    Detached {
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Stay in the foreground and show the logs; Ctrl-C stops both daemons
    #[arg(long)]
    pub(crate) attach: bool,
    /// How long the pools may take to become ready
    #[arg(long, value_name = "TIME", default_value = "30m")]
    pub(crate) timeout: Span,
}

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The prompt; `-` reads it from standard input
    pub(crate) prompt: String,
    /// The model [default: the one that is served, if it is one]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The engine [default: that of the model's pool]
    #[arg(long, value_name = "NAME", value_parser = parse_name::<contracts_api_types::kind::EngineName>)]
    pub(crate) engine: Option<contracts_api_types::kind::EngineName>,
    /// The most tokens to generate [default: 256, or half of the context if that is less]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Context in tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ctx: Option<u32>,
    /// Equal seeds give equal answers
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// 0 always takes the likeliest token, up to 2
    #[arg(long, value_name = "NUMBER")]
    pub(crate) temperature: Option<f64>,
    /// Choose among the likeliest tokens only
    #[arg(long, value_name = "COUNT")]
    pub(crate) top_k: Option<u32>,
    /// Choose among the tokens that make up this share of the likelihood
    #[arg(long, value_name = "SHARE")]
    pub(crate) top_p: Option<f64>,
    /// End the answer before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// How urgent it is: interactive or batch
    #[arg(long, value_name = "CLASS", default_value = "interactive",
        value_parser = parse_name::<contracts_api_types::kind::PriorityClass>)]
    pub(crate) priority: contracts_api_types::kind::PriorityClass,
    /// Whether equal seeds must give equal bytes: strict or best_effort
    #[arg(long, value_name = "NEED", default_value = "strict",
        value_parser = parse_name::<contracts_api_types::kind::Determinism>)]
    pub(crate) determinism: contracts_api_types::kind::Determinism,
    /// Give up when it has not ended after this time, such as 30s
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<Span>,
    /// Print the task's id and leave
    #[arg(long)]
    pub(crate) detach: bool,
}

/// Options of `stream`.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamArgs {
    /// The task
    pub(crate) task_id: Uuid,
    /// Begin behind the token with this id
    #[arg(long, value_name = "ID")]
    pub(crate) from: Option<String>,
}

/// Reads one of the contract's names.
fn parse_name<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    // The message of serde lists the names that exist.
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use contracts_api_types::kind::{EngineName, PriorityClass};

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    // spec: CLI-8009
    #[test]
    fn the_help_tells_the_exit_codes() {
        let help = Args::command().render_long_help().to_string();
        for line in [
            "2    bad usage or config",
            "3    the task failed",
            "130  interrupted",
        ] {
            assert!(help.contains(line), "{help}");
        }
    }

    #[test]
    fn names_of_the_contract_are_read_and_others_are_answered_with_a_list() {
        assert_eq!(parse_name("llamacpp"), Ok(EngineName::LlamaCpp));
        assert_eq!(parse_name("batch"), Ok(PriorityClass::Batch));
        let refusal = parse_name::<PriorityClass>("urgent").unwrap_err();
        assert!(
            refusal.contains("interactive") && refusal.contains("batch"),
            "{refusal}"
        );
    }

    #[test]
    fn options_may_stand_behind_the_command() {
        let args = Args::try_parse_from(["llama-orch", "pools", "--json", "--url", "http://h:1"]);
        let args = args.unwrap();
        assert!(args.json);
        assert_eq!(args.url.as_deref(), Some("http://h:1"));
        assert!(Args::try_parse_from(["llama-orch", "run", "hi", "--max-tokens", "0"]).is_err());
        assert!(Args::try_parse_from(["llama-orch", "cancel", "7"]).is_err());
    }
}
