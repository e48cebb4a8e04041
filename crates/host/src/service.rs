//! What a host runs.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::BoxError;
use crate::leadership::Leadership;

/// Something that runs only where it leads.
pub trait Service: Send + 'static {
    /// Its name, in logs and problems.
    fn name(&self) -> &str;

    /// Runs from start to end: says [`ServiceContext::started`] when the next service may start, goes on until
    /// [`ServiceContext::stopping`] resolves, and returns when nothing of it runs any more.
    ///
    /// An error is a problem of the host, and so is an end that nobody asked for.
    fn run(self: Box<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), BoxError>>;
}

/// A service of this name that is one function.
pub fn service<F, R>(name: impl Into<String>, run: F) -> Box<dyn Service>
where
    F: FnOnce(ServiceContext) -> R + Send + 'static,
    R: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Box::new(FunctionService { name: name.into(), run })
}

struct FunctionService<F> {
    name: String,
    run: F,
}

impl<F, R> Service for FunctionService<F>
where
    F: FnOnce(ServiceContext) -> R + Send + 'static,
    R: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn run(self: Box<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), BoxError>> {
        (self.run)(context).boxed()
    }
}

/// What a service knows of its host.
#[derive(Clone)]
pub struct ServiceContext {
    leadership: Leadership,
    stopping: CancellationToken,
    started: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

impl ServiceContext {
    pub(crate) fn new(leadership: Leadership, stopping: CancellationToken) -> (Self, oneshot::Receiver<()>) {
        let (started, start) = oneshot::channel();
        let context = Self {
            leadership,
            stopping,
            started: Arc::new(Mutex::new(Some(started))),
        };
        (context, start)
    }

    /// The leadership that the service runs under, with its fencing token.
    #[must_use]
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Says that the service has started, so that the next one may.
    pub fn started(&self) {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(started) = started {
            // Nobody waits for it any more when the service is being stopped.
            let _ = started.send(());
        }
    }

    /// Resolves when the service has to stop.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }
}
