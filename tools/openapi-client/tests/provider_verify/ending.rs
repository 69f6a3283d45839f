//! What daemons say when the engine is gone, and when they are told to stop.

use rustix::process::Signal;
use serde_json::json;
use test_harness_e2e_haiku::processes::{runs, signal, wait_until};

use crate::stage::{PATIENCE, Stage, run_file, task};
use crate::walk::Ask;

impl Stage {
    pub(crate) async fn visit_the_end(mut self) -> Self {
        // Only the real pool is left, so that its end is the end of all readiness.
        self.push(json!([])).await;
        let (_, engine) = self.fleet.guard_and_engine();
        signal(engine.pid, Signal::KILL);
        let unready = (503, "POOL_UNREADY");
        self.until("pool", "readiness", Ask::default, unready).await;
        self.until("control", "readiness", Ask::default, unready)
            .await;

        // A task that does not end keeps a stopping daemon at its door.
        let silent = self.silent_pool("walk-silent");
        self.push(json!([silent])).await;
        let endless = Ask::json(task(json!({ "model_ref": "walk-silent" })));
        self.walk
            .visit("data", "task_submit", endless, (202, ""))
            .await;
        let pid = run_file(&self.fleet, "orchestratord")["pid"]
            .as_i64()
            .unwrap();
        let pid = i32::try_from(pid).unwrap();
        signal(pid, Signal::TERM);
        let stopping = (503, "POOL_UNAVAILABLE");
        self.until("control", "readiness", Ask::default, stopping)
            .await;
        self.walk
            .visit("data", "task_submit", Ask::json(task(json!({}))), stopping)
            .await;
        wait_until("orchestratord has stopped", PATIENCE, || !runs(pid));
        self
    }
}
