//! What becomes of a generation whose client left.

use std::sync::Arc;
use std::time::Duration;

use super::Conversation;
use crate::engine::job::OnLeave;
use crate::engine::signals::Control;
use crate::log::Event;
use crate::wire::Gone;

impl Conversation<'_> {
    /// The client is gone: the generation goes its own way from here.
    pub(super) fn leave(self, how: Gone) {
        self.engine.log.note(Event::DisconnectSeen {
            request: self.request,
            by_reset: how == Gone::Reset,
        });
        let wait = match (self.plan.hold_after_leave, self.job.on_leave) {
            (Some(hold), _) => {
                self.steer(Control::Linger);
                Some((hold, false))
            }
            (None, OnLeave::AbortWhenQuiet(span)) => {
                self.steer(Control::Run);
                Some((span, true))
            }
            (None, OnLeave::Abort) => {
                self.steer(Control::Abort);
                None
            }
            (None, OnLeave::Continue) => {
                self.steer(Control::Run);
                None
            }
        };
        if let Some((span, when_quiet)) = wait {
            self.abort_later(span, when_quiet);
        }
    }

    fn abort_later(self, span: Duration, when_quiet: bool) {
        let engine = Arc::clone(self.engine);
        let dead = engine.dead.clone();
        let control = self.control;
        let aborting = async move {
            let waited = async {
                if when_quiet {
                    engine.quiet_for(span).await;
                } else {
                    tokio::time::sleep(span).await;
                }
            };
            tokio::select! {
                () = control.closed() => {}
                () = waited => {
                    control.send_replace(Control::Abort);
                }
            }
        };
        let tasks = self.engine.tasks.clone();
        tasks.spawn(async move { dead.run_until_cancelled(aborting).await });
    }
}
