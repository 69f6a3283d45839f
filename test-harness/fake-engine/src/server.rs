//! Listeners, connections, start and stop.
//!
//! # Invariants
//! - A bound port is held from the first moment on, listening or not, so that the address can be
//!   told before the model is loaded.
//! - Every connection is a task of the engine's tracker, and a kill ends all of them at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::answer::{Answer, head};
use crate::conversation::{After, converse, tell};
use crate::dialect::{Dialect, Door, Routed, route, start};
use crate::engine::{Death, Engine, Mortality, Phase};
use crate::log::{Entry, Event, GroundTruth, LogTo};
use crate::script::behaviour::StartFailure;
use crate::script::{Script, ScriptError};
use crate::wire::{NoRequest, Wire};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long llama.cpp and vLLM keep a connection on which nothing is asked.
const IDLE: Duration = Duration::from_secs(5);

/// How long vLLM takes to end after SIGTERM.
const VLLM_STOP: Duration = Duration::from_millis(1750);

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose language it speaks.
    pub dialect: Dialect,
    /// How it behaves.
    pub script: Script,
    /// Where it listens; port 0 for any that is free.
    pub bind: SocketAddr,
    /// Where the ground truth goes.
    pub log: LogTo,
    /// What becomes of the process when the script says that it dies.
    pub mortality: Mortality,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The script asks for what cannot be.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The log cannot be written.
    #[error("cannot write the log")]
    Log(#[source] io::Error),
    /// The address cannot be used; the text is the engine's own.
    #[error("{text}")]
    Refused {
        /// What the engine says.
        text: String,
        /// The code with which its process exits.
        code: u8,
    },
}

/// A running engine. Dropping it kills it.
#[derive(Debug)]
pub struct FakeEngine {
    engine: Arc<Engine>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
}

impl FakeEngine {
    /// Binds, and begins to load. What loading comes to is seen as with the real engine: by asking.
    ///
    /// # Errors
    /// [`StartError`] when the script cannot be followed, the log cannot be written, or the start
    /// fails before the address is bound.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            dialect,
            script,
            bind,
            log,
            mortality,
        } = options;
        script.check(dialect)?;
        let early = [StartFailure::PortTaken, StartFailure::MissingLibrary];
        if let Some(failure) = script.start.fail.filter(|failure| early.contains(failure)) {
            return Err(refused(dialect, failure, bind));
        }
        let taken = |_| refused(dialect, StartFailure::PortTaken, bind);
        let socket = bound(bind).map_err(taken)?;
        let address = socket.local_addr().map_err(taken)?;
        let metrics = match dialect {
            Dialect::Triton => Some(bound(SocketAddr::new(bind.ip(), 0)).map_err(taken)?),
            _ => None,
        };
        let metrics_address = metrics.as_ref().and_then(|socket| socket.local_addr().ok());
        let log = GroundTruth::open(&log, dialect).map_err(StartError::Log)?;
        let engine = Arc::new(Engine::new(dialect, script, log, mortality));
        let mut doors = vec![(socket, Door::Main)];
        doors.extend(metrics.map(|socket| (socket, Door::Metrics)));
        live(&engine, doors, address);
        Ok(Self {
            engine,
            address,
            metrics_address,
        })
    }

    /// Where it is asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where Triton's metrics are.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The ground truth so far, if it is kept in memory.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.engine.log.entries()
    }

    /// Does what SIGTERM does to the real engine, and returns once it would be gone.
    pub async fn terminate(&self) {
        let engine = &self.engine;
        engine.log.note(Event::Terminating);
        engine.phase.send_replace(Phase::Stopping);
        engine.draining.cancel();
        let patience = match engine.dialect {
            Dialect::Llamacpp => {
                engine.cut.cancel();
                Duration::ZERO
            }
            Dialect::Vllm => {
                engine.abort_all.cancel();
                VLLM_STOP
            }
            Dialect::Tgi => Duration::MAX,
            Dialect::Triton => Duration::from_millis(engine.script.triton.exit_timeout_ms),
        };
        let drained = async {
            engine.idle().await;
        };
        // Past its patience an engine goes hard.
        let _ = tokio::time::timeout(patience.min(Duration::from_secs(1 << 20)), drained).await;
        engine.dead.cancel();
        engine.tasks.close();
        engine.tasks.wait().await;
        engine.log.note(Event::Stopped);
    }

    /// Dies at once, as by SIGKILL.
    pub fn kill(&self) {
        self.engine.dead.cancel();
    }

    /// Returns once it is dead.
    pub async fn died(&self) {
        self.engine.dead.cancelled().await;
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.engine.dead.cancel();
    }
}

fn refused(dialect: Dialect, failure: StartFailure, address: SocketAddr) -> StartError {
    let (text, code) = start::failure(dialect, failure, address);
    StartError::Refused { text, code }
}

/// A socket that has its port but does not listen: whoever connects is refused.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A fixed port must be free again for the engine's next life. A free one must not be shared
    // with another engine that does not listen yet, which this flag would allow.
    socket.set_reuseaddr(address.port() != 0)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A task that ends with the engine.
fn spawn(engine: &Arc<Engine>, task: impl Future<Output = ()> + Send + 'static) {
    let dead = engine.dead.clone();
    engine.tasks.spawn(async move {
        dead.run_until_cancelled(task).await;
    });
}

/// Loads, then listens; llama.cpp the other way round. What takes no time is done on return.
fn live(engine: &Arc<Engine>, mut doors: Vec<(TcpSocket, Door)>, address: SocketAddr) {
    if engine.dialect == Dialect::Llamacpp {
        listen(engine, std::mem::take(&mut doors));
    }
    let load = Duration::from_millis(engine.script.start.load_ms);
    let begin = move |engine: &Arc<Engine>| {
        if loaded(engine, address) {
            listen(engine, doors);
        }
    };
    if load.is_zero() {
        return begin(engine);
    }
    let loading = Arc::clone(engine);
    spawn(engine, async move {
        tokio::time::sleep(load).await;
        begin(&loading);
    });
}

/// Whether the model is there. If not, the engine says so and dies.
fn loaded(engine: &Engine, address: SocketAddr) -> bool {
    if let Some(failure) = engine.script.start.fail {
        let (text, code) = start::failure(engine.dialect, failure, address);
        if engine.mortality == Mortality::Process {
            eprintln!("{text}");
        }
        engine.die(Death::Exit(code));
        return false;
    }
    // A stop may have come first.
    engine.phase.send_if_modified(|phase| {
        let was_loading = *phase == Phase::Loading;
        if was_loading {
            *phase = Phase::Ready;
        }
        was_loading
    });
    engine.log.note(Event::Ready);
    true
}

fn listen(engine: &Arc<Engine>, doors: Vec<(TcpSocket, Door)>) {
    for (socket, door) in doors {
        match socket.listen(BACKLOG) {
            Ok(listener) => spawn(engine, accept(Arc::clone(engine), listener, door)),
            Err(_) => engine.die(Death::Exit(1)),
        }
    }
}

/// Accepts until the engine stops. TGI's listener goes with SIGTERM; Triton accepts on, and closes.
async fn accept(engine: Arc<Engine>, listener: TcpListener, door: Door) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = engine.draining.cancelled(), if engine.dialect == Dialect::Tgi => return,
        };
        match accepted {
            Ok((stream, _))
                if engine.phase() == Phase::Stopping && engine.dialect == Dialect::Triton =>
            {
                drop(stream);
            }
            Ok((stream, _)) => spawn(&engine, serve(Arc::clone(&engine), stream, door)),
            // No descriptors left: others must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Answers the requests of one connection, one after the other.
async fn serve(engine: Arc<Engine>, stream: TcpStream, door: Door) {
    let mut wire = Wire::new(stream, engine.script.frames.bytes_per_write);
    loop {
        let request = match next_request(&engine, &mut wire).await {
            Some(Ok(request)) => request,
            Some(Err(NoRequest::Malformed(problem))) => {
                tell(&mut wire, &bad_request(&problem.to_string())).await;
                return;
            }
            Some(Err(NoRequest::Gone)) | None => return,
        };
        let after = match route(&engine, door, &request) {
            Routed::Answer(answer) => tell(&mut wire, &answer).await,
            Routed::Generate(asked) => {
                let _busy = engine.busy_connection();
                converse(&engine, &mut wire, *asked).await
            }
            Routed::Silence => {
                wire.gone().await;
                After::Close
            }
        };
        if after == After::Close || request.closes() {
            return;
        }
    }
}

/// The next request; none when the connection has been idle for too long, or the engine stops.
async fn next_request(
    engine: &Engine,
    wire: &mut Wire,
) -> Option<Result<crate::http::Request, NoRequest>> {
    let keeps_idle = matches!(engine.dialect, Dialect::Tgi | Dialect::Triton);
    // vLLM answers while it stops, though with errors.
    let ends_idle = wire.is_idle() && engine.dialect != Dialect::Vllm;
    tokio::select! {
        biased;
        request = wire.request() => Some(request),
        () = engine.cut.cancelled() => None,
        () = engine.draining.cancelled(), if ends_idle => None,
        () = tokio::time::sleep(IDLE), if !keeps_idle => None,
    }
}

fn bad_request(problem: &str) -> Answer {
    let length = problem.len().to_string();
    let headers = [
        ("Content-Type", "text/plain"),
        ("Content-Length", length.as_str()),
        ("Connection", "close"),
    ];
    Answer {
        head: head("400 Bad Request", &headers),
        body: problem.into(),
        closes: true,
    }
}
