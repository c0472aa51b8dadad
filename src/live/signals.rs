//! What signals ask of a running capture ([`Signals`]).

use crate::watch::screen::JobControl;
use signal_hook::SigId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags that signals set.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// End with a report.
    pub stop: Arc<AtomicBool>,
    /// Print a report and go on.
    pub snapshot: Arc<AtomicBool>,
    /// A further signal ends the process at once.
    pub at_once: Arc<AtomicBool>,
    /// There is a screen, whose terminal has to be restored before the process may end.
    pub(super) screen: bool,
    /// Handlers that let a second signal end the process while files are read.
    reading: Vec<SigId>,
    /// Job control of the shell: to stop, and to continue.
    pub(super) job: JobControl,
}

impl Signals {
    /// Flags of no signal so far. A second signal ends the process at once when some time has passed since the first;
    /// with a screen not before its terminal was restored.
    pub fn new(screen: bool) -> Self {
        Self {
            stop: Arc::default(),
            at_once: Arc::default(),
            snapshot: Arc::default(),
            screen,
            reading: Vec::new(),
            job: JobControl::default(),
        }
    }

    /// Installs handlers that set the flags: for SIGINT, SIGTERM, SIGHUP and SIGUSR1, and with a screen for every other
    /// signal that would end the process without restoring its terminal.
    ///
    /// # Errors
    /// That of sigaction(2).
    pub fn on(mut self) -> std::io::Result<Self> {
        use signal_hook::consts::{
            SIGABRT, SIGALRM, SIGCONT, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR2, SIGVTALRM, SIGXCPU,
        };
        crate::run::on_signals(&self.stop, &self.at_once)?;
        for signal in [SIGINT, SIGTERM] {
            self.reading.push(signal_hook::flag::register(signal, Arc::clone(&self.at_once))?);
        }
        if self.screen {
            // abort(3) still ends the process, whatever a handler does; SIGSEGV and the like are not caught.
            for signal in [SIGABRT, SIGQUIT, SIGALRM, SIGPROF, SIGUSR2, SIGVTALRM, SIGXCPU] {
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&self.at_once))?;
                signal_hook::flag::register(signal, Arc::clone(&self.stop))?;
            }
            signal_hook::flag::register(SIGTSTP, Arc::clone(&self.job.suspend))?;
            signal_hook::flag::register(SIGCONT, Arc::clone(&self.job.resume))?;
        }
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&self.snapshot))?;
        Ok(self)
    }

    /// Says that inventories and servers' files were read. Until then a second signal ends the process at once, because
    /// such a file may be a pipe that nobody writes to.
    pub(super) fn have_read(&self) {
        for id in &self.reading {
            signal_hook::low_level::unregister(*id);
        }
        self.at_once.store(false, Ordering::Relaxed);
    }
}
