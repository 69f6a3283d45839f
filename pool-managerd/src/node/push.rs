//! The push of the state to orchestratord: on every change, and often enough to keep the lease.

use std::time::Duration;

use contracts_api_types::error::ErrorBody;
use contracts_api_types::node::NodeLease;
use reqwest::StatusCode;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// How often the lease is renewed while nobody says otherwise.
const RENEW: Duration = Duration::from_secs(3);
/// The shortest renewal that an answer may ask for; [`RENEW`] is the longest.
const RENEW_MIN: Duration = Duration::from_millis(100);
/// The first wait after a failed push. It doubles up to [`RENEW`], so that an orchestratord that
/// has just started hears of this node soon.
const RETRY: Duration = Duration::from_millis(200);
/// Changes within this time go together: a build tells of each percent.
const COALESCE: Duration = Duration::from_millis(20);
/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Where the state goes.
#[derive(Clone)]
pub struct Target {
    /// Base URL of orchestratord.
    pub orchestrator: String,
    /// The name of this node there.
    pub node_id: String,
    /// The node token.
    pub token: String,
}

impl std::fmt::Debug for Target {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            orchestrator,
            node_id,
            token: _,
        } = self;
        f.debug_struct("Target")
            .field("orchestrator", orchestrator)
            .field("node_id", node_id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("orchestratord cannot be reached at {url}")]
    Unreachable { url: String },
    #[error("orchestratord refuses this node with status {status}: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("orchestratord answers with something else than a lease")]
    Garbled,
}

/// Pushes until `last`, then once more. Failures are said once and never end it.
// spec: ORCH-3403, ORCH-3501
pub async fn push(node: &Node, target: Target, last: CancellationToken) {
    let client = match reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER)
        .build()
    {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "this node cannot register: no HTTP client");
            return;
        }
    };
    let url = format!(
        "{}/v1/nodes/{}",
        target.orchestrator.trim_end_matches('/'),
        target.node_id
    );
    let (mut said, mut retry) = (Said::Nothing, RETRY);
    loop {
        let last_one = last.is_cancelled();
        let pushed = send(&client, &url, &target, node).await;
        said = said.and_now(pushed.as_ref().err(), &target.node_id);
        if last_one {
            return;
        }
        let wait = match pushed {
            Ok(lease) => {
                retry = RETRY;
                let renew = Duration::from_millis(lease.renew_ms).clamp(RENEW_MIN, RENEW);
                Wait::ForChange(Instant::now() + renew)
            }
            Err(_) => {
                let until = Instant::now() + retry;
                retry = (retry * 2).min(RENEW);
                Wait::Until(until)
            }
        };
        last.run_until_cancelled(wait.over(node)).await;
    }
}

/// What to wait for before the next push.
enum Wait {
    /// A change, or this moment.
    ForChange(Instant),
    /// This moment: while orchestratord is not there, a change would not arrive anyway.
    Until(Instant),
}

impl Wait {
    async fn over(self, node: &Node) {
        match self {
            Self::Until(moment) => sleep_until(moment).await,
            Self::ForChange(moment) => {
                if timeout_at(moment, node.host.changed.notified())
                    .await
                    .is_ok()
                {
                    sleep(COALESCE).await;
                }
            }
        }
    }
}

async fn send(
    client: &reqwest::Client,
    url: &str,
    target: &Target,
    node: &Node,
) -> Result<NodeLease, PushError> {
    let unreachable = |_| PushError::Unreachable {
        url: target.orchestrator.clone(),
    };
    let request = client
        .put(url)
        .bearer_auth(&target.token)
        .json(&node.next_state());
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    if status.is_success() {
        return answer.json().await.map_err(|_| PushError::Garbled);
    }
    let body: Option<ErrorBody> = answer.json().await.ok();
    let message = body.map_or_else(|| "no reason given".to_owned(), |body| body.message);
    Err(PushError::Refused { status, message })
}

/// What the log says of the registration.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Registered,
    Failing(String),
}

impl Said {
    /// Says what changed: a new failure, or that there is none.
    fn and_now(self, failure: Option<&PushError>, node_id: &str) -> Self {
        let now = failure.map_or(Self::Registered, |error| Self::Failing(error.to_string()));
        if self != now {
            match &now {
                Self::Failing(why) => tracing::warn!(node_id, why, "this node is not registered"),
                _ => tracing::info!(node_id, "this node is registered"),
            }
        }
        now
    }
}
