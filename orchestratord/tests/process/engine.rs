//! An engine that speaks `llama-server`'s dialect and generates what the test tells it to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::soon;

pub(crate) const KEY: &str = "key-of-this-start";
pub(crate) const CTX: u32 = 512;

/// The engine. Its socket is closed when it is dropped.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    generations: mpsc::UnboundedReceiver<Generation>,
    serving: JoinHandle<()>,
}

/// One running generation, in the test's hands. Dropping it breaks the connection.
pub(crate) struct Generation {
    /// The body that orchestratord sent.
    pub(crate) request: Value,
    frames: mpsc::Sender<Bytes>,
    slot: u64,
    produced: u32,
    _busy: Busy,
}

struct Shared {
    busy: Mutex<Vec<bool>>,
    arrivals: mpsc::UnboundedSender<Generation>,
}

/// Holds a slot for as long as the test holds the generation.
struct Busy {
    shared: Arc<Shared>,
    slot: u64,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.shared.busy.lock().unwrap()[self.slot as usize] = false;
    }
}

impl Engine {
    pub(crate) async fn start(slots: usize) -> Self {
        let (arrivals, generations) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            busy: Mutex::new(vec![false; slots]),
            arrivals,
        });
        let router = Router::new()
            .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
            .route("/props", get(props))
            .route("/slots", get(show_slots))
            .route("/tokenize", post(tokenize))
            .route("/completion", post(complete))
            .with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            generations,
            serving,
        }
    }

    /// The next generation that orchestratord starts.
    pub(crate) async fn generation(&mut self) -> Generation {
        soon(self.generations.recv()).await.unwrap()
    }

    pub(crate) fn has_generation(&mut self) -> bool {
        !self.generations.is_empty()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Generation {
    /// Sends a piece of text. After a cancel nobody reads it, as with a real engine.
    pub(crate) async fn say(&mut self, text: &str) {
        self.produced += 1;
        let frame = json!({
            "index": 0, "content": text, "tokens": [1], "stop": false, "id_slot": -1,
            "tokens_predicted": self.produced, "tokens_evaluated": 4,
        });
        self.send(&frame).await;
    }

    /// Ends it well.
    pub(crate) async fn end(self) {
        let frame = json!({
            "index": 0, "content": "", "tokens": [], "stop": true, "id_slot": self.slot,
            "stop_type": "eos", "tokens_predicted": self.produced, "tokens_evaluated": 4,
            "timings": {
                "cache_n": 0, "prompt_n": 4, "prompt_ms": 2.0,
                "predicted_n": self.produced, "predicted_ms": 10.0,
            },
        });
        self.send(&frame).await;
    }

    /// Resolves when orchestratord has closed the connection.
    pub(crate) async fn closed(&self) {
        soon(self.frames.closed()).await;
    }

    async fn send(&self, frame: &Value) {
        let _ = soon(self.frames.send(format!("data: {frame}\n\n").into())).await;
    }
}

fn is_allowed(headers: &HeaderMap) -> bool {
    headers
        .get("authorization")
        .is_some_and(|value| value == format!("Bearer {KEY}").as_str())
}

async fn props(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let slots = shared.busy.lock().unwrap().len();
    Json(json!({
        "build_info": "b1-test", "total_slots": slots,
        "default_generation_settings": { "n_ctx": CTX },
    }))
}

async fn show_slots(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let busy = shared.busy.lock().unwrap();
    let slots = busy.iter().enumerate().map(
        |(id, busy)| json!({ "id": id, "n_ctx": CTX, "is_processing": busy, "n_prompt_tokens": 4 }),
    );
    Json(slots.collect())
}

/// A token for each word.
async fn tokenize(Json(body): Json<Value>) -> Json<Value> {
    let words = body["content"].as_str().unwrap().split_whitespace().count();
    Json(json!({ "tokens": vec![1; words] }))
}

async fn complete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    if !is_allowed(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let slot = request["id_slot"].as_u64().unwrap();
    shared.busy.lock().unwrap()[slot as usize] = true;
    let busy = Busy {
        shared: Arc::clone(&shared),
        slot,
    };
    // Small, so that a reader that does not read shows as an engine that cannot send.
    let (frames, mut body) = mpsc::channel::<Bytes>(4);
    let generation = Generation {
        request,
        frames,
        slot,
        produced: 0,
        _busy: busy,
    };
    shared.arrivals.send(generation).ok().unwrap();
    let body = futures_util::stream::poll_fn(move |context| body.poll_recv(context));
    let body = futures_util::StreamExt::map(body, Ok::<_, Infallible>);
    (
        [("content-type", "text/event-stream")],
        Body::from_stream(body),
    )
        .into_response()
}
